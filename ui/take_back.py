"""Taking back decisions of the log: what this session has done there, and what there is to tell about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.store.decisions import Decision
from gradattn_core.wording import count_of
from ui import candidates_file, components, identity
from ui.components import Row


@dataclass(frozen=True)
class Decided:
    """What was decided about images of an audit, by path."""

    audit: str
    decisions: Mapping[str, Decision]


@dataclass
class History:
    """What came of the last undo.

    Attributes:
        generation: counts them, so that pages draw anew and forget what was chosen.
    """

    sentence: str = ""
    problem: str = ""
    generation: int = 0


def history() -> History:
    kept = st.session_state.get("taken-back")
    if not isinstance(kept, History):
        kept = st.session_state["taken-back"] = History()
    return kept


def report() -> None:
    """What came of the last undo: one line, or the problem."""
    past = history()
    if past.problem:
        st.error("Not everything was stored. Try again." if past.sentence else "Nothing was stored. Try again.")
        components.plain(past.problem, "quiet-bulk-problem")
    components.plain(past.sentence, "quiet-bulk")


def take_back(parts: Sequence[Decided], *, reviewer: str) -> None:
    """Undo what was decided about each image, except where somebody has decided something else since."""
    past, undone = history(), 0
    past.sentence = past.problem = ""
    try:
        for part in parts:
            undone += _undo_standing(part, identity.signing(reviewer))
    except GradattnError as error:
        past.problem = str(error)
    if undone or not past.problem:
        past.sentence = f"Taken back for {count_of(undone, 'image')}"
        anew = sum(len(part.decisions) for part in parts) - undone
        if anew and not past.problem:
            past.sentence += f"; {anew:,} {'has' if anew == 1 else 'have'} been decided anew since"
    past.generation += 1


def decision_of(row: Row) -> Decision:
    """What stands about an image, or was entered in the log, without its note."""
    return Decision(row["decision"], row["reviewer"], row["new_label"] or None)


def _undo_standing(part: Decided, reviewer: str) -> int:
    """Undo the decisions that still stand, and count them. Raises StoreError."""
    store = components.store()
    rows = components.rows_of(store.candidates.page(part.audit, paths=list(part.decisions), decided="yes"))
    standing = [row["path"] for row in rows if decision_of(row) == part.decisions[row["path"]]]
    if not standing:
        return 0
    undone = store.decisions.undo_many(part.audit, standing, reviewer=reviewer)
    candidates_file.follow(store, part.audit)
    return undone
