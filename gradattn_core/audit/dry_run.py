"""What an audit would see and who would judge, without a sweep and without a file: ``gradattn check``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import pandas as pd

from gradattn_core.audit.brought import bring
from gradattn_core.audit.plan import choose_head, list_images
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.inventory import (
    Copies,
    Split,
    Unreadable,
    find_copies,
    formats_of,
    pictures_by_split,
    pictures_of,
    splits_of,
    try_pictures,
)
from gradattn_core.dataset.labels import Spellings, is_no_class, spellings
from gradattn_core.errors import DatasetError, GradattnError
from gradattn_core.model.backbone import outline
from gradattn_core.records import Listing, Unjudged
from gradattn_core.store.unjudged import by_kind


@dataclass(frozen=True)
class Check:
    """What an audit of a dataset would see.

    Attributes:
        root: what the paths are relative to; "" where the dataset cannot be listed.
        images: pictures that would be judged; ``classes`` counts them by label, the commonest first.
        splits: all that the dataset has, audited or not; empty where it has none.
        formats: how many pictures have each ending.
        spellings: labels that differ by nothing one can see; ``no_class`` are the usual ones that say there is none.
        copies: among all splits, or among the pictures that were drawn; None where the pictures lie elsewhere.
        not_judged: what would be passed over, in groups.
        tried: how many pictures were decoded on trial; ``unreadable`` are those of them that cannot be read.
        head: who would judge: ``as-is``, ``probe`` or ``finetune``; "" where that is refused.
        warnings: sentences that the audit would say of the dataset and its judge.
        refusal: why the audit would not begin; None where it would.
    """

    dataset: str
    root: str = ""
    images: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    splits: tuple[Split, ...] = ()
    formats: dict[str, int] = field(default_factory=dict)
    spellings: tuple[Spellings, ...] = ()
    no_class: tuple[str, ...] = ()
    copies: Copies | None = None
    not_judged: tuple[Unjudged, ...] = ()
    tried: int = 0
    unreadable: tuple[Unreadable, ...] = ()
    model: str = ""
    head: str = ""
    warnings: tuple[str, ...] = ()
    refusal: str | None = None


def check_dataset(config: AuditConfig, progress: Callable[[int, int], None]) -> Check:
    """List the dataset, look for copies, decode some pictures, and find out who would judge.

    Weights are read only where the head depends on a checkpoint of one's own.

    Args:
        progress: told how many pictures were looked at, of how many.
    """
    list_one = partial(list_images, config)
    refusal, listing = None, Listing("", ())
    try:
        listing = list_one()
        listing, brought = bring(config, listing)
        about_brought = () if brought is None else brought.notes
    except DatasetError as error:
        refusal, about_brought = str(error), ()
    split = pictures_by_split(list_one, config.split_column)
    # Whoever asks for a few pictures does not wait for all of them to be read.
    is_part = bool(config.limit or config.sample)
    copies = find_copies(pictures_of(listing) if is_part or not split else split, progress)
    tried, unreadable = try_pictures(listing, progress)
    labels = Counter(image.label for image in listing.images)
    head, notes = "", (*listing.notes, *about_brought)
    if refusal is None:
        try:
            head, about = _judge(config, listing)
            notes += about
        except GradattnError as error:
            refusal = str(error)
    columns = ["path", "stage", "reason", "given_label"]
    unjudged = pd.DataFrame([asdict(each) for each in (*listing.failures, *listing.skipped)], columns=columns)
    return Check(
        dataset=config.dataset,
        root=listing.root,
        images=len(listing.images),
        classes=dict(labels.most_common()),
        splits=splits_of(split),
        formats=formats_of(listing),
        spellings=tuple(spellings(labels)),
        no_class=tuple(label for label in labels if is_no_class(label)),
        copies=copies,
        not_judged=by_kind(unjudged),
        tried=tried,
        unreadable=unreadable,
        model=config.judge,
        head=head,
        warnings=notes,
        refusal=refusal,
    )


def _judge(config: AuditConfig, listing: Listing) -> tuple[str, tuple[str, ...]]:
    """The head that would judge, and what is to be said of it."""
    # How many outputs there are, and what they are called, the published models say without their weights.
    is_told = config.has_model and (config.checkpoint is None or config.head in ("probe", "finetune"))
    model = outline(config.spec) if is_told else None
    head, _, notes = choose_head(config, listing, model)
    return head, notes
