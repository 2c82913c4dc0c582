"""``import gradattn_core as ga``: an audit as a function, and what a program and a notebook get from it."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

import gradattn_core as ga
from gradattn_core.config import AuditConfig, parameters
from gradattn_core.notebook.bars import _bar
from gradattn_core.notebook.showcase import Showcase, Shown
from tests.helpers.hostile import HOSTILE
from tests.helpers.tiny import COLOURS, Tiny, make_tiny

NAMES = sorted(COLOURS)


@dataclass(frozen=True)
class Given:
    """The tiny dataset, and probabilities of its pictures in the order of their paths."""

    tiny: Tiny
    folder: Path
    paths: list[str]
    probabilities: NDArray[np.float64]
    result: ga.AuditResult


class InMemory:
    """The same pictures by index."""

    classes = tuple(NAMES)

    def __init__(self, folder: Path, paths: list[str]) -> None:
        self.folder, self.paths = folder, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path = self.paths[index]
        return Image.open(self.folder / path), NAMES.index(path.split("/")[0])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("notebook")
    tiny = make_tiny(folder, per_class=12, wrong_per_class=1)
    paths = sorted(file.relative_to(tiny.dataset).as_posix() for file in tiny.dataset.rglob("*.png"))
    table = np.full((len(paths), 3), 0.05) + np.random.default_rng(0).uniform(0, 0.1, (len(paths), 3))
    for row, path in enumerate(paths):
        table[row, NAMES.index(path.split("/")[1].split("-")[0])] += 0.8
    table /= table.sum(axis=1, keepdims=True)
    result = ga.audit_images(tiny.dataset, out=folder / "out", probabilities=table)
    return Given(tiny, folder, paths, table, result)


def test_an_array_of_probabilities_gives_frames(given: Given) -> None:
    found = given.result.candidates
    assert set(found["path"]) == given.tiny.wrong and found["rank"].tolist() == [1, 2, 3]
    expected = ga.rank_labels([path.split("/")[0] for path in given.paths], probabilities=given.probabilities)
    by_path = given.result.images.set_index("path")["suspicion"]
    np.testing.assert_allclose(by_path[given.paths], expected["suspicion"], atol=1e-6)
    assert repr(given.result).startswith("AuditResult ") and "3 suspects" in given.result._repr_html_()
    assert ga.open_audit(given.folder / "out").candidates.equals(found)


def test_without_an_output_folder_it_is_the_usual_one(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(given.folder)
    result = ga.audit_images("dataset", out=None, probabilities=given.probabilities)
    assert result.out == str(given.folder / "gradattn-out") and " in gradattn-out\n" in repr(result)


def test_a_frame_goes_by_its_names(given: Given) -> None:
    order = np.random.default_rng(1).permutation(len(given.paths))
    frame = pd.DataFrame(given.probabilities, columns=NAMES, index=given.paths).iloc[order][NAMES[::-1]]
    found = ga.audit_images(str(given.tiny.dataset), out=given.folder / "frame", probabilities=frame)
    pd.testing.assert_series_equal(found.images["suspicion"], given.result.images["suspicion"], atol=1e-6)
    again = ga.audit_images(str(given.tiny.dataset), out=given.folder / "frame", probabilities=frame.copy())
    assert again.audit_id == found.audit_id


def test_decisions_change_what_is_relabelled_and_nothing_else_does(given: Given, tmp_path: Path) -> None:
    result = ga.audit_images(given.tiny.dataset, out=tmp_path, probabilities=given.probabilities)
    assert (result.relabelled()["label"] == result.relabelled()["given_label"]).all()
    first, second, third = result.candidates["path"]
    result.decide(first, "relabel", first.split("/")[1].split("-")[0], reviewer="ann")
    result.decide(second, "remove")
    now = result.relabelled().set_index("path")
    assert second not in now.index and len(now) == len(given.paths) - 1
    assert now[now["label"] != now["given_label"]].index.tolist() == [first]
    assert result.candidates["decision"].tolist() == ["relabel", "remove", ""]
    assert "relabel" in (tmp_path / "candidates.csv").read_text()
    bold = result.relabelled(min_suspicion=0.5).set_index("path")
    assert bold.loc[third, "label"] == third.split("/")[1].split("-")[0] and second not in bold.index
    with pytest.raises(ga.StoreError, match="no image"):
        result.decide("nowhere.png", "keep")
    with pytest.raises(ga.StoreError, match="no probability"):
        result.relabelled(min_suspicion=7)


def test_pictures_in_memory_are_named_by_their_index_and_have_maps(given: Given) -> None:
    order = np.random.default_rng(2).permutation(len(given.paths))
    paths = [given.paths[row] for row in order]
    model = {name: value for name, value in given.tiny.parameters().items() if name != "dataset"}
    told: list[str] = []
    result = ga.audit_images(
        InMemory(given.tiny.dataset, paths),
        lambda step, done, total: told.append(step),
        out=given.folder / "memory",
        ids=[f"<{path}>" for path in paths],
        probabilities=given.probabilities[order],
        **model,
    )
    found = result.candidates
    assert {paths[index] for index in found["index"]} >= given.tiny.wrong
    assert found["id"].tolist() == [f"<{paths[index]}>" for index in found["index"]]
    assert {"pictures", "sweep", "interpret", "merge"} <= set(told)
    shown = result.show(2)
    assert len(shown.suspects) == 2 and all(each.picture and each.map for each in shown.suspects)
    assert "Red speaks for the given label" in shown._repr_html_()
    assert [each.path for each in result.show(paths=[found["path"][1]]).suspects] == [found["path"][1]]
    with pytest.raises(ga.StoreError, match="no image of this audit"):
        result.show(paths=["nowhere"])


def test_a_picture_that_has_changed_or_gone_is_said_to_be(given: Given, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for path in given.paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((given.tiny.dataset / path).read_bytes())
    result = ga.audit_images(folder, out=tmp_path / "out", probabilities=given.probabilities)
    first, second, _ = result.candidates["path"]
    Image.new("RGB", (9, 9)).save(folder / first)
    (folder / second).unlink()
    changed, gone, there = result.show().suspects
    assert "another picture than the audit saw" in changed.problem and changed.picture is None
    assert "does not exist" in gone.problem and there.picture is not None


class _Tags(HTMLParser):
    """The elements of a text, and what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_names_of_strangers_are_text_in_a_notebook(number: int) -> None:
    name = HOSTILE[number]
    shown = Shown(name, f"Probably {name}", name, "Rank 1", b"\x89PNG", None, name)
    parsed = _Tags(Showcase((shown,), True)._repr_html_())
    assert set(parsed.tags) <= {"figure", "img", "figcaption", "div", "b", "p"} and parsed.tags.count("img") == 1
    assert f"Probably {name}".strip() in "".join(parsed.said)
    assert repr(Showcase((shown,), True)).isprintable()
    assert set(_Tags(_bar(name, 1, 2)).tags) <= {"div", "span", "progress"}


