"""Review: one suspect after another, each with its evidence, decided with one key."""

from __future__ import annotations

import hashlib
from typing import Any

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.records import Evidence
from ui import components, pictures
from ui.components import Row, escaped, meter, plain, present
from ui.reviewing import Queue


def show() -> None:
    audit = components.audit_id()
    with st.sidebar:
        reviewer = components.reviewer()
        st.subheader("Suspects")
        filters = components.filters(audit, default="Undecided")
    queue = _queue(audit, filters)
    row = queue.show(components.store())
    view = _head(queue)
    if row is None:
        _end_of_queue(queue)
        return
    left, right = st.columns([2, 1], gap="medium")
    with left:
        _evidence(queue, row, view)
    with right:
        _names(row)
        _buttons(queue, row, reviewer)
    _details(row)
    _prefetch(queue, view)


def _queue(audit: str, filters: dict[str, Any]) -> Queue:
    """The session's queue; a new one, from the place in the URL, where audit or filters have changed."""
    queue = st.session_state.get("queue")
    if not isinstance(queue, Queue) or (queue.audit, queue.filters) != (audit, filters):
        asked = st.query_params.get("at", "0") if queue is None else "0"
        queue = Queue(audit, filters, at=int(asked) if asked.isdecimal() and len(asked) < 10 else 0)
        st.session_state["queue"] = queue
    st.query_params["at"] = str(queue.at)
    return queue


def _head(queue: Queue) -> pictures.View:
    """Progress on the left, how evidence is drawn on the right."""
    total = _total(str(components.directory()), queue.audit, queue.filters | {"decided": "any"})
    decided = components.store().count_candidates(queue.audit, **(queue.filters | {"decided": "yes"}))
    head = st.container(horizontal=True, wrap=False, vertical_alignment="bottom")
    head.progress(decided / total if total else 0.0, text=f"{decided:,} of {total:,} decided")
    with head.popover("View", icon=":material/tune:"):
        opacity = st.slider("Strength of the colours", 0.1, 1.0, 0.8, key="opacity", persist_state="session")
        smooth = st.toggle("Smooth between patches", value=True, key="smooth", persist_state="session")
        regions = st.toggle("Outline the regions", key="regions", persist_state="session")
        st.toggle("Orange and purple", key="colour_blind", persist_state="session", help="For colour-blind eyes.")
    problem = st.session_state.pop("problem", None)
    if problem:
        with st.container(key="problem"):
            st.error("Nothing was stored. Try again.")
            plain(problem, "quiet-problem")
    return pictures.View(opacity, smooth, components.palette(), regions)


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def _total(folder: str, audit: str, filters: dict[str, Any]) -> int:
    """How many suspects the filters choose, decided or not: an audit's suspects never change."""
    return components.store().count_candidates(audit, **filters)


def _evidence(queue: Queue, row: Row, view: pictures.View) -> None:
    path = str(row["path"])
    folder = str(components.directory())
    evidence = pictures.evidence(folder, queue.audit, path)
    try:
        original = pictures.original(folder, queue.audit, path)
        overlay = pictures.evidence_overlay(folder, queue.audit, path, evidence, view) if evidence else None
    except GradattnError as error:
        st.warning("The picture cannot be shown. You can still decide.", icon=":material/broken_image:")
        plain(str(error), "quiet-broken")
    else:
        with st.container(key="pictures", horizontal=True, wrap=False, gap="small"):
            st.image(original, width="stretch", alt="The suspect as it is")
            if overlay:
                st.image(overlay, width="stretch", alt="The suspect in grey with the evidence in two colours")
        if evidence:
            _scale(evidence)
        else:
            st.caption("No evidence was computed for this image.")


def _scale(evidence: Evidence) -> None:
    components.scale()
    positive, negative = evidence.statistics.positive_mass, evidence.statistics.negative_mass
    with st.container(key="ends", horizontal=True, wrap=False):
        for key, label, mass in (
            ("end-for", evidence.for_label, positive),
            ("end-against", evidence.against_label, negative),
        ):
            share = f"{mass / (positive + negative):.0%}" if positive + negative else "none"
            plain(f"{share} of the map speaks for {label}", key)


def _names(row: Row) -> None:
    """Given and suggested label with their probabilities, and what else is worth knowing in a line each."""
    for sign, title, label, probability in (
        (+1, "Given label", row["given_label"], row["given_probability"]),
        (-1, "Suggested", row["suggested_label"], row["suggested_probability"]),
    ):
        with st.container(gap=None):
            if not present(label):
                continue
            share = float(probability) if present(probability) else 0.0
            with st.container(horizontal=True, horizontal_alignment="distribute"):
                st.caption(title, width="content")
                st.caption(f"{share:.1%}", width="content")
            plain(str(label), f"name-{'given' if sign > 0 else 'suggested'}")
            meter(share, sign)
    with st.container(gap="small"):
        _remarks(row)


def _remarks(row: Row) -> None:
    if present(row["predicted_label"]) and row["predicted_label"] != row["suggested_label"]:
        plain(
            f"The head that the colours explain names {row['predicted_label']}; "
            f"the ranking, which knows more, suggests {row['suggested_label']}.",
            "quiet-head",
        )
    if present(row["outside_label"]):
        plain(f"Looks most like {row['outside_label']}, which is not a class here.", "quiet-outside")
    if present(row["decision"]):
        who = f" by {row['reviewer']}" if present(row["reviewer"]) else ""
        new = f" to {row['new_label']}" if present(row["new_label"]) else ""
        plain(f"Decided: {components.DECISIONS[row['decision']]}{new}{who}", "quiet-decision")


