"""Which images a command is about: the options that choose rows of the list of suspects, and those rows."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gradattn_core.cli.options import CommandParser, require_one_of
from gradattn_core.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from gradattn_core.store.store import Store


def row_options(parser: CommandParser) -> None:
    """Which images."""
    group = parser.add_argument_group("rows")
    group.add_argument("--top", type=int, metavar="N", help="only the first N, the most suspect")
    group.add_argument(
        "--min-suspicion",
        type=float,
        metavar="X",
        help="all images of at least this suspicion, suspects or not; 0 gives every image",
    )
    group.add_argument("--max-suspicion", type=float, metavar="X", help="only images of at most this suspicion")
    group.add_argument("--given", metavar="C", help="only this given label")
    group.add_argument("--suggested", metavar="C", help="only this suggested label; '' for none of the classes")
    group.add_argument("--kind", metavar="K", help="only this kind of doubt, for example 'two objects'")
    group.add_argument(
        "--decided",
        default="any",
        choices=("any", "yes", "no", "keep", "relabel", "remove", "unsure"),
        help="only with this state of review",
    )
    group.add_argument("--reviewer", metavar="NAME", help="only where this reviewer decided")
    group.add_argument("--path-contains", metavar="TEXT", help="only with this text in the path")
    group.add_argument(
        "--order", default="rank", choices=("rank", "pair", "similar", "path", "decided"), help="default rank"
    )


def check_rows(options: argparse.Namespace) -> None:
    """Raises:
    StoreError: where the options of ``row_options`` contradict each other.
    """
    low, high = options.min_suspicion, options.max_suspicion
    for name, bound in (("--min-suspicion", low), ("--max-suspicion", high)):
        if bound is not None and not 0 <= bound <= 1:
            raise StoreError(f"{name} {bound:g} is no probability; give 0 to 1")
    if low is not None and high is not None and low > high:
        raise StoreError(f"--min-suspicion {low:g} is above --max-suspicion {high:g}, so that nothing is left")


def chosen_rows(options: argparse.Namespace, store: Store, audit_id: str) -> pd.DataFrame:
    """The images that the options of ``row_options`` choose, as rows of ``store.candidates.page``."""
    return store.candidates.page(
        checked_names(options, store, audit_id),
        order=options.order,
        top=options.top,
        min_suspicion=options.min_suspicion,
        max_suspicion=options.max_suspicion,
        given=options.given,
        suggested=options.suggested,
        kind=options.kind,
        decided=options.decided,
        # Who asks for decisions wants all of them, also on images that no longer are suspects.
        everything=options.decided not in ("any", "no"),
        reviewer=options.reviewer,
        path_contains=options.path_contains,
    )


def checked_names(options: argparse.Namespace, store: Store, audit_id: str) -> str:
    """The audit, once every name that the options choose by is known to exist: a misspelt one would choose nothing."""
    from gradattn_core.kinds import KINDS

    store.audits.one(audit_id)
    chosen = vars(options)
    # The empty suggestion is no class: pictures of none have it.
    asked = {"given": chosen.get("given"), "suggested": chosen.get("suggested") or None}
    labels = [label for label in asked.values() if label is not None]
    classes = store.audits.classes(audit_id) if labels else []
    for label in labels:
        require_one_of(f"audit {audit_id} has no class {label!r}", label, classes)
    for what, names in (("kind", list(KINDS)), ("reviewer", store.decisions.reviewers())):
        name = chosen.get(what)
        if name is not None:
            require_one_of(f"there is no {what} {name!r}", name, names)
    return audit_id
