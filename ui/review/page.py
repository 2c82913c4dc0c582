"""Review: one suspect after another, each with its evidence, decided with one key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.store.candidates import CandidateFilter
from gradattn_core.sums import DEFAULT_ORIGIN, Origin
from gradattn_core.wording import full_name, short_name
from ui import background, components, identity, pictures
from ui.components import Row, escaped, plain, present
from ui.review import card, drawn, on_demand, standing
from ui.review.drawn import Drawn
from ui.review.queue import Queue

_ORIGINS: dict[Origin, str] = {"average": "An average picture", "picture": "No picture"}
_PLAIN = pictures.View(0.8, smooth=True, palette="red-blue", regions=False)
_SCRIPT = Path(__file__).with_name("keys.html")
_KEYS = {
    "A": "Accept the suggested label; remove what is suggested to be of none of these classes",
    "K": "Label is right, keep it",
    "X": "Remove the image",
    "U": "Unsure",
    "/": "Relabel to another class: type a part of its name, then Enter",
    "N": "Write a note; Esc leaves the field",
    "S": "Skip, decide later",
    "B": "Back to the one before",
    "Z": "Undo the last decision",
    "V": "Next view: original, overlay, side by side",
    "?": "Show these keys; ? or Esc closes them",
}


def show() -> None:
    audit = components.audit_id()
    reviewer = components.reviewer()
    st.sidebar.subheader("To review")
    purpose = drawn.choose()
    if purpose is None:
        queue = _queue(audit, components.filters(audit, default="Undecided"))
    else:
        queue = drawn.queue(audit, purpose)
    row = queue.show(components.store())
    blind = isinstance(queue, Drawn) and queue.blind
    view, mode, reading = _head(queue, blind)
    if row is None:
        _end_of_queue(queue)
        return
    if isinstance(queue, Drawn):
        standing.show(queue)
    shown = pictures.subject_of(audit, row)
    left, right = st.columns([2, 1], gap="medium")
    with left:
        if blind:
            card.bare(shown, row)
        else:
            card.picture(shown, row, view, mode)
            on_demand.show(shown, view)
    with right, st.container(gap="xsmall", key="card"):
        if blind:
            standing.given(row, reviewer)
        else:
            card.labels(row)
        # While the keys are being read, none of them decides.
        _buttons(queue, row, reviewer, reading)
    if not blind:
        card.comparison(shown, row)
        card.facts(row)
    _prefetch(queue, view, mode, blind)


def _queue(audit: str, filters: CandidateFilter) -> Queue:
    """The session's queue; a new one, from the place in the URL, where audit or filters have changed."""
    queue = st.session_state.get("queue")
    if not isinstance(queue, Queue) or (queue.audit, queue.filters) != (audit, filters):
        queue = Queue(audit, filters, start=components.whole_number("at", 0) if queue is None else 0)
        st.session_state["queue"] = queue
    if not queue.follow(st.query_params.get("path")):
        st.query_params.pop("path", None)
    st.query_params["at"] = str(queue.at)
    return queue


def _head(queue: Queue, blind: bool) -> tuple[pictures.View, str, bool]:
    """Progress on the left, how evidence is drawn on the right; also whether the help has just been opened."""
    store = components.store()
    if isinstance(queue, Drawn):
        total, decided = len(queue.paths), queue.decided_of_page(store)
    else:
        decided = store.candidates.count(queue.audit, **(queue.filters | {"decided": "yes"}))
        # What was learnt may have made suspects since they were counted.
        total = max(_total(str(components.directory()), queue.audit, queue.filters | {"decided": "any"}), decided)
    with st.container(horizontal=True, vertical_alignment="bottom", key="head", gap="small"):
        if total or not isinstance(queue, Drawn):
            st.progress(decided / total if total else 0.0, text=f"{decided:,} of {total:,} decided")
        view, mode = (_PLAIN, card.MODES[0]) if blind else _view()
        reading = st.button("?", key="help", help="All keys")
    with st.container(key="script-keys"):
        st.html(_SCRIPT, unsafe_allow_javascript=True)
    if reading:
        _help()
    problem = st.session_state.pop("problem", None)
    if problem:
        with st.container(key="problem"):
            st.error("Nothing was stored. Try again.")
            plain(problem, "quiet-problem")
    return view, mode, reading


def _view() -> tuple[pictures.View, str]:
    mode = st.segmented_control(
        "View",
        card.MODES,
        default=card.MODES[-1],
        required=True,
        key="mode",
        persist_state="session",
        label_visibility="collapsed",
    )
    with st.popover("Colours", icon=":material/tune:"):
        opacity = st.slider("Opacity", 0.1, 1.0, 0.8, key="opacity", persist_state="session")
        smooth = st.toggle("Smooth between patches", value=True, key="smooth", persist_state="session")
        regions = st.toggle("Boxes around the regions", key="regions", persist_state="session")
        origin = st.segmented_control(
            "The waterfall begins with",
            list(_ORIGINS),
            default=DEFAULT_ORIGIN,
            format_func=_ORIGINS.__getitem__,
            required=True,
            key="origin",
            persist_state="session",
            help="Either way the numbers add up to the same answer. Measured ones begin with no picture.",
        )
    return pictures.View(opacity, smooth, components.palette(), regions, origin), mode


@st.dialog("Keys", on_dismiss="rerun")
def _help() -> None:
    rows = "".join(f"<tr><td><kbd>{key}</kbd></td><td>{meaning}</td></tr>" for key, meaning in _KEYS.items())
    st.html(f'<table class="gradattn-keys">{rows}</table>')


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def _total(folder: str, audit: str, filters: CandidateFilter) -> int:
    """How many suspects the filters choose, decided or not, at most a minute ago."""
    return components.store().candidates.count(audit, **filters)


