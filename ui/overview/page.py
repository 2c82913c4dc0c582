"""Overview: the audit in one look, and the ways into its suspects."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import pandas as pd
import streamlit as st

from gradattn_core.estimates import percent
from gradattn_core.kinds import KINDS, suggestion
from gradattn_core.store.unjudged import by_kind
from gradattn_core.wording import (
    ASSUMED,
    count_of,
    full_name,
    interval,
    list_lengths,
    minute,
    rough_number,
)
from ui import components
from ui.audits import finished
from ui.components import plain
from ui.overview import heat_map, how_many, relearning

_FAILURES = 200
_ROWS = 500
_RANGE = f"Depending on {ASSUMED}. No interval: only a random check measures."
# In CSS pixels: of a table's row, and of the tallest table.
_ROW_HEIGHT, _MOST_HEIGHT = 35, 388


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    summary = store.audits.one(audit)
    components.title("Overview")
    plain(
        f"{Path(summary.dataset).name} · {summary.model} · head {summary.head} · "
        f"finished {minute(summary.finished_at)} UTC",
        "quiet-audit",
    )
    for position, warning in enumerate(summary.warnings):
        plain(warning, f"mark-warning-{position}")
    review = store.review.progress(audit)
    how_many.show(summary, review)
    relearning.show(store, summary, review)
    if not summary.suspects:
        st.write("No label of this audit is in doubt.")
        with st.container(horizontal=True, key="ways"):
            _proofs()
    else:
        ways, worth = st.columns([2, 3], gap="large")
        with ways, st.container(horizontal=True, key="ways"):
            if st.button("Review the suspects", type="primary", icon=":material/rule:", shortcut="Enter"):
                _leave("review")
            if st.button("As a grid", icon=":material/grid_view:"):
                _leave("grid")
            _proofs()
        with worth:
            _worth(audit, summary.images, summary.suspects)
        left, right = st.columns([3, 2], gap="large")
        with left:
            _pairs(audit, store.audits.class_pairs(audit))
        with right:
            _kinds(store.audits.kinds(audit))
        _classes(audit, store.audits.class_health(audit))
    failures = store.audits.failures(audit)
    if len(failures):
        _failures(failures)
    finished.show_changes()


def _proofs() -> None:
    """The ways into reviews that measure."""
    if st.button("Spot check", icon=":material/casino:", help="Pictures drawn at random tell how many are wrong"):
        _leave("review", list="Spot check")
    if st.button("Until few are left", icon=":material/flag:", help="A review that ends once that is proved"):
        _leave("review", list="Until few are left")


@st.fragment
def _worth(audit: str, images: int, suspects: int) -> None:
    """How far down the list it is worth to go."""
    with st.container(key="worth"):
        first = st.select_slider(
            "How far to go down the list",
            list_lengths(images, suspects),
            value=suspects,
            format_func=lambda count: f"{count:,}",
            key=f"first-{audit}",
            persist_state="session",
        )
        share = percent(components.store().audits.expected_found(audit, first), counted=True)
        st.text(f"Reviewing the first {first:,} finds {share} of the labels that the model believes to be wrong.")


def _pairs(audit: str, pairs: pd.DataFrame) -> None:
    st.subheader("Class pairs")
    fields = heat_map.cells(heat_map.worst(pairs))
    chart, table = st.tabs(["Map", "Table"], key="pairs-as", on_change="rerun")
    if table.open:
        with table:
            _pair_table(pairs.head(_ROWS))
        return
    with chart:
        others = len(pairs) - len(fields)
        st.caption(
            "Rows: the given label. Columns: what the suspects look like. Select a field to see its suspects."
            + (f" {others:,} pairs of other classes are in the table." if others else "")
        )
        event = st.vega_lite_chart(
            fields,
            heat_map.spec(fields, st.context.theme.type or "light"),
            key=f"map-{audit}",
            on_select="rerun",
            selection_mode="chosen",
            alt=heat_map.alternative(fields),
        )
        chosen = event["selection"].get("chosen") or []
        if chosen:
            _open_pair(pairs, int(chosen[0]["pair"]))


def _pair_table(pairs: pd.DataFrame) -> None:
    frame = pairs.assign(
        given=pairs["given_label"].map(full_name), suggested=pairs["suggested_label"].map(full_name).map(suggestion)
    )
    event = st.dataframe(
        frame[["given", "suggested", "suspects", "expected", "share", "lift", "decided"]],
        hide_index=True,
        key="pairs",
        on_select="rerun",
        selection_mode="single-row",
        height=_height(pairs),
        column_config={
            "given": st.column_config.TextColumn("Given"),
            "suggested": st.column_config.TextColumn("Looks like"),
            "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
            "expected": st.column_config.NumberColumn("Wrong, the model believes", format="%.1f"),
            "share": st.column_config.NumberColumn("Of the class", format="percent"),
            "lift": st.column_config.NumberColumn("Lift", format="%.1f"),
            "decided": st.column_config.NumberColumn("Decided", format="localized"),
        },
    )
    if event.selection.rows:
        _open_pair(pairs, event.selection.rows[0])


def _kinds(kinds: dict[str, int]) -> None:
    st.subheader("Kinds of doubt")
    if not kinds:
        st.caption("This audit was made before kinds were told apart.")
        return
    most = max(kinds.values())
    for kind, count in kinds.items():
        with st.container(key=f"kind-{kind.replace(' ', '-')}", gap="xxsmall"):
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                pressed = st.button(kind.capitalize(), type="tertiary", icon=":material/grid_view:")
                st.text(f"{count:,}")
            st.html(f'<div class="gradattn-share"><div style="width:{100 * count / most:.1f}%"></div></div>')
            st.caption(KINDS.get(kind, ""))
        if pressed:
            _leave("grid", kind=kind)


def _classes(audit: str, health: pd.DataFrame) -> None:
    st.subheader("Worst classes")
    health = health[health["suspects"] > 0].head(_ROWS)
    frame = pd.DataFrame(
        {
            "class": health["given_label"].map(full_name),
            "images": health["images"],
            "wrong": health["wrong"].map(rough_number),
            "range": [interval(low, high) for low, high in zip(health["low"], health["high"], strict=True)],
            "share": 100 * health["wrong"] / health["images"],
            "suspects": health["suspects"],
            "decided": health["decided"],
        }
    )
    event = st.dataframe(
        frame,
        hide_index=True,
        key=f"classes-{audit}",
        on_select="rerun",
        selection_mode="single-row",
        height=_height(frame),
        column_config={
            "class": st.column_config.TextColumn("Given label"),
            "images": st.column_config.NumberColumn("Images", format="localized"),
            "wrong": st.column_config.TextColumn("Wrong, the model believes", alignment="right"),
            "range": st.column_config.TextColumn("Range", alignment="right", help=_RANGE),
            "share": st.column_config.ProgressColumn(
                "Share it believes wrong",
                format="%.1f%%",
                min_value=0.0,
                max_value=max(1.0, float(frame["share"].max())),
            ),
            "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
            "decided": st.column_config.NumberColumn("Decided", format="localized"),
        },
    )
    if event.selection.rows:
        _leave("grid", given=str(health.iloc[event.selection.rows[0]]["given_label"]))


def _failures(failures: pd.DataFrame) -> None:
    kinds = by_kind(failures)
    with st.expander(f"{count_of(sum(kind.files for kind in kinds), 'file')} not judged"):
        if kinds:
            grouped = pd.DataFrame([asdict(kind) for kind in kinds[:_FAILURES]]).rename(columns={"reason": "why"})
            st.dataframe(grouped[["files", "ending", "given_label", "stage", "why", "example"]], hide_index=True)
        st.dataframe(failures.head(_FAILURES), hide_index=True)
        if len(failures) > _FAILURES:
            st.caption(f"The first {_FAILURES}; `gradattn export failures` has all {len(failures):,}.")


def _open_pair(pairs: pd.DataFrame, row: int) -> NoReturn:
    _leave("pair", given=str(pairs["given_label"].iloc[row]), suggested=str(pairs["suggested_label"].iloc[row]))


def _leave(address: str, **filters: str) -> NoReturn:
    """To another page with these filters and no others; the audit stays the one chosen here."""
    audit = st.query_params.get("audit")
    components.leave(address, **filters, **({"audit": audit} if audit else {}))


def _height(rows: pd.DataFrame) -> int:
    return min(_ROW_HEIGHT * (len(rows) + 1) + 3, _MOST_HEIGHT)


show()
