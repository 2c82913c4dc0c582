"""What the map is told: where pictures lie, what stands about them, what looks like them, and what was selected."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from gradattn_core.belief import PRIMARY, of_row
from gradattn_core.store.store import Store
from tests.helpers.own_routes import Client
from tests.helpers.pictured_audit import AUDIT_ID, IMAGES, SUSPECTS, path_of
from tests.test_learning import COUNT, store_of
from ui.api import token
from ui.map.making import maker
from ui.map.points import points_of, states
from ui.server import ROUTES  # noqa: F401 (the routes of the map are among those that the client reaches)


def state_of(row: Mapping[Any, Any]) -> str:
    """The slow twin: from the belief of one picture."""
    if row["decision"]:
        return "d"
    if not row["is_suspect"]:
        return "."
    given = of_row(row).of(row["given_label"])
    return "r" if given >= PRIMARY else "w" if 1 - given >= PRIMARY else "e"


def test_the_points_are_those_of_the_store_and_their_states_follow_decisions(client: Client, store: Store) -> None:
    answer = client.get("map")
    points = answer["points"]
    rows = {row["path"]: row for row in store.candidates.page(AUDIT_ID, everything=True).to_dict("records")}
    assert points["paths"] == sorted(rows) and points["images"] == IMAGES and points["missing"] == 0
    assert list(points["states"]) == [state_of(rows[path]) for path in points["paths"]]
    assert points["ranks"] == [rows[path]["rank"] for path in points["paths"]]
    labels = [each["label"] for each in points["classes"]]
    assert [labels[number] for number in points["given"]] == [rows[path]["given_label"] for path in points["paths"]]
    assert sum(each["pictures"] for each in points["classes"]) == IMAGES
    for number, each in enumerate(points["classes"]):
        own = [at for at, given in enumerate(points["given"]) if given == number]
        assert abs(each["x"] - np.median([points["x"][at] for at in own])) <= 1
        assert abs(each["y"] - np.median([points["y"][at] for at in own])) <= 1
    assert list(answer) == ["points"], "of a million pictures their counts take long, and come later"

    store.decisions.append(AUDIT_ID, path_of(1), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(30), "unsure", reviewer="Ada")
    after = client.get("map/states")
    rows = {row["path"]: row for row in store.candidates.page(AUDIT_ID, everything=True).to_dict("records")}
    assert list(after["states"]) == [state_of(rows[path]) for path in points["paths"]]
    assert after["states"].count("d") == 2 and after["progress"] == {"suspects": SUSPECTS, "decided": 1}


def test_every_state_is_told_by_the_probability_that_decides_the_primary_button() -> None:
    suspicion = [1.0, PRIMARY, 0.6499, 0.5, 0.3501, 1 - PRIMARY, 0.1, 0.9, 0.9]
    frame = pd.DataFrame(
        {"suspicion": suspicion, "is_suspect": [True] * 8 + [False], "decision": [""] * 7 + ["keep", ""]}
    )
    assert states(frame) == "wweeerrd."


def test_places_are_whole_numbers_of_one_scale() -> None:
    frame = pd.DataFrame({"path": ["a", "b", "c"], "x": [-1.0, 3.0, 1.0], "y": [5.0, 6.0, 5.5], "given_label": "kite"})
    frame = frame.assign(rank=[1, 2, 3], suspicion=0.1, is_suspect=False, decision="")
    points = points_of(frame, 3, 0)
    assert (points.x, points.y) == ([0, 65_535, 32_768], [0, 16_384, 8_192])
    assert [each.pictures for each in points.classes] == [3]
    assert points_of(frame.assign(x=2.0, y=2.0), 3, 0).x == [0, 0, 0]


def test_cards_selections_and_what_is_found_are_those_that_were_asked_for(client: Client, store: Store) -> None:
    paths = [path_of(30), path_of(2), path_of(4)]
    assert [card["path"] for card in client.post("map/cards", paths=[*paths, "elsewhere.png"])] == paths
    assert [card["path"] for card in client.get("map/find", text="0002 'a'")] == [path_of(2)]
    selection = client.post("map/select", paths=paths)["selection"]
    assert client.post("map/select", paths=paths)["selection"] == selection
    chosen = store.candidates.page(AUDIT_ID, selection=selection, decided="any")["path"].tolist()
    assert sorted(chosen) == sorted(paths)
    for paths_given, sentence in ((None, "paths"), ("a.png", "paths"), ([1], "paths"), ([""] * 97, "97")):
        answer = client.posted("map/cards", paths=paths_given)
        assert answer.status_code == 400 and sentence in answer.json()["error"]


def test_a_map_is_made_once_by_a_process_of_its_own(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = store_of(tmp_path / "first")
    store.embeddings.write("first", store.embeddings.points("first")[:0])
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    assert client.get("map", audit="first") == {"making": None, "failed": "", "about": "10 s"}
    assert client.post("map/make", audit="first")["making"] is not None
    making = maker(store.directory, "first")
    making.work.begin()  # it is at work: nothing begins twice
    making.work.wait(300)
    answer = client.get("map", audit="first")
    assert len(answer["points"]["paths"]) == COUNT and making.progress() is None
    assert client.post("map/make", audit="first") == {"making": None}
    similar = client.get("map/similar", audit="first", path="000.jpg")
    assert similar["paths"][0] == "000.jpg" and len(similar["paths"]) == 25
    assert [card["path"] for card in similar["cards"]] == similar["paths"]

    store.embeddings.write("first", store.embeddings.points("first")[:0])
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    assert "read-only" in client.get("map", audit="first")["problem"]
    assert client.posted("map/make", audit="first").status_code == 409
    monkeypatch.delenv("GRADATTN_READ_ONLY")
    # A file that says it holds features and does not.
    for file in (store.directory / "features/first").glob("*.parquet"):
        file.write_bytes(b"PAR1")
    making.work.begin()
    making.work.wait(300)
    assert "features are damaged" in client.get("map", audit="first")["failed"]
    shutil.rmtree(store.directory / "features")
    assert "features of this audit are gone" in client.get("map", audit="first")["problem"]


def test_without_features_the_similar_pictures_are_those_that_the_audit_kept(client: Client, store: Store) -> None:
    kept = store.images.neighbours(AUDIT_ID, path_of(0))["path"].tolist()
    assert kept and client.get("map/similar", path=path_of(0))["paths"] == [path_of(0), *kept]


def test_the_map_is_for_who_may_see_the_page(client: Client) -> None:
    bare = TestClient(client.http.app)
    for route in ("map", "map/states", "map/similar", "map/find"):
        assert bare.get(f"/{route}", params={"audit": AUDIT_ID}).status_code == 403
    assert token.read(client.pictures, "all") is None
