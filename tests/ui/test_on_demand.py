"""What the review page computes on demand: a suspect's numbers measured, and its map by another method."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gradattn_core.audit.run import audit_images
from gradattn_core.store.store import Store
from tests.helpers.app_pages import choose, opened, pictures, press, suspect, texts
from tests.helpers.tiny import Tiny, make_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("on-demand"), per_class=8)


@pytest.fixture(scope="module")
def audited(tiny: Tiny) -> Path:
    """The output folder of an audit whose model is still there."""
    out = tiny.dataset.parent / "out"
    audit_images(tiny.config(out))
    return out


@pytest.fixture
def store(audited: Path, tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    shutil.copytree(audited, tmp_path / "out")
    return show(Store(tmp_path / "out"))


def numbers(store: Store, path: str) -> str:
    evidence = store.images.evidence(store.audits.latest_id(), path)
    assert evidence is not None
    return evidence.numbers


def is_shut(app: AppTest, label: str) -> bool:
    [widget] = [widget for widget in [*app.button, *app.toggle] if widget.label == label]
    return bool(widget.disabled)


def test_a_suspect_is_measured_with_the_audits_own_head_and_shown_so(store: Store) -> None:
    app, second_tab = opened("review"), opened("review")
    path = suspect(app)
    assert numbers(store, path) == "map" and suspect(second_tab) == path
    press(app, "Measure")
    assert suspect(app) == path and numbers(store, path) == "measured"
    assert is_shut(app, "Measured") and any("Hide it, measured" in text for text in texts(app))
    kept = store.images.evidence(store.audits.latest_id(), path)
    press(second_tab, "Measure")
    assert is_shut(second_tab, "Measured") and not second_tab.warning
    again = store.images.evidence(store.audits.latest_id(), path)
    assert kept is not None and again is not None and kept.sums == again.sums
    press(app, "Label is right")
    assert suspect(app) != path and not is_shut(app, "Measure")


def test_a_cheap_method_of_others_is_drawn_beside_ours_with_what_it_says(store: Store) -> None:
    app = opened("review")
    before = len(pictures(app))
    [others] = [toggle for toggle in app.toggle if toggle.label == "Other methods"]
    others.set_value(True).run()
    assert not app.exception and len(pictures(app)) == before
    [box] = [box for box in app.selectbox if box.label == "Method"]
    assert "GAE" in box.options and "rollout" in box.options and "TAM" not in box.options
    choose(app, "Method", "gae")
    assert len(pictures(app)) == before + 2
    assert any("difference of two maps" in text and "a scale of its own" in text for text in texts(app))
    choose(app, "Method", "rollout")
    assert any("the same map for every class" in text for text in texts(app))


def test_what_cannot_be_had_any_more_is_one_sentence_and_the_page_goes_on(store: Store, tiny: Tiny) -> None:
    heads = store.directory / "features" / store.audits.latest_id() / "heads.safetensors"
    heads.unlink()
    app = press(opened("review"), "Measure")
    assert [warning.value for warning in app.warning] == ["It could not be measured."]
    assert any("its probe is gone" in text for text in texts(app))
    path = suspect(app)
    press(app, "Label is right")
    assert suspect(app) != path and not app.warning


def test_a_page_that_only_shows_computes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    app = opened("review")
    assert is_shut(app, "Measure") and is_shut(app, "Other methods")
