"""Pictures of none of the dataset's classes on the pages: they are named, and the likelier answer is to remove them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from gradattn_core.store.store import Store
from tests.helpers.app_pages import choose, gallery_data, opened, paths, press, select, suspect, texts
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of
from ui.overview import heat_map

FOREIGN = (0, 7)
OUTSIDE = HOSTILE_LABELS[0]


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    """The audit with pictures; the model finds both suspects of kite that looked like owl to be of none of these."""
    store = show(copied_store(tmp_path))
    names = [path_of(row) for row in FOREIGN]
    with duckdb.connect(store.database) as connection:
        for statement, values in {
            "UPDATE scores SET suggested_label = '', outside_suspicion = 0.75, kind = 'out of place', "
            "kind_numbers = MAP {'outside_suspicion': 0.75}, suggested_probability = 0.75": [],
            "UPDATE predictions SET outside_label = ?": [OUTSIDE],
            "UPDATE interpretations SET against_label = ?": [OUTSIDE],
        }.items():
            connection.execute(f"{statement} WHERE path IN (SELECT unnest(?))", [*values, names])
        connection.execute(
            "UPDATE class_pairs SET suggested_label = '' WHERE given_label = 'kite' AND suggested_label = 'owl'"
        )
    return store


def standing(store: Store) -> dict[str, str]:
    rows = store.candidates.page(AUDIT_ID, decided="yes")
    return dict(zip(rows["path"], rows["decision"] + rows["new_label"], strict=True))


def test_the_card_names_the_models_own_class_and_offers_to_remove(store: Store) -> None:
    app = opened("review")
    assert suspect(app) == path_of(0)
    shown = texts(app)
    assert f"none of these classes; the model says {OUTSIDE}" in shown
    assert f"It looks like none of this dataset's classes (75%); the model says {OUTSIDE}." in shown
    assert f"speaks for {OUTSIDE}" in shown and not any(text.startswith("Looks most like") for text in shown)
    assert not any(text.startswith("Runner-up") for text in shown)
    assert "Typical: kite" in shown and not any(text == "Typical: none of these classes" for text in shown)
    assert any("images most like it" in text and "none of these" not in text for text in shown)
    markdown = [element.value for element in [*app.markdown, *app.caption]] + [button.label for button in app.button]
    assert not [text for text in markdown if OUTSIDE in text]
    primary = [button.label for button in app.button if button.proto.type == "primary"]
    assert primary == ["Remove: none of these classes"]
    press(app, "Remove: none of these classes")
    assert standing(store) == {path_of(0): "remove"}


def test_the_list_can_be_narrowed_to_them(store: Store) -> None:
    app = opened("grid")
    choose(app, "Suggested label", "")
    assert paths(app) == [path_of(row) for row in FOREIGN]
    [group] = gallery_data(app)["groups"]
    assert all(
        card["alt"].endswith(f"looks like none of these classes; the model says {OUTSIDE}") for card in group["cards"]
    )
    assert {card["lines"][0] for card in group["cards"]} == {"kite → none of these classes"}
    assert paths(opened("grid", suggested="")) == paths(app)


def test_to_relabel_as_suggested_removes_them(store: Store) -> None:
    app = select(opened("grid"), [0, 1])
    press(app, "Relabel as suggested")
    other = store.candidates.one(AUDIT_ID, path_of(1))
    assert other is not None
    assert standing(store) == {path_of(0): "remove", path_of(1): f"relabel{other.suggested_label}"}
    sentence = "2 images: 1 relabelled as suggested, 1 of none of these classes marked for removal"
    assert sentence in texts(app)


def test_their_pair_has_a_page(store: Store) -> None:
    app = opened("pair", given="kite", suggested="")
    assert app.query_params["suggested"] == "" and paths(app) == [path_of(row) for row in FOREIGN]
    shown = texts(app)
    assert "speaks for the model's own class" in shown and OUTSIDE in shown
    press(press(app, "Remove all 2 undecided"), "Remove 2")
    assert standing(store) == {path_of(row): "remove" for row in FOREIGN}


def test_the_overview_names_the_pair(store: Store) -> None:
    pairs = store.audits.class_pairs(AUDIT_ID)
    fields = heat_map.cells(pairs)
    assert fields[fields["given"] == "kite"]["suggested"].tolist() == ["none of these classes"]
    [chart] = opened("overview").get("vega_lite_chart")
    assert "none of these classes" in chart.proto.spec
