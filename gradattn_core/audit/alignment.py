"""Which output of the model is which class of the dataset, settled by the labels where names do not say it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gradattn_core.audit.loading import load_batches
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.pixels import FULL_WHITE
from gradattn_core.dataset.selection import evenly
from gradattn_core.dataset.text import shown
from gradattn_core.model.classes import Alignment, class_names, possible_orders
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import ImageRecord, Listing

SAMPLE = 64
"""Pictures that are asked at most about orders."""
OF_CLASS, OF_NAMES = 3, 192
"""Pictures of each class, and of all, that are asked at most whether a name means the same in both."""
FAR_BETTER = 0.25
"""By so much of the sample an order must agree more to be taken instead, or for an alignment by names to be doubted."""


def agreements(
    config: AuditConfig, listing: Listing, model: nn.Module, orders: list[Alignment], white: int = FULL_WHITE
) -> list[float]:
    """Share of a sample's labels, 0 to 1, that the model names under each of these alignments; 0 of no picture."""
    logits, given = _answers(config, listing, model, _sample(listing), white)
    right = [(logits[:, order.indices].argmax(axis=1) == given).sum() for order in orders]
    return [float(count) / max(len(given), 1) for count in right]


def _answers(
    config: AuditConfig, listing: Listing, model: nn.Module, images: list[ImageRecord], white: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The model's logits [n, outputs] of the pictures that can be read, and the places [n] of their classes."""
    device, preprocessing = next(model.parameters()).device, Preprocessing.of(model)
    place = {name: position for position, name in enumerate(listing.classes)}
    logits = [np.zeros((0, int(model.num_classes)), np.float32)]  # type: ignore[arg-type]
    given: list[int] = []
    for batch in load_batches(listing.root, images, preprocessing, config, device, white):
        if not batch.images:
            continue
        with torch.inference_mode():
            logits.append(answer(model, preprocessing.normalised(batch.pixels.to(device))).float().cpu().numpy())
        given += [place[image.record.label] for image in batch.images]
    return np.concatenate(logits), np.array(given, np.int64)


def settled_alignment(
    config: AuditConfig, listing: Listing, model: nn.Module, alignment: Alignment, white: int = FULL_WHITE
) -> tuple[Alignment, tuple[str, ...]]:
    """The alignment that the labels confirm, and what the user should know.

    Where only an order is known, every possible one is tried on a few pictures; an alignment by names or a map stays,
    and is doubted where an order agrees far better.

    Args:
        white: as in ``decode_image``.
    """
    if alignment.method == "name":
        return alignment, _of_other_meaning(config, listing, model, alignment, white)
    by_order = alignment.method in ("index order", "natural order", "number")
    orders = possible_orders(listing.classes, int(model.num_classes))  # type: ignore[arg-type]
    others = [order for order in orders if order.indices != alignment.indices]
    if not others:
        return alignment, ()
    shares = agreements(config, listing, model, [alignment, *others], white)
    best = int(np.argmax(shares))
    if best == 0 or shares[best] < shares[0] + FAR_BETTER:
        return alignment, ()
    better, said = others[best - 1], f"{shares[best]:.0%} instead of {shares[0]:.0%} of {SAMPLE} sampled labels"
    if by_order:
        return better, (f"The model's outputs were taken in {better.method}, in which it agrees with {said}.",)
    return alignment, (
        f"The model's classes were aligned by {alignment.method}, but in {better.method} it agrees with {said}: is "
        "that what its outputs mean?",
    )


def _of_other_meaning(
    config: AuditConfig, listing: Listing, model: nn.Module, alignment: Alignment, white: int
) -> tuple[str, ...]:
    """A sentence on classes that are called as outputs are, and whose pictures are never taken for these.

    A mouse may be an animal or a thing, and a name is no proof of which of them is meant.
    """
    by_class: dict[str, list[ImageRecord]] = {}
    for image in listing.images:
        by_class.setdefault(image.label, []).append(image)
    asked = evenly(listing.classes, OF_NAMES // OF_CLASS)
    images = [image for label in asked for image in evenly(by_class[label], OF_CLASS)]
    logits, given = _answers(config, listing, model, images, white)
    near = 5 if logits.shape[1] > 20 else 1
    best = np.argsort(-logits, axis=1)[:, :near]
    names, said = class_names(model), []
    for place in np.unique(given):
        rows, output = best[given == place], alignment.indices[place]
        if len(rows) == OF_CLASS and not (rows == output).any():
            instead = names.display(int(np.bincount(rows[:, 0]).argmax()))
            meant = f"{shown(listing.classes[place], 60)} for {shown(names.whole(output), 80)}"
            said.append(f"{meant} (rather {shown(instead, 60)})")
    if not said:
        return ()
    more = f" and {len(said) - 3:,} more" if len(said) > 3 else ""
    return (
        f"By their names classes were taken for outputs that the model sees in none of {OF_CLASS} sampled pictures: "
        f"{'; '.join(said[:3])}{more}. If the words mean other things here, say with --class-map which outputs are "
        "meant, or let --head probe judge.",
    )


def _sample(listing: Listing) -> list[ImageRecord]:
    """Pictures of as many classes as there are, some of each."""
    return evenly(sorted(listing.images, key=lambda image: (image.label, image.path)), SAMPLE)