def _buttons(queue: Queue, row: Row, reviewer: str, reading: bool) -> None:
    path = str(row["path"])
    shut = reading or components.read_only() or not reviewer
    # Keys that belong to one suspect: a second press of a key cannot decide a suspect nobody has seen yet.
    mark = hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    # A fixed place for what comes and goes, so that the buttons after it are exchanged in place.
    with st.container():
        if components.read_only():
            st.info("Read-only: decisions are switched off.")
        elif not reviewer:
            identity.ask()
    with st.container(gap="xsmall", key="decide"):
        _decisions(queue, row, mark, reviewer, shut)
    _other_class(queue, row, mark, reviewer, shut)
    st.text_input(
        "Note",
        key=f"note-{mark}",
        placeholder="Note, stored with the decision…  N",
        max_chars=2000,
        disabled=shut,
        label_visibility="collapsed",
    )
    back, undo, skip = st.columns(3, gap="xsmall")
    back.button(
        "Back",
        key=f"back-{mark}",
        shortcut="B",
        on_click=queue.back,
        disabled=reading or not queue.trail,
        width="stretch",
    )
    undo.button(
        "Undo",
        key=f"undo-{mark}",
        shortcut="Z",
        on_click=_undo,
        args=(queue, path, reviewer),
        disabled=shut or not (queue.decided or present(row["decision"])),
        width="stretch",
    )
    skip.button(
        "Skip",
        key=f"skip-{mark}",
        shortcut="S",
        on_click=_skip,
        args=(queue, path),
        disabled=reading,
        width="stretch",
    )


def _decisions(queue: Queue, row: Row, mark: str, reviewer: str, shut: bool) -> None:
    path, suggested = str(row["path"]), row["suggested_label"]

    def press(label: str, key: str, decision: str, *, new_label: str | None = None, primary: bool = False) -> None:
        st.button(
            label,
            key=f"{decision}-{primary}-{mark}",
            shortcut=key,
            on_click=_decide,
            args=(queue, path, mark, decision, new_label, reviewer),
            disabled=shut,
            width="stretch",
            type="primary" if primary else "secondary",
        )

    # Which answer is the likelier would be a hint.
    blind = isinstance(queue, Drawn) and queue.blind
    with st.container():
        if suggested and not blind:
            label = f"Relabel to {escaped(short_name(str(suggested)))}"
            press(label, "A", "relabel", new_label=str(suggested), primary=True)
        elif not blind:
            press("Remove: none of these classes", "A", "remove", primary=True)
    press("Label is right", "K", "keep")
    unsure, remove = st.columns(2, gap="xsmall")
    with unsure:
        press("Unsure", "U", "unsure")
    with remove:
        press("Remove", "X", "remove")


def _other_class(queue: Queue, row: Row, mark: str, reviewer: str, shut: bool) -> None:
    names = components.classes(str(components.directory()), queue.audit)
    st.selectbox(
        "Another class",
        [name for name in names if name != row["given_label"]],
        index=None,
        format_func=full_name,
        placeholder="Relabel to another class…  /",
        key=f"other-{mark}",
        on_change=_relabel_to_chosen,
        args=(queue, str(row["path"]), mark, reviewer),
        disabled=shut,
        label_visibility="collapsed",
    )


def _decide(queue: Queue, path: str, mark: str, decision: str, new_label: str | None, reviewer: str) -> None:
    note = st.session_state.get(f"note-{mark}", "")
    try:
        queue.decide(
            components.store(), path, decision, new_label=new_label, reviewer=identity.signing(reviewer), note=note
        )
        background.tell(components.store(), queue.audit)
    except GradattnError as error:
        st.session_state["problem"] = str(error)


def _relabel_to_chosen(queue: Queue, path: str, mark: str, reviewer: str) -> None:
    chosen = st.session_state.get(f"other-{mark}")
    if chosen is not None:
        _decide(queue, path, mark, "relabel", chosen, reviewer)


def _undo(queue: Queue, path: str, reviewer: str) -> None:
    try:
        queue.undo(components.store(), path, reviewer=identity.signing(reviewer))
    except GradattnError as error:
        st.session_state["problem"] = str(error)


def _skip(queue: Queue, path: str) -> None:
    queue.skip(components.store(), path)


def _end_of_queue(queue: Queue) -> None:
    if isinstance(queue, Drawn) and not queue.left(components.store()):
        standing.end(queue)
        if queue.trail:
            st.button("Back", key="back", on_click=queue.back, shortcut="B")
        return
    st.subheader("Nothing left in this list")
    if queue.at:
        st.write("You have reached its end. Skipped pictures are at its beginning.")
        st.button("Start again", on_click=queue.restart, type="primary", shortcut="S")
    else:
        st.write("Choose other filters in the sidebar, or take the results with you on the Export page.")
    if queue.trail:
        st.button("Back", key="back", on_click=queue.back, shortcut="B")


def _prefetch(queue: Queue, view: pictures.View, mode: str, blind: bool) -> None:
    """Warm the caches for the suspect that comes next, after everything on the screen has been sent."""
    for row in queue.ahead(components.store(), 2):
        if str(row["path"]) == queue.showing:
            continue
        subject = pictures.subject_of(queue.audit, row)
        try:
            if blind:
                pictures.original(subject)
            else:
                card.warm(subject, row, view, mode)
        except GradattnError:
            return  # it will be said when that suspect is shown


show()
