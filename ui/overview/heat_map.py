"""The class-pair heat map as a Vega-Lite chart. Nothing here knows Streamlit."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gradattn_core.kinds import suggestion
from gradattn_core.wording import full_name

CLASSES = 20
"""At most so many given and so many suggested labels are on the map."""

# One hue, told apart by lightness alone: the same for every kind of colour vision, and when printed.
_RAMPS = {"light": ("#d9efec", "#0f766e"), "dark": ("#16403c", "#5eead4")}
# The ink of the numbers on the lower and on the upper part of the ramp, and the share of its top where that begins.
_INK = {"light": ("#111827", "#ffffff", 0.6), "dark": ("#f3f4f6", "#022c22", 0.2)}
_STEPS = ((8, 36), (12, 30), (CLASSES, 24))
_AXIS = {"title": None, "labelLimit": 110, "labelOverlap": False, "ticks": False, "domain": False, "grid": False}


def worst(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs between the labels of the worst pairs, at most ``CLASSES`` of them on each side; row numbers stay.

    Args:
        pairs: ``Store.audits.class_pairs``, most expected errors first.
    """
    rows: set[str] = set()
    columns: set[str] = set()
    for given, suggested in zip(pairs["given_label"], pairs["suggested_label"], strict=True):
        if len(rows | {given}) <= CLASSES and len(columns | {suggested}) <= CLASSES:
            rows.add(given)
            columns.add(suggested)
        if len(rows) == len(columns) == CLASSES:
            break
    return pairs[pairs["given_label"].isin(rows) & pairs["suggested_label"].isin(columns)]


def cells(pairs: pd.DataFrame) -> pd.DataFrame:
    """What the chart draws: one row per pair, ``pair`` its row number in the frame, labels as they are read."""
    return pd.DataFrame(
        {
            "pair": pairs.index,
            "given": [full_name(label) for label in pairs["given_label"]],
            "suggested": [suggestion(full_name(label)) for label in pairs["suggested_label"]],
            "suspects": pairs["suspects"],
            "expected": pairs["expected"].round(1),
            "share": pairs["share"],
        }
    )


def spec(fields: pd.DataFrame, theme: str) -> dict[str, Any]:
    """The chart of ``cells``; a click on one selects its ``pair``.

    Labels occur in it as data alone, which Vega writes as text: never as an expression or as markup.

    Args:
        theme: ``light`` or ``dark``.
    """
    rows, columns = _labels(fields)
    angle = 0 if max(map(len, columns)) <= 3 else -40
    return {
        "height": {"step": next(step for limit, step in _STEPS if len(rows) <= limit)},
        "params": [{"name": "chosen", "select": {"type": "point", "fields": ["pair"]}, "views": ["cells"]}],
        "encoding": {
            "x": _axis("suggested", columns, orient="top", labelAngle=angle, labelAlign="left" if angle else "center"),
            "y": _axis("given", rows),
        },
        "layer": _layers(int(fields["suspects"].max()), theme),
        "config": {
            "view": {"stroke": None, "fill": "rgba(128, 128, 128, 0.07)"},
            "scale": {"rectBandPaddingInner": 0.08},
        },
    }


def alternative(fields: pd.DataFrame) -> str:
    """The chart in words, for who cannot see it."""
    worst_pairs = fields.sort_values("suspects", ascending=False, kind="stable").head(3)
    named_pairs = "; ".join(
        f"{row['given']} that look like {row['suggested']}: {row['suspects']:,}"
        for row in worst_pairs.to_dict("records")
    )
    return f"Suspects by given label (rows) and suggested label (columns). Most: {named_pairs}. The table has all."


def _labels(fields: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Of the rows and of the columns: the same on both sides if there is room, so that pairs face each other."""
    rows, columns = set(fields["given"]), set(fields["suggested"])
    if len(rows | columns) <= CLASSES:
        rows = columns = rows | columns
    return sorted(rows, key=str.casefold), sorted(columns, key=str.casefold)


def _layers(most: int, theme: str) -> list[dict[str, Any]]:
    """The fields, and the numbers on them; ``most`` suspects are the darkest shade."""
    low, high, change = _INK[theme]
    return [
        {
            "name": "cells",
            "mark": {"type": "rect", "cornerRadius": 3, "cursor": "pointer"},
            "encoding": {
                "color": {
                    "field": "suspects",
                    "type": "quantitative",
                    "legend": None,
                    "scale": {"type": "sqrt", "domain": [0, most], "range": list(_RAMPS[theme])},
                },
                "tooltip": _tooltip(),
            },
        },
        {
            "mark": {"type": "text", "fontSize": 11},
            "encoding": {
                "text": {"field": "suspects", "type": "quantitative", "format": ",d"},
                "color": {"condition": {"test": f"datum.suspects > {change * most}", "value": high}, "value": low},
            },
        },
    ]


def _axis(field: str, labels: list[str], **more: Any) -> dict[str, Any]:
    return {
        "field": field,
        "type": "nominal",
        "sort": None,
        "scale": {"domain": labels},
        "axis": {**_AXIS, **more},
    }


def _tooltip() -> list[dict[str, str]]:
    return [
        {"field": "given", "type": "nominal", "title": "Filed under"},
        {"field": "suggested", "type": "nominal", "title": "Looks like"},
        {"field": "suspects", "type": "quantitative", "title": "Suspects", "format": ",d"},
        {"field": "expected", "type": "quantitative", "title": "Wrong, the model believes", "format": ",.1f"},
        {"field": "share", "type": "quantitative", "title": "Share of the class", "format": ".1%"},
    ]
