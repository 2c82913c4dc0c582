"""The overview without a browser: its numbers, its chart, and where its clicks lead."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from streamlit.testing.v1 import AppTest

from gradattn_core.store.store import Store
from gradattn_core.wording import interval
from tests.helpers import pictured_audit
from tests.helpers.app_pages import opened, press, texts
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, path_of
from ui import components
from ui.overview import heat_map


def chart(app: AppTest) -> Any:
    [found] = app.get("vega_lite_chart")
    return found.proto


def table(app: AppTest, column: str) -> pd.DataFrame:
    [found] = [frame.value for frame in app.dataframe if column in frame.value.columns]
    return pd.DataFrame(found)


def as_table(app: AppTest) -> AppTest:
    app.session_state["pairs-as"] = "Table"
    return app.run()


def test_the_numbers_are_the_audits_and_the_reviews(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="owl", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(2), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(20), "unsure", reviewer="Ada")
    app = opened()
    # The suspicions fall from 1.0 to 0.22 in steps of 0.02; of the suspects 1.0, 0.98 and 0.96 are
    # decided, so that the model believes 7.74 of the other nine to be wrong: the sum of their squares is 6.7 if the
    # noise is as fitted, that of their roots 8.3 if it is not.
    left = sum(1 - index / 50 for index in range(12)) - (1.0 + 0.98 + 0.96)
    assert {metric.label: (metric.value, metric.delta) for metric in app.metric} == {
        "Images": ("40", "1 unreadable"),
        "Wrong, the model believes": ("about 10", "8–13 by what is assumed of annotators"),
        "Reviewed": ("4", "3 of 12 suspects"),
        "Precision so far": ("67%", "2 of 3 (21%–94%)"),
        "Left, the model believes": (f"about {left:.0f}", "7–8 among undecided suspects"),
    }
    assert (
        "The model believes about 10 of 40 labels are wrong; 8 to 13, depending on whether annotators mix up classes "
        "whatever the picture shows or err where the model itself doubts."
    ) in texts(app)
    assert "One class has fewer than 5 images: <b>x</b>" in texts(app)


def test_before_the_first_decision_there_is_no_precision(store: Store) -> None:
    [precision] = [metric for metric in opened().metric if metric.label == "Precision so far"]
    assert (precision.value, precision.delta) == ("–", "nothing decided yet")


def test_the_slider_says_what_share_the_first_of_the_list_holds(store: Store) -> None:
    app = opened()
    [slider] = app.select_slider
    assert (slider.options, slider.value) == (["10", "12", "20", "40"], 12)
    slider.set_value(20).run()
    doubts = [1 - index / 50 for index in range(40)]
    expected = f"{sum(doubts[:20]) / sum(doubts):.0%}"
    assert f"Reviewing the first 20 finds {expected} of the labels that the model believes to be wrong." in texts(app)


def test_a_kind_of_doubt_opens_the_grid_with_that_kind(store: Store) -> None:
    app = opened()
    kinds = [kind.capitalize() for kind in store.audits.kinds(AUDIT_ID)]
    ways = ["Review the suspects", "As a grid", "Spot check", "Until few are left"]
    assert [button.label for button in app.button] == [*ways, *kinds]
    press(app, "Two objects")
    assert app.query_params["kind"] == "two objects"
    assert not app.metric
    assert [box.value for box in app.selectbox if box.label == "Kind of doubt"] == ["two objects"]


def test_the_map_has_a_field_for_each_pair_and_words_for_who_cannot_see_it(store: Store) -> None:
    proto = chart(opened())
    spec = json.loads(proto.spec)
    assert spec["encoding"]["y"]["field"] == "given" and spec["encoding"]["x"]["field"] == "suggested"
    assert sorted(spec["encoding"]["x"]["scale"]["domain"]) == sorted(CLASSES)
    assert "<b>x</b> that look like =cmd(): 2" in proto.alt


def test_a_click_on_the_map_and_one_in_the_table_open_the_pair(store: Store) -> None:
    pairs = store.audits.class_pairs(AUDIT_ID)
    row = int(pairs.index[pairs["given_label"] == "<b>x</b>"][0])
    wanted = ("<b>x</b>", "=cmd()")
    app = opened()
    app.session_state[f"map-{AUDIT_ID}"] = {"selection": {"chosen": [{"pair": row}]}}
    app.run()
    assert (app.query_params["given"], app.query_params["suggested"]) == wanted
    app = as_table(opened())
    assert table(app, "lift")["given"][row] == "<b>x</b>"
    app.session_state["pairs"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    app.run()
    assert (app.query_params["given"], app.query_params["suggested"]) == wanted


def test_the_worst_classes_come_with_their_intervals_and_open_the_grid(store: Store) -> None:
    app = opened()
    health, shown = store.audits.class_health(AUDIT_ID), table(app, "range")
    assert shown["class"].tolist() == health["given_label"].tolist()
    assert shown["range"][0] == interval(health["low"][0], health["high"][0])
    assert math.isclose(shown["share"][0], 100 * health["wrong"][0] / health["images"][0])
    app.session_state[f"classes-{AUDIT_ID}"] = {"selection": {"rows": [1], "columns": [], "cells": []}}
    app.run()
    assert app.query_params["given"] == health["given_label"][1]


def test_failures_are_listed(store: Store) -> None:
    failures = table(opened(), "reason")
    rows = failures[["path", "stage"]].to_numpy().tolist()
    assert rows == [["<i>broken</i>.png", "decode"], [path_of(3), "interpret"]]
    # A suspect without a map was judged, so it is in no group.
    groups = table(opened(), "why")[["files", "ending", "stage", "why"]].to_numpy().tolist()
    assert groups == [[1, ".png", "decode", "it ends too early"]]


def test_the_history_tells_what_changed_since_the_audit_before(store: Store, tmp_path: Path) -> None:
    assert not any("new_suspects" in frame.value.columns for frame in opened().dataframe)
    pictured_audit.pictured_store(tmp_path, audit_id="20261121-000000-older", images=30, suspects=9)
    components.audits.clear()
    history = table(opened(), "new_suspects")
    # Both audits finished at the same moment; the greater id counts as the newer one.
    assert history["images"].tolist() == [40, 30]
    assert history[["new_suspects", "gone_suspects", "new_images", "gone_images"]].iloc[0].tolist() == [3, 0, 10, 0]
    assert history[["new_suspects", "gone_suspects"]].iloc[1].isna().all()


def test_labels_reach_the_page_as_data_or_text_only(store: Store) -> None:
    app = as_table(opened())
    written = [element.value for group in (app.markdown, app.caption) for element in group]
    written += [str(element.proto) for element in app.get("html")]
    written += [button.label for button in app.button]
    assert not [text for text in written if any(label in text for label in [*HOSTILE_LABELS, "<b>"])]


def test_labels_in_the_chart_are_data_and_never_an_expression() -> None:
    pairs = pd.DataFrame(
        {
            "given_label": [f"{label} \"'] + alert(1) + ['" for label in CLASSES],
            "suggested_label": "datum.pair",
            "suspects": 3,
            "expected": 1.0,
            "share": 0.5,
        }
    )
    spec = heat_map.spec(heat_map.cells(pairs), "dark")
    domains = [spec["encoding"][axis].pop("scale") for axis in ("x", "y")]
    assert all("datum.pair" in domain["domain"] and len(domain["domain"]) == 8 for domain in domains)
    assert "alert" not in json.dumps(spec)


def test_the_map_keeps_the_labels_of_the_worst_pairs() -> None:
    count = 100
    names = [f"class {index:03d}" for index in range(count)]
    chain = pd.DataFrame({"given_label": names, "suggested_label": names[1:] + names[:1]})
    worst = heat_map.worst(chain)
    assert worst.index.tolist() == list(range(heat_map.CLASSES))
    star = pd.DataFrame({"given_label": "owl", "suggested_label": names})
    assert heat_map.worst(star).index.tolist() == list(range(heat_map.CLASSES))
    late = pd.concat([chain, chain[:5].iloc[:, ::-1].set_axis(chain.columns, axis=1)], ignore_index=True)
    assert set(heat_map.worst(late).index) == {*range(heat_map.CLASSES), *range(count + 1, count + 5)}


def test_the_numbers_on_the_map_can_be_read_on_every_shade() -> None:
    for theme in ("light", "dark"):
        pairs = pd.DataFrame({"pair": [0], "given": "a", "suggested": "b", "suspects": 100, "expected": 1, "share": 1})
        cells, numbers = heat_map.spec(pairs, theme)["layer"]
        bottom, top = cells["encoding"]["color"]["scale"]["range"]
        ink = numbers["encoding"]["color"]
        change = float(ink["condition"]["test"].split(">")[1])
        for suspects in range(1, 101):
            part = (suspects / 100) ** 0.5
            shade = [(1 - part) * low + part * high for low, high in zip(rgb(bottom), rgb(top), strict=True)]
            colour = ink["condition"]["value"] if suspects > change else ink["value"]
            assert contrast(shade, rgb(colour)) >= 3.0, (theme, suspects)


def rgb(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def contrast(one: list[float], other: list[float]) -> float:
    """WCAG 2's contrast ratio of two sRGB colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[float]) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
