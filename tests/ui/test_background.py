"""The page's learner: after so many decisions a process of its own, and never while one is at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradattn_core.learning import EVERY
from gradattn_core.store.store import Store
from tests.test_learning import store_of
from ui import background
from ui.background import Learner


def test_after_so_many_decisions_the_order_is_learnt_without_waiting_for_it(tmp_path: Path) -> None:
    store, wrong = store_of(tmp_path / "out")
    learner = Learner(store.directory, "first")
    paths = [path for path in wrong.index if wrong[path]] + [path for path in wrong.index if not wrong[path]]
    store.decisions.append_many("first", paths[: EVERY - 1], "remove", reviewer="ann")
    learner.decided(store, EVERY - 1)
    assert store.review.learning("first").learnt_from == 0 and learner.since == EVERY - 1
    store.decisions.append("first", paths[EVERY - 1], "keep", reviewer="ann")
    learner.decided(store)
    assert learner.since == 0
    learner.work.wait(120)
    assert learner.work.problem == ""
    learning = store.review.learning("first")
    assert (learning.learnt_from, learning.learnt_by) == (EVERY, "refit")


def test_why_it_failed_is_kept_as_a_sentence(tmp_path: Path) -> None:
    store, wrong = store_of(tmp_path / "out")
    store.decisions.append_many("first", list(wrong.index[:EVERY]), "keep", reviewer="ann")
    learner = Learner(store.directory, "first", since=0)
    store.database.rename(store.database.with_suffix(".gone"))
    learner.decided(store, EVERY)
    learner.work.wait(120)
    assert "there is none" in learner.work.problem or "no finished audit" in learner.work.problem


@pytest.mark.parametrize("variable", ["GRADATTN_LEARNING", "GRADATTN_READ_ONLY"])
def test_switched_off_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1" if variable.endswith("ONLY") else "0")
    background.tell(Store(tmp_path), "first", EVERY)
    assert background.learner(tmp_path, "first").since is None
