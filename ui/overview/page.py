"""Overview: the audit in one look, and the ways into its suspects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import streamlit as st

from ui import components
from ui.components import KINDS, plain
from ui.overview import heat_map, relearning
from ui.words import about, interval, named, review_points, share

_SHOWN_FAILURES = 200
_SHOWN_ROWS = 500
_COMPARED_AUDITS = 6
_ROW, _TALLEST = 35, 388


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    summary = store.audits.summary(audit)
    st.header("Overview")
    finished = summary["finished_at"][:16].replace("T", " ")
    plain(
        f"{Path(summary['dataset']).name} · {summary['model']} · head {summary['head']} · finished {finished} UTC",
        "quiet-audit",
    )
    for position, warning in enumerate(summary["warnings"]):
        plain(warning, f"mark-warning-{position}")
    review = store.review.progress(audit)
    _numbers(summary, review)
    relearning.offer(store, audit, review)
    if not summary["suspects"]:
        st.write("No label of this audit is in doubt.")
    else:
        ways, worth = st.columns([2, 3], gap="large")
        with ways, st.container(horizontal=True, key="ways"):
            if st.button("Review the suspects", type="primary", icon=":material/rule:", shortcut="Enter"):
                _leave("review")
            if st.button("As a grid", icon=":material/grid_view:"):
                _leave("grid")
        with worth:
            _worth(audit, int(summary["images"]), int(summary["suspects"]))
        left, right = st.columns([3, 2], gap="large")
        with left:
            _pairs(audit, store.audits.class_pairs(audit))
        with right:
            _kinds(store.audits.kinds(audit))
        _classes(audit, store.audits.class_health(audit))
    if summary["failures"]:
        _failures(store.audits.failures(audit))
    _history(components.audits(str(components.directory())))


def _numbers(summary: dict[str, Any], review: dict[str, Any]) -> None:
    judged = review["wrong"] + review["right"]
    numbers = {
        "Images": (f"{summary['images']:,}", f"{summary['failures']:,} unreadable"),
        "Wrong labels, estimated": (
            f"about {about(summary['estimated_errors'])}",
            f"{interval(summary['estimated_low'], summary['estimated_high'])} (95%)",
        ),
        "Reviewed": (f"{review['reviewed']:,}", f"{review['suspects_decided']:,} of {review['suspects']:,} suspects"),
        "Precision so far": (
            share(review["precision"]),
            f"{review['wrong']:,} of {judged:,} ({share(review['precision_low'])}–{share(review['precision_high'])})"
            if judged
            else "nothing decided yet",
        ),
        "Left to find, estimated": (
            f"about {about(review['estimated_left'])}",
            f"{interval(review['left_low'], review['left_high'])} among the undecided",
        ),
    }
    with st.container(horizontal=True, key="numbers"):
        for name, (value, below) in numbers.items():
            st.metric(name, value, below, delta_color="off", delta_arrow="off", border=True)


@st.fragment
def _worth(audit: str, images: int, suspects: int) -> None:
    """How far down the list it is worth to go."""
    with st.container(key="worth"):
        first = st.select_slider(
            "How far to go down the list",
            review_points(images, suspects),
            value=suspects,
            format_func=lambda count: f"{count:,}",
            key=f"first-{audit}",
            persist_state="session",
        )
        found = components.store().audits.expected_found(audit, first)
        st.text(f"Reviewing the first {first:,} finds {share(found)} of the wrong labels, by estimate.")


def _pairs(audit: str, pairs: pd.DataFrame) -> None:
    st.subheader("Class pairs")
    drawn = heat_map.cells(heat_map.worst(pairs))
    chart, table = st.tabs(["Map", "Table"], key="pairs-as", on_change="rerun")
    if table.open:
        with table:
            _pair_table(pairs.head(_SHOWN_ROWS))
        return
    with chart:
        left_out = len(pairs) - len(drawn)
        st.caption(
            "Rows: the given label. Columns: what the suspects look like. Select a field to see its suspects."
            + (f" {left_out:,} pairs of other classes are in the table." if left_out else "")
        )
        event = st.vega_lite_chart(
            drawn,
            heat_map.spec(drawn, st.context.theme.type or "light"),
            key=f"map-{audit}",
            on_select="rerun",
            selection_mode="chosen",
            alt=heat_map.alternative(drawn),
        )
        chosen = event["selection"].get("chosen") or []
        if chosen:
            _open_pair(pairs, int(chosen[0]["pair"]))


def _pair_table(pairs: pd.DataFrame) -> None:
    shown = pairs.assign(given=pairs["given_label"].map(named), suggested=pairs["suggested_label"].map(named))
    event = st.dataframe(
        shown[["given", "suggested", "suspects", "expected", "share", "lift", "decided"]],
        hide_index=True,
        key="pairs",
        on_select="rerun",
        selection_mode="single-row",
        height=_height(pairs),
        column_config={
            "given": st.column_config.TextColumn("Given"),
            "suggested": st.column_config.TextColumn("Looks like"),
            "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
            "expected": st.column_config.NumberColumn("Expected wrong", format="%.1f"),
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
    health = health[health["suspects"] > 0].head(_SHOWN_ROWS)
    shown = pd.DataFrame(
        {
            "class": health["given_label"].map(named),
            "images": health["images"],
            "wrong": health["wrong"].map(about),
            "range": [interval(low, high) for low, high in zip(health["low"], health["high"], strict=True)],
            "share": 100 * health["wrong"] / health["images"],
            "suspects": health["suspects"],
            "decided": health["decided"],
        }
    )
    event = st.dataframe(
        shown,
        hide_index=True,
        key=f"classes-{audit}",
        on_select="rerun",
        selection_mode="single-row",
        height=_height(shown),
        column_config={
            "class": st.column_config.TextColumn("Given label"),
            "images": st.column_config.NumberColumn("Images", format="localized"),
            "wrong": st.column_config.TextColumn("Wrong, estimated", alignment="right"),
            "range": st.column_config.TextColumn("Interval", alignment="right"),
            "share": st.column_config.ProgressColumn(
                "Share wrong", format="%.1f%%", min_value=0.0, max_value=max(1.0, float(shown["share"].max()))
            ),
            "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
            "decided": st.column_config.NumberColumn("Decided", format="localized"),
        },
    )
    if event.selection.rows:
        _leave("grid", given=str(health.iloc[event.selection.rows[0]]["given_label"]))


def _failures(failures: pd.DataFrame) -> None:
    inputs = "input" if len(failures) == 1 else "inputs"
    with st.expander(f"{len(failures):,} {inputs} could not be used"):
        st.dataframe(failures[["path", "stage", "reason"]].head(_SHOWN_FAILURES), hide_index=True)
        if len(failures) > _SHOWN_FAILURES:
            st.caption(f"The first {_SHOWN_FAILURES}.")


def _history(audits: pd.DataFrame | None) -> None:
    """The newest audits, each compared with the one before it of the same dataset."""
    if audits is None or len(audits) < 2:
        return
    st.subheader("Audits")
    st.caption(
        "Changes are against the audit of the same dataset before it, by content of the picture and given label."
    )
    newest = audits.head(_COMPARED_AUDITS)
    rows: list[dict[str, Any]] = []
    for position, row in enumerate(newest.to_dict("records")):
        earlier = audits.iloc[position + 1 :]
        before = earlier[earlier["dataset"] == row["dataset"]]["audit_id"]
        changed = _difference(str(components.directory()), before.iloc[0], row["audit_id"]) if len(before) else {}
        wrong = f"{about(row['estimated_errors'])} ({interval(row['estimated_low'], row['estimated_high'])})"
        known = {str(name): value for name, value in row.items()}
        rows.append({**known, "dataset": Path(row["dataset"]).name, "wrong": wrong, **changed})
    columns = {
        "finished_at": st.column_config.DatetimeColumn("Finished"),
        "dataset": st.column_config.TextColumn("Dataset"),
        "images": st.column_config.NumberColumn("Images", format="localized"),
        "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
        "wrong": st.column_config.TextColumn("Wrong, estimated"),
        "new_suspects": st.column_config.NumberColumn("New suspects", format="localized"),
        "gone_suspects": st.column_config.NumberColumn("No longer suspect", format="localized"),
        "new_images": st.column_config.NumberColumn("New images", format="localized"),
        "gone_images": st.column_config.NumberColumn("Images gone", format="localized"),
        "model": st.column_config.TextColumn("Model"),
        "head": st.column_config.TextColumn("Head"),
    }
    frame = pd.DataFrame(rows).reindex(columns=list(columns))
    st.dataframe(frame, hide_index=True, column_config=columns, placeholder="–")
    if len(audits) > len(newest):
        st.caption(f"The newest {len(newest)} of {len(audits):,}; the Audits page has all.")


@st.cache_data(max_entries=64, show_spinner=False)
def _difference(folder: str, before: str, after: str) -> dict[str, int]:
    """Finished audits never change."""
    return components.store().audits.difference(before, after)


def _open_pair(pairs: pd.DataFrame, row: int) -> NoReturn:
    _leave("pair", given=str(pairs["given_label"].iloc[row]), suggested=str(pairs["suggested_label"].iloc[row]))


def _leave(page: str, **filters: str) -> NoReturn:
    """To another page with these filters and no others; the audit stays the one chosen here."""
    components.forget_filters()
    chosen = st.query_params.get("audit")
    st.switch_page(f"{page}/page.py", query_params=filters | ({"audit": chosen} if chosen else {}))


def _height(rows: pd.DataFrame) -> int:
    return min(_ROW * (len(rows) + 1) + 3, _TALLEST)


show()
