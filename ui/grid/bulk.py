"""Decisions about many images at once, and the way back from each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.store.store import Store
from ui import components
from ui.components import Row
from ui.words import short

_LONGEST_WAY_BACK = 20

Said = tuple[str, str, str]
"""A word about one image: decision, new label or "", reviewer."""


@dataclass(frozen=True)
class Step:
    """One decision about many images.

    Attributes:
        said: what was stored about each path.
        words: what it was, as a sentence for the page.
    """

    audit: str
    said: Mapping[str, Said]
    words: str


@dataclass
class Session:
    """What this session has decided in bulk, newest last, and what there is to tell about it.

    Attributes:
        generation: counts what has been stored, so that pages draw anew and forget selections.
    """

    steps: list[Step] = field(default_factory=list)
    words: str = ""
    problem: str = ""
    generation: int = 0


def session() -> Session:
    kept = st.session_state.get("bulk")
    if not isinstance(kept, Session):
        kept = st.session_state["bulk"] = Session()
    return kept


def decide(
    store: Store, audit: str, rows: Sequence[Row], decision: str, *, new_label: str | None, reviewer: str
) -> None:
    """Store a decision about every row, and remember how to take it back.

    Args:
        rows: of ``Store.candidates.page``.
        decision: of the store, or ``accept`` for a relabel to each image's own suggestion.
        new_label: for ``relabel``; images that have this label already are kept.
    """
    known = session()
    said: dict[str, Said] = {}
    known.words = known.problem = ""
    try:
        for (what, label), paths in _wanted(rows, decision, new_label).items():
            store.decisions.append_many(audit, paths, what, new_label=label or None, reviewer=reviewer)
            said |= dict.fromkeys(paths, (what, label, reviewer))
    except GradattnError as error:
        known.problem = str(error)
    if said:
        known.words = _words(len(said), decision, new_label)
        known.steps = [*known.steps, Step(audit, said, known.words)][-_LONGEST_WAY_BACK:]
    known.generation += 1


def undo(store: Store, *, reviewer: str) -> None:
    """Take back the newest bulk decision, except where somebody has said something else since."""
    known = session()
    if not known.steps:
        return
    step = known.steps[-1]
    known.words = known.problem = ""
    try:
        undone = take_back(store, step.audit, step.said, reviewer=reviewer)
    except GradattnError as error:
        known.problem = str(error)
    else:
        known.steps = known.steps[:-1]
        known.words = taken_back(undone, len(step.said) - undone)
    known.generation += 1


def take_back(store: Store, audit: str, said: Mapping[str, Said], *, reviewer: str) -> int:
    """Undo what was said about each path, where that very word still stands; returns how many. Raises StoreError."""
    now = store.candidates.page(audit, paths=list(said))
    columns = (now["path"], now["decision"], now["new_label"], now["reviewer"])
    standing = [path for path, *word in zip(*columns, strict=True) if tuple(word) == said[path]]
    return store.decisions.undo_many(audit, standing, reviewer=reviewer) if standing else 0


def taken_back(undone: int, left: int) -> str:
    """What an undo did, as a sentence; ``left`` counts those that somebody has decided anew."""
    words = f"Taken back for {_count(undone)}"
    return f"{words}; {left:,} {'has' if left == 1 else 'have'} been decided anew since" if left else words


def report() -> None:
    """What came of the last decision: one line, or the problem."""
    known = session()
    if known.problem:
        st.error("Not everything was stored. Try again." if known.words else "Nothing was stored. Try again.")
        components.plain(known.problem, "quiet-bulk-problem")
    components.plain(known.words, "quiet-bulk")


def _wanted(rows: Sequence[Row], decision: str, new_label: str | None) -> dict[tuple[str, str], list[str]]:
    """Paths by what is to be stored about them: (decision, new label or "")."""
    wanted: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        label = str(row["suggested_label"]) if decision == "accept" else new_label or ""
        if decision not in ("accept", "relabel"):
            wanted[decision, ""].append(str(row["path"]))
        elif label:
            what = ("keep", "") if label == row["given_label"] else ("relabel", label)
            wanted[what].append(str(row["path"]))
    return wanted


def _words(count: int, decision: str, new_label: str | None) -> str:
    done = {
        "accept": "relabelled as suggested",
        "keep": "label is right",
        "remove": "marked for removal",
        "unsure": "marked as unsure",
    }
    return f"{_count(count)}: {done.get(decision) or f'relabelled to {short(str(new_label))}'}"


def _count(count: int) -> str:
    return f"{count:,} {'image' if count == 1 else 'images'}"
