"""Lists of suspects, one suspect, how far the review is, and the classes of a dataset: what a client asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from gradattn_core.store.candidates import CandidateFilter
from gradattn_core.wording import full_name, short_name
from ui.api.answers import Absent, Asked, get, post
from ui.api.filters import ListQuery, list_query


def stretch(asked: Asked) -> Mapping[str, object]:
    """``GET`` or ``POST list``: the next images of a list, and how many there are."""
    query, store, audit = list_query(asked), asked.store, asked.audit
    rows = _rows(_page(asked, query))
    if query.path is not None and query.after is None:
        first = _rows(store.candidates.page(audit, paths=[query.path]))
        rows = [*first, *(row for row in rows if row["path"] != query.path)]
    more, rows = len(rows) > query.count, rows[: query.count]
    total = store.candidates.count(audit, **(query.filters | CandidateFilter(decided="any")))
    left = store.candidates.count(audit, **(query.filters | CandidateFilter(decided="no")))
    outside = store.candidates.count(audit, decided="no") - left
    return {
        "suspects": [suspect_json(row) for row in rows],
        "total": total,
        "decided": total - left,
        "left": left,
        "more": more,
        "outside": max(outside, 0),
    }


def one(asked: Asked) -> Mapping[str, object]:
    """``GET suspect``: one image, whatever list it is in."""
    rows = _rows(asked.store.candidates.page(asked.audit, paths=[asked.text("path")]))
    if not rows:
        raise Absent("This audit ranked no such picture.")
    return suspect_json(rows[0])


def progress(asked: Asked) -> Mapping[str, object]:
    """``GET progress``: how far the review of an audit is."""
    return progress_json(asked)


def progress_json(asked: Asked) -> Mapping[str, object]:
    """The numbers that follow each decision; a number that is not known is null."""
    facts = asdict(asked.store.review.progress(asked.audit))
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in facts.items()}


def classes(asked: Asked) -> list[Mapping[str, str]]:
    """``GET classes``: label, name for people, and what tells classes of one name apart."""
    labels = asked.store.audits.classes(asked.audit)
    names = {label: short_name(label) for label in labels}
    often = Counter(names.values())
    return [
        {"label": label, "name": name, "group": full_name(label) if often[name] > 1 else ""}
        for label, name in names.items()
    ]


def suspect_json(row: Mapping[str, Any]) -> Mapping[str, object]:
    """A few facts of an image."""
    given, suggested = str(row["given_label"]), str(row["suggested_label"])
    said = str(row["decision"])
    return {
        "path": row["path"],
        "rank": row["rank"],
        "content_hash": row["content_hash"],
        "order": [row["rank"], row["path"]],
        "width": row["width"],
        "height": row["height"],
        "blind": False,
        "problem": "",
        "given": {"label": given, "name": short_name(given)},
        "headline": [["Filed as ", ""], [short_name(given), "given"]],
        "reason": [],
        "primary": None,
        "classes": [],
        "actions": {
            "A": {"decision": "relabel", "new_label": suggested, "text": short_name(suggested)} if suggested else None,
            "K": {"decision": "keep", "new_label": None, "text": short_name(given)},
        },
        "notice": [],
        "map": None,
        "no_map": "",
        "typical": [],
        "similar": {"note": "", "pictures": [], "more": 0},
        "decision": {"decision": said, "new_label": row["new_label"], "reviewer": row["reviewer"]} if said else None,
        "seen": "",
        "conflict": "",
        "tags": [],
        "facts": f"Rank {row['rank']}",
    }


ROUTES = [
    get("list", stretch),
    post("list", stretch),
    get("suspect", one),
    get("progress", progress),
    get("classes", classes),
]


def _rows(frame: pd.DataFrame) -> list[Mapping[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _page(asked: Asked, query: ListQuery) -> pd.DataFrame:
    """One image more than are asked for, so that it is known whether there are more."""
    filters = query.filters | CandidateFilter(without=query.held)
    return asked.store.candidates.page(
        asked.audit, order=query.order, top=query.count + 1, offset=query.offset, **filters
    )