@pytest.mark.slow
def test_two_threads_audit_side_by_side(given: Given) -> None:
    def audit(number: int) -> ga.AuditResult:
        table = np.roll(given.probabilities, 0, axis=0) * (1.0 if number else 0.999)
        return ga.audit_images(given.tiny.dataset, out=given.folder / f"thread-{number}", probabilities=table)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(audit, range(2)))
    assert {len(result.candidates) for result in results} == {3}


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        ("nowhere/", {}, "does not exist"),
        ("photos", {"modle": "x"}, "no option 'modle'. Did you mean 'model'?"),
        ("photos", {"folds": "five"}, "int is needed"),
        ("photos", {"restart": 1}, "bool is needed"),
        ("photos", {"probabilities": [["a"]]}, "array of numbers"),
        ("photos", {"probabilities": pd.DataFrame({"a": ["x"]})}, "more than numbers"),
        ("photos", {"probabilities": pd.DataFrame({"a": [0.1, 0.9]}).iloc[::-1]}, "another order than its rows"),
        ("photos", {"paths": 7}, "paths is a int"),
        ("photos", {"name": "x"}, "for datasets in memory"),
        (7, {}, "no length"),
        (AuditConfig("photos"), {"folds": 3}, "holds its options"),
        ("photos", {"progress": 3}, "give True, False"),
    ],
)
def test_what_cannot_be_is_an_error_of_ours(
    tmp_path: Path, dataset: object, options: dict[str, object], words: str
) -> None:
    if not isinstance(dataset, AuditConfig):
        options = {"out": tmp_path, **options}
    with pytest.raises(ga.GradattnError) as refused:
        ga.audit_images(dataset, **options)  # type: ignore[arg-type]
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_configuration_is_audited_as_it_is(given: Given) -> None:
    np.save(given.folder / "p.npy", given.probabilities)
    config = AuditConfig(str(given.tiny.dataset), str(given.folder / "config"))
    config = replace(config, model="auto", probabilities=str(given.folder / "p.npy"))
    assert len(ga.audit_images(config).candidates) == 3


def test_help_names_every_option_of_the_command() -> None:
    text = ga.audit_images.__doc__ or ""
    assert all(
        re.search(rf"^    {each.name} \(", text, re.MULTILINE) for each in parameters() if each.name != "dataset"
    )


@pytest.mark.slow
def test_a_program_that_audits_says_nothing_that_it_was_not_asked_to(given: Given, tmp_path: Path) -> None:
    code = (
        "import gradattn_core as ga, numpy as np\n"
        f"said = np.load({str(given.folder / 'q.npy')!r})\n"
        f"result = ga.audit_images({str(given.tiny.dataset)!r}, probabilities=said)\n"
        "print(len(result.candidates), result.out)"
    )
    np.save(given.folder / "q.npy", given.probabilities)
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["3", str(tmp_path / "gradattn-out")] and said.stderr == ""