def _buttons(queue: Queue, row: Row, reviewer: str) -> None:
    path, suggested = str(row["path"]), row["suggested_label"]
    # Keys that belong to one suspect: a second press of a key cannot decide a suspect nobody has seen yet.
    mark = hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    shut = components.read_only() or not reviewer
    # A fixed place for what comes and goes, so that the buttons after it are exchanged in place.
    with st.container():
        if components.read_only():
            st.info("Read-only: decisions are switched off.")
        elif not reviewer:
            st.info("Who is reviewing? Enter your name in the sidebar to decide.", icon=":material/person:")

    def press(label: str, key: str, decision: str, *, new_label: str | None = None, primary: bool = False) -> None:
        st.button(
            label,
            key=f"{decision}-{new_label is not None}-{mark}",
            shortcut=key,
            on_click=_decide,
            args=(queue, path, mark, decision, new_label, reviewer),
            disabled=shut,
            width="stretch",
            type="primary" if primary else "secondary",
        )

    with st.container():
        if present(suggested):
            press(f"Relabel to {escaped(str(suggested))}", "A", "relabel", new_label=str(suggested), primary=True)
    press("Label is right", "K", "keep")
    unsure, remove = st.columns(2, gap="small")
    with unsure:
        press("Unsure", "U", "unsure")
    with remove:
        press("Remove", "X", "remove")
    st.selectbox(
        "Another class",
        [name for name in components.classes(str(components.directory()), queue.audit) if name != row["given_label"]],
        index=None,
        placeholder="Relabel to another class…",
        key=f"other-{mark}",
        on_change=_relabel_to_chosen,
        args=(queue, path, mark, reviewer),
        disabled=shut,
        label_visibility="collapsed",
    )
    st.text_input(
        "Note",
        key=f"note-{mark}",
        placeholder="Note, stored with the decision",
        max_chars=2000,
        disabled=shut,
        label_visibility="collapsed",
    )
    previous, undo, skip = st.columns(3, gap="small")
    previous.button("Back", key="back", shortcut="B", on_click=queue.back, disabled=not queue.trail, width="stretch")
    undo.button(
        "Undo",
        key="undo",
        shortcut="Z",
        on_click=_undo,
        args=(queue, path, reviewer),
        disabled=shut or not (queue.decided or present(row["decision"])),
        width="stretch",
    )
    skip.button("Skip", key=f"skip-{mark}", shortcut="S", on_click=_skip, args=(queue, path), width="stretch")


def _decide(queue: Queue, path: str, mark: str, decision: str, new_label: str | None, reviewer: str) -> None:
    note = st.session_state.get(f"note-{mark}", "")
    try:
        queue.decide(components.store(), path, decision, new_label=new_label, reviewer=reviewer, note=note)
    except GradattnError as error:
        st.session_state["problem"] = str(error)


def _relabel_to_chosen(queue: Queue, path: str, mark: str, reviewer: str) -> None:
    chosen = st.session_state.get(f"other-{mark}")
    if chosen is not None:
        _decide(queue, path, mark, "relabel", chosen, reviewer)


def _undo(queue: Queue, path: str, reviewer: str) -> None:
    try:
        queue.undo(components.store(), path, reviewer=reviewer)
    except GradattnError as error:
        st.session_state["problem"] = str(error)


def _skip(queue: Queue, path: str) -> None:
    queue.skip(components.store(), path)


def _details(row: Row) -> None:
    with st.expander("Details"):
        st.code(str(row["path"]), language=None, wrap_lines=True)
        facts = [
            f"Rank {row['rank']:,} · suspicion {row['suspicion']:.3f} · margin {row['margin']:.2f}",
            f"{row['width']} × {row['height']} pixels",
        ]
        if present(row["runner_up_label"]):
            facts.append(f"Runner-up: {row['runner_up_label']}")
        if present(row["note"]):
            facts.append(f"Note: {row['note']}")
        facts += [f"Given: {row['given_label']}", f"Suggested: {row['suggested_label']}"]
        plain("\n".join(facts), "quiet-facts")


def _end_of_queue(queue: Queue) -> None:
    st.subheader("Nothing left in this list")
    if queue.at:
        st.write("You have reached its end. Skipped suspects are at its beginning.")
        st.button("Start again", on_click=queue.restart, type="primary", shortcut="S")
    else:
        st.write("Choose other filters in the sidebar, or take the results with you on the Export page.")
    if queue.trail:
        st.button("Back", key="back", on_click=queue.back, shortcut="B")


def _prefetch(queue: Queue, view: pictures.View) -> None:
    """Warm the caches for the suspect that comes next, after everything on the screen has been sent."""
    folder = str(components.directory())
    for row in queue.ahead(components.store(), 2):
        path = str(row["path"])
        if path == queue.showing:
            continue
        try:
            pictures.original(folder, queue.audit, path)
            evidence = pictures.evidence(folder, queue.audit, path)
            if evidence:
                pictures.evidence_overlay(folder, queue.audit, path, evidence, view)
        except GradattnError:
            return  # it will be said when that suspect is shown


show()
