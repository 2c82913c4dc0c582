"""Decisions: who said what, and when; what stands, where reviewers differ, and how they get on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
import streamlit as st

from gradattn_core.estimates import percent
from gradattn_core.store.decisions import Decision
from gradattn_core.store.store import Store
from gradattn_core.wording import count_of, full_name, minute, short_name
from ui import components, markup, take_back
from ui.api import token
from ui.components import DECISIONS, Row, escaped
from ui.identity import login
from ui.markup import Markup, class_name, tag
from ui.take_back import Decided

_SIZE = 50
_FORMS = ("By picture", "By time")
_WORDS_BELOW = 4


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    reviewer = "" if components.read_only() else components.reviewer()
    reviewers = store.decisions.reviewers()
    components.title("Decisions")
    if not reviewers:
        st.write("Nothing has been decided yet. Decisions made on these pages appear here:")
        components.link("review")
        components.link("grid")
        return
    _pace(store, audit)
    with st.container(horizontal=True, vertical_alignment="center", key="log-head"):
        form = st.segmented_control("Order", _FORMS, default=_FORMS[0], required=True, key="form", bind="query-params")
        with st.popover("Filter", icon=":material/filter_list:"):
            filters = components.log_filters(audit, reviewers, list(store.tags.counts(audit)))
    by_picture = form == _FORMS[0]
    # One row a picture: where something is asked of single entries, the newest that is so.
    narrowed = any(filters.get(name) for name in ("reviewer", "decision", "standing", "conflicts"))
    filters["latest"] = by_picture and not narrowed
    count = store.decisions.count(**filters)
    if count:
        page = components.page(count, _SIZE, of=(form, filters), noun="pictures" if filters["latest"] else "entries")
        log = components.rows_of(store.decisions.page(**filters, top=_SIZE, offset=(page - 1) * _SIZE))
        _log(log, _before(store, log) if by_picture else {}, reviewer)
    else:
        st.write("No entry passes these filters. Choose others.")
    if len(reviewers) > 1:
        _agreement(store.decisions.agreement())


def _before(store: Store, log: Sequence[Row]) -> dict[str, list[Row]]:
    """What else was said about the pictures of these entries, newest first, by entry."""
    contents = sorted({str(entry["content_hash"]) for entry in log})
    every: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for entry in components.rows_of(store.decisions.page(contents=contents)):
        every[entry["content_hash"], entry["given_label"]].append(entry)
    return {
        str(entry["decision_id"]): [
            other
            for other in every[entry["content_hash"], entry["given_label"]]
            if other["decision_id"] != entry["decision_id"]
        ]
        for entry in log
    }


def _log(log: Sequence[Row], before: Mapping[str, Sequence[Row]], reviewer: str) -> None:
    """A page of the log; what is chosen in it can be undone or opened."""
    buttons = st.container()
    door = token.issue(login(), root=components.data_root(), scope="pictures")
    entries = []
    with st.container(key="log", gap=None):
        for entry in log:
            name = f"log-{entry['decision_id']}-{take_back.history().generation}"
            with st.container(horizontal=True, vertical_alignment="center", key=f"entry-{entry['decision_id']}"):
                # Its label is the whole line, for those who hear the page; the cells beside it are for the eye.
                if st.checkbox(_line(entry), key=name, label_visibility="hidden", width=28):
                    entries.append(entry)
                markup.show(_cells(entry, before.get(str(entry["decision_id"]), ()), door))
    with buttons:
        _buttons(entries, reviewer)


def _cells(entry: Row, before: Sequence[Row], door: str) -> Markup:
    """An entry in columns that stand below each other, with its picture, and what was said before below it."""
    asked = {"audit": entry["audit_id"], "path": entry["path"], "v": entry["content_hash"], "token": door}
    state = "disputed" if entry["conflict"] else "stands" if entry["stands"] else ""
    earlier = [
        tag("span", f"{_said(other)}, {other['reviewer']}, {minute(other['decided_at'])}", class_="before")
        for other in before[:_WORDS_BELOW]
    ]
    more = len(before) - _WORDS_BELOW
    return tag(
        "div",
        tag("img", src=f"gradattn/picture/small?{urlencode(asked)}", alt="", loading="lazy"),
        tag("span", tag("b", _said(entry)), tag("i", state, class_=state) if state else Markup("")),
        tag("span", "filed as ", class_name(entry["given_label"], short_name(entry["given_label"]))),
        tag("span", tag("bdi", entry["reviewer"]), tag("small", f"{minute(entry['decided_at'])} UTC")),
        tag("span", tag("bdi", entry["path"]), *([tag("q", entry["note"])] if entry["note"] else [])),
        tag("div", *earlier, f"and {count_of(more, 'more')}" if more > 0 else "", class_="earlier"),
        class_="entry",
        aria_hidden="true",
    )


def _said(entry: Row) -> str:
    words = DECISIONS[entry["decision"]].capitalize()
    return f"{words} → {short_name(entry['new_label'])}" if entry["new_label"] else words


def _line(entry: Row) -> str:
    """An entry as one line."""
    decision = DECISIONS[entry["decision"]].capitalize()
    if entry["new_label"]:
        decision += f" → {full_name(entry['new_label'])}"
    facts = [
        f"**{escaped(decision, 120)}**",
        escaped(str(entry["path"]), 120),
        escaped(f"given {full_name(entry['given_label'])}", 80),
        # One colon alone is part of no emoji's name.
        f"{escaped(entry['reviewer'], 100)}, {minute(entry['decided_at'])} UTC",
    ]
    if entry["stands"]:
        facts.append("stands")
    if entry["conflict"]:
        facts.append("**disputed**")
    if entry["note"]:
        facts.append(escaped(f"“{entry['note']}”", 200))
    return " · ".join(facts)


def _buttons(entries: Sequence[Row], reviewer: str) -> None:
    standing = [entry for entry in entries if entry["stands"]]
    others = sum(entry["reviewer"] != reviewer for entry in standing)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="log-row"):
        if not components.read_only():
            st.button(
                f"Undo {len(standing):,}" if standing else "Undo",
                key="log-undo",
                on_click=_undo,
                args=(standing, reviewer),
                disabled=not standing or not reviewer,
                icon=":material/undo:",
            )
        if st.button("Open in Review", key="log-open", disabled=len(entries) != 1, icon=":material/rule:"):
            components.leave("review", path=str(entries[0]["path"]), audit=str(entries[0]["audit_id"]))
        if not entries:
            way_back = "Choose entries to take back what stands; what was said before then stands again."
            st.caption("Choose an entry to open it in Review." if components.read_only() else way_back)
        elif not standing and not components.read_only():
            st.caption("Nothing chosen stands any more.")
        elif not reviewer and not components.read_only():
            st.caption("Enter your name at the top right to undo.")
        elif others and not components.read_only():
            of = f"{others:,} of the {len(standing):,}" if len(standing) > 1 else "This"
            st.caption(f"{of} {'was' if others == 1 else 'were'} decided by somebody else.")
    take_back.report()


def _undo(entries: Sequence[Row], reviewer: str) -> None:
    by_audit: dict[str, dict[str, Decision]] = defaultdict(dict)
    for entry in entries:
        by_audit[entry["audit_id"]][entry["path"]] = take_back.decision_of(entry)
    take_back.take_back([Decided(*part) for part in by_audit.items()], reviewer=reviewer)


def _pace(store: Store, audit: str) -> None:
    """How much everybody has decided and today, how fast, and how long the undecided suspects take at that."""
    zone: tzinfo = UTC
    with suppress(ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo(st.context.timezone or "UTC")
    review = store.review.progress(audit)
    left = review.suspects - review.suspects_decided
    rows = [
        {
            "Reviewer": pace.reviewer,
            "Decisions": pace.decisions,
            "Today": pace.today,
            "A minute": "–" if pace.a_minute is None else f"{pace.a_minute:.1f}",
            f"For the {left:,} undecided suspects": _minutes(left / pace.a_minute) if pace.a_minute else "–",
        }
        for pace in store.tally.pace(zone=zone)
    ]
    components.table(pd.DataFrame(rows), "Reviewers")


def _minutes(minutes: float) -> str:
    if minutes < 90:
        return f"about {count_of(math.ceil(minutes), 'minute')}"
    return f"about {count_of(round(minutes / 60), 'hour')}"


def _agreement(agreement: pd.DataFrame) -> None:
    """How often reviewers agree, where two of them have judged the same images."""
    st.header("Agreement", anchor=False)
    if agreement.empty:
        st.caption("No two reviewers have decided about the same image yet.")
        return
    st.caption(
        "Of the images both have decided about: how often their last words are the same, and Cohen's kappa, the part "
        "of it beyond chance: 1 at most, 0 for chance. It is undefined where both always said the same one thing."
    )
    components.table(
        pd.DataFrame(
            {
                "Reviewer": agreement["reviewer_a"],
                "and reviewer": agreement["reviewer_b"],
                "Images of both": agreement["both"],
                "Agree": agreement["agree"],
                "Share": [percent(share, counted=True) for share in agreement["share"]],
                "Kappa": ["undefined" if math.isnan(kappa) else f"{kappa:.2f}" for kappa in agreement["kappa"]],
            }
        ),
        "Agreement of reviewers",
    )


show()
