"""Export: the same files as ``gradattn export``, with the same options; none is made before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from gradattn_core.export import MEDIA_TYPES, TABLES, encode
from gradattn_core.store.store import Store
from gradattn_core.wording import count_of
from ui import components

_PREVIEW = 20
_FORMATS = {"CSV": "csv", "Parquet": "parquet", "JSON": "json", "JSON lines": "jsonl"}
_ORDERS = {"Most suspect first": "rank", "Class pair": "pair", "Similar": "similar", "Path": "path"}


@dataclass(frozen=True)
class ExportFile:
    """A file that can be downloaded.

    Attributes:
        count: its rows.
        preview: makes the first rows.
        whole: makes all of them. It runs where there is no page, so it asks nothing of the session.
    """

    count: int
    preview: Callable[[], pd.DataFrame]
    whole: Callable[[], pd.DataFrame]


@dataclass(frozen=True)
class ExportTable:
    """What can be exported.

    Attributes:
        name: of the table in ``gradattn export``.
        caption: what it is.
        empty: what is said where it has no row.
        file: asks for the rows, and returns them.
    """

    name: str
    caption: str
    empty: str
    file: Callable[[Store, str], ExportFile]


def show() -> None:
    audit = components.audit_id()
    components.title("Export")
    with st.container(horizontal=True, key="export-head", gap="medium"):
        what = st.segmented_control(
            "What", list(_TABLES), default="Candidates", required=True, key="what", bind="query-params"
        )
        form = st.segmented_control(
            "Format", list(_FORMATS), default="CSV", required=True, key="format", bind="query-params"
        )
    table, ending = _TABLES[what or "Candidates"], _FORMATS[form or "CSV"]
    st.caption(table.caption)
    file = table.file(components.store(), audit)
    if not file.count:
        st.write(table.empty)
        return
    st.download_button(
        f"Download {count_of(file.count, 'row')} as {form}",
        lambda: encode(table.name, file.whole(), ending),
        file_name=f"{table.name}.{ending}",
        mime=MEDIA_TYPES[ending],
        on_click="ignore",
        type="primary",
        icon=":material/download:",
        key=f"download-{table.name}-{ending}",
    )
    if ending == "csv" and table.name != "corrected":
        st.caption("A cell that a spreadsheet would run as a formula starts with an apostrophe in the file.")
    preview = file.preview()
    components.table(preview[list(TABLES[table.name])] if ending == "csv" else preview, "The first rows of the file")
    if file.count > len(preview):
        st.caption(f"The first {len(preview)} of {file.count:,} rows.")


def _candidates(store: Store, audit: str) -> ExportFile:
    with _rows():
        filters = components.filters(audit, default="All")
        # Who asks for decisions wants all of them, also on images that no longer are suspects.
        filters["everything"] = filters["decided"] not in ("any", "no")
        order = _ORDERS[st.selectbox("Order", list(_ORDERS), key="order", bind="query-params")]
        count = _at_most(store.candidates.count(audit, **filters))
    return ExportFile(
        count,
        lambda: store.candidates.page(audit, **filters, order=order, top=min(count, _PREVIEW)),
        lambda: store.candidates.page(audit, **filters, order=order, top=count),
    )


def _decisions(store: Store, audit: str) -> ExportFile:
    with _rows():
        filters = components.log_filters(audit, store.decisions.reviewers(), list(store.tags.counts(audit)))
        count = _at_most(store.decisions.count(**filters))
    return ExportFile(
        count,
        lambda: store.decisions.page(**filters, top=min(count, _PREVIEW)),
        lambda: store.decisions.page(**filters, top=count),
    )


def _corrected(store: Store, audit: str) -> ExportFile:
    review = store.review.progress(audit)
    st.caption(f"{review.wrong - review.removed:,} relabelled, {review.removed:,} left out. Paths are absolute.")
    return ExportFile(
        store.audits.one(audit).images - review.removed + int(store.review.unjudged(audit)["is_picture"].sum()),
        lambda: store.review.corrected(audit, top=_PREVIEW),
        lambda: store.review.corrected(audit),
    )


def _removals(store: Store, audit: str) -> ExportFile:
    removals = store.review.removals(audit)
    return ExportFile(len(removals), lambda: removals.head(_PREVIEW), lambda: removals)


def _failures(store: Store, audit: str) -> ExportFile:
    failures = store.audits.failures(audit)
    return ExportFile(len(failures), lambda: failures.head(_PREVIEW), lambda: failures)


def _pairs(store: Store, audit: str) -> ExportFile:
    pairs = store.audits.class_pairs(audit)
    return ExportFile(len(pairs), lambda: pairs.head(_PREVIEW), lambda: pairs)


def _neighbours(store: Store, audit: str) -> ExportFile:
    neighbours = store.images.all_neighbours(audit)
    return ExportFile(len(neighbours), lambda: neighbours.head(_PREVIEW), lambda: neighbours)


def _images(store: Store, audit: str) -> ExportFile:
    return ExportFile(
        store.candidates.count(audit, everything=True),
        lambda: store.candidates.page(audit, everything=True, top=_PREVIEW),
        lambda: store.candidates.page(audit, everything=True),
    )


def _rows() -> DeltaGenerator:
    """What chooses the rows of the file."""
    return st.popover("Choose rows", icon=":material/filter_list:")


def _at_most(count: int) -> int:
    """The rows of the file, of ``count`` that there are."""
    most = st.number_input("At most", min_value=1, value=None, placeholder="All rows", step=1, key="top")
    return count if most is None else min(count, int(most))


_NO_SUSPECT = "No suspect is in this list: choose other filters, if any are set."
_TABLES = {
    "Candidates": ExportTable(
        "candidates",
        "The images whose labels are in doubt, with what was decided about them.",
        _NO_SUSPECT,
        _candidates,
    ),
    "Decisions": ExportTable(
        "decisions",
        "The log of everything that was said, in all audits, newest first.",
        "Nothing has been decided yet, or no decision passes the filters.",
        _decisions,
    ),
    "Corrected labels": ExportTable(
        "corrected",
        "Every image with the label that now holds, relabels applied and removed images left out: a manifest that "
        "gradattn audit and training programs read.",
        _NO_SUSPECT,
        _corrected,
    ),
    "Removals": ExportTable(
        "removals",
        "The images that are to be taken away.",
        "Nothing is marked for removal. Images that are to go away are marked on the Review and Grid pages.",
        _removals,
    ),
    "All images": ExportTable(
        "images",
        "Every image of the audit: its place in the order, what is suggested, and what was decided.",
        "The audit has no image.",
        _images,
    ),
    "Class pairs": ExportTable(
        "pairs",
        "The pairs of classes that have suspects: how many, their share of the class, and how far that is from chance.",
        "No two classes have suspects in common.",
        _pairs,
    ),
    "Neighbours": ExportTable(
        "neighbours",
        "The images most like each suspect, nearest first.",
        "No neighbours are stored.",
        _neighbours,
    ),
    "Failures": ExportTable(
        "failures",
        "What was not judged, and why: pictures that could not be read, files of other kinds, labels left out.",
        "Every file was judged.",
        _failures,
    ),
}


show()
