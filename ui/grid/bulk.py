"""A gallery with the bar below it that decides about many images at once, and the way back from each decision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.store.decisions import Decision
from gradattn_core.wording import count_of, full_name, short_name
from ui import background, components, identity
from ui.components import Row
from ui.grid.gallery import Gallery, Groups

_LONGEST_WAY_BACK = 20
_BUTTONS = (
    ("Relabel as suggested", "A", "accept", "Each selected image gets its suggested label; those of none are removed"),
    ("Label is right", "K", "keep", None),
    ("Unsure", "U", "unsure", None),
    ("Remove", "X", "remove", None),
)
_OUTCOMES = {
    "accept": "relabelled as suggested",
    "keep": "label is right",
    "remove": "marked for removal",
    "unsure": "marked as unsure",
}


@dataclass(frozen=True)
class BulkDecision:
    """What was decided about many images of an audit, by path."""

    audit: str
    decisions: Mapping[str, Decision]


@dataclass
class BulkHistory:
    """What this session has decided in bulk, newest last, and what there is to tell about it.

    Attributes:
        generation: counts what has been stored, so that pages draw anew and forget selections.
    """

    bulks: list[BulkDecision] = field(default_factory=list)
    sentence: str = ""
    problem: str = ""
    generation: int = 0


def history() -> BulkHistory:
    kept = st.session_state.get("bulk")
    if not isinstance(kept, BulkHistory):
        kept = st.session_state["bulk"] = BulkHistory()
    return kept


@st.fragment
def show(audit: str, rows: Sequence[Row], groups: Groups, *, width: int, evidence: bool = False, reviewer: str) -> None:
    """Draw a gallery and its bar. Selecting draws only this again, a decision the whole page.

    Args:
        rows: the images of ``groups``, as ``Store.candidates.page`` has them.
        width, evidence: see :class:`~ui.grid.gallery.Gallery`.
        reviewer: who decides; empty where nobody has said who they are.
    """
    if st.session_state.pop("bulk-done", False):
        st.rerun()
    selectable = not components.read_only()
    gallery = Gallery(audit, groups, width, evidence=evidence, selectable=selectable, generation=history().generation)
    selection, missing = gallery.show()
    if selection.opened is not None:
        components.leave("review", path=selection.opened, audit=audit)
    if missing:
        st.caption(
            f"{count_of(missing, 'picture')} cannot be shown. You can still decide; open one to say where they are now."
        )
    if selectable:
        with st.container(key="bulk", gap="xsmall"):
            _bar(gallery, rows, bool(selection.selected), reviewer)


def show_undo(reviewer: str) -> None:
    """The undo of the last decision, where the list has become empty through it."""
    if history().bulks and not components.read_only():
        _undo_button(reviewer)
    report()


def report() -> None:
    """What came of the last decision: one line, or the problem."""
    past = history()
    if past.problem:
        st.error("Not everything was stored. Try again." if past.sentence else "Nothing was stored. Try again.")
        components.plain(past.problem, "quiet-bulk-problem")
    components.plain(past.sentence, "quiet-bulk")


def decide(audit: str, rows: Sequence[Row], decision: str, *, new_label: str | None, reviewer: str) -> None:
    """Store a decision about every row, and remember how to take it back.

    Args:
        rows: of ``Store.candidates.page``.
        decision: of the store, or ``accept`` for a relabel to each image's own suggestion; what is suggested to be of
            none of the classes is removed.
        new_label: for ``relabel``; images that have this label already are kept.
    """
    past, store, reviewer = history(), components.store(), identity.signing(reviewer)
    past.sentence = past.problem = ""
    stored: dict[str, Decision] = {}
    try:
        for each, paths in _decisions(rows, decision, new_label, reviewer).items():
            store.decisions.append_many(audit, paths, each.decision, new_label=each.new_label, reviewer=each.reviewer)
            stored |= dict.fromkeys(paths, each)
    except GradattnError as error:
        past.problem = str(error)
    if stored:
        outcome = _OUTCOMES.get(decision) or f"relabelled to {short_name(str(new_label))}"
        removed = sum(each.decision == "remove" for each in stored.values())
        if decision == "accept" and removed:
            outcome = f"{len(stored) - removed:,} {outcome}, {removed:,} of none of these classes marked for removal"
        past.sentence = f"{count_of(len(stored), 'image')}: {outcome}"
        past.bulks = [*past.bulks, BulkDecision(audit, stored)][-_LONGEST_WAY_BACK:]
        background.tell(store, audit, len(stored))
    past.generation += 1


def take_back(bulks: Sequence[BulkDecision], *, reviewer: str) -> None:
    """Undo what was decided about each image, except where somebody has decided something else since."""
    past, undone = history(), 0
    past.sentence = past.problem = ""
    try:
        for bulk in bulks:
            undone += _undo_standing(bulk, identity.signing(reviewer))
    except GradattnError as error:
        past.problem = str(error)
    if undone or not past.problem:
        past.sentence = f"Taken back for {count_of(undone, 'image')}"
        anew = sum(len(bulk.decisions) for bulk in bulks) - undone
        if anew and not past.problem:
            past.sentence += f"; {anew:,} {'has' if anew == 1 else 'have'} been decided anew since"
    past.generation += 1


def decision_of(row: Row) -> Decision:
    """What stands about an image, or was entered in the log, without its note."""
    return Decision(row["decision"], row["reviewer"], row["new_label"] or None)


def _undo_standing(bulk: BulkDecision, reviewer: str) -> int:
    """Undo the decisions that still stand, and count them. Raises StoreError."""
    store = components.store()
    rows = components.rows_of(store.candidates.page(bulk.audit, paths=list(bulk.decisions), decided="yes"))
    standing = [row["path"] for row in rows if decision_of(row) == bulk.decisions[row["path"]]]
    return store.decisions.undo_many(bulk.audit, standing, reviewer=reviewer) if standing else 0


def _decisions(rows: Sequence[Row], decision: str, new_label: str | None, reviewer: str) -> dict[Decision, list[str]]:
    """Paths by what is to be stored about them; a row that a relabel has no label for is left out."""
    paths: dict[Decision, list[str]] = defaultdict(list)
    for row in rows:
        label = str(row["suggested_label"]) if decision == "accept" else new_label
        if decision == "accept" and not label:
            paths[Decision("remove", reviewer)].append(str(row["path"]))
        elif decision not in ("accept", "relabel"):
            paths[Decision(decision, reviewer)].append(str(row["path"]))
        elif label:
            keeps = label == row["given_label"]
            what = Decision("keep", reviewer) if keeps else Decision("relabel", reviewer, label)
            paths[what].append(str(row["path"]))
    return paths


def _bar(gallery: Gallery, rows: Sequence[Row], any_selected: bool, reviewer: str) -> None:
    if not reviewer:
        identity.ask()
        if st.session_state.get("reviewer"):
            st.rerun()
    press = partial(_decide_selected, gallery, rows, reviewer)
    idle = not any_selected or not reviewer
    with st.container(horizontal=True, gap="xsmall", key="bulk-row"):
        for label, shortcut, decision, explanation in _BUTTONS:
            st.button(
                label,
                key=f"bulk-{decision}",
                shortcut=shortcut,
                help=explanation,
                on_click=press,
                args=(decision,),
                disabled=idle,
                type="primary" if decision == "accept" else "secondary",
            )
        st.selectbox(
            "Relabel all to",
            components.classes(str(components.directory()), gallery.audit),
            index=None,
            format_func=full_name,
            placeholder="Relabel all to…",
            key=f"bulk-label-{gallery.generation}",
            on_change=press,
            args=("relabel",),
            disabled=idle,
            label_visibility="collapsed",
            width=200,
        )
        _undo_button(reviewer)
    report()


def _undo_button(reviewer: str) -> None:
    st.button(
        "Undo",
        key="bulk-undo",
        shortcut="Z",
        on_click=_undo_last,
        args=(reviewer,),
        disabled=not history().bulks or not reviewer,
        help="Take back the last decision about several images",
    )


def _decide_selected(gallery: Gallery, rows: Sequence[Row], reviewer: str, decision: str) -> None:
    """Decide about what is selected at this very moment, which may be more than the bar has been drawn for."""
    selected = set(gallery.selected())
    label = st.session_state.get(f"bulk-label-{gallery.generation}") if decision == "relabel" else None
    if not selected or (decision == "relabel" and label is None):
        return
    chosen = [row for row in rows if row["path"] in selected]
    decide(gallery.audit, chosen, decision, new_label=label, reviewer=reviewer)
    st.session_state["bulk-done"] = True


def _undo_last(reviewer: str) -> None:
    past = history()
    if past.bulks:
        take_back(past.bulks[-1:], reviewer=reviewer)
        if not past.problem:
            past.bulks = past.bulks[:-1]
    st.session_state["bulk-done"] = True
