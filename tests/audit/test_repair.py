"""Shards without a readable picture, outages that pass, and files of an interrupted audit that were damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.repair import passed, unread
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.stages import SWEEP, stages_left
from gradattn_core.audit.sweep import sweep_shard
from gradattn_core.errors import DatasetError
from gradattn_core.files import is_whole
from gradattn_core.outfolder import failures_beside
from tests.helpers.tiny import Tiny, make_tiny

Damage = Callable[[Path], object]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:500])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 16] = bytes(255 - byte for byte in content[middle : middle + 16])
    file.write_bytes(bytes(content))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=8, wrong_per_class=1)


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """candidates.csv of the dataset as it should be."""
    return audit_images(tiny.config(tmp_path_factory.mktemp("undisturbed"), shard_size=6)).candidates.read_bytes()


@pytest.fixture
def dataset(tiny: Tiny, tmp_path: Path) -> Path:
    return shutil.copytree(tiny.dataset, tmp_path / "dataset")


@pytest.mark.parametrize(
    ("what", "head"), [("empty", "probe"), ("pipe", "probe"), ("text", "as-is"), ("empty", "finetune")]
)
def test_a_shard_without_a_readable_picture_ends_no_audit(
    tiny: Tiny, dataset: Path, tmp_path: Path, what: str, head: str
) -> None:
    for number in range(8):
        broken = dataset / "red" / f"zzz{number}.png"
        match what:
            case "pipe":
                os.mkfifo(broken)
            case "text":
                broken.write_text("404 Not Found")
            case _:
                broken.touch()
    options: dict[str, Any] = {"head": head, "shard_size": 4}
    if head == "as-is":
        (tmp_path / "map.csv").write_text("label,output\nred,2\ngreen,0\nblue,1\n")
        options["class_map"] = str(tmp_path / "map.csv")
    if head == "finetune":
        options["folds"] = 2
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(dataset), **options))
    assert (summary.images, summary.failures) == (24, 8)


def test_an_outage_that_has_passed_is_made_good_by_the_same_command(
    tiny: Tiny, dataset: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    config = tiny.config(tmp_path / "out", dataset=str(dataset), shard_size=6)
    kept = {path: path.read_bytes() for path in sorted(dataset.rglob("*.png"))[::2]}
    times = {path: path.stat().st_mtime_ns for path in kept}

    def outage(*, over: bool) -> None:
        for path, content in kept.items():
            path.write_bytes(content if over else bytes(len(content)))
            os.utime(path, ns=(times[path], times[path]))

    outage(over=False)
    first = audit_images(config)
    assert (first.images, first.failures) == (12, 12) and any("not judged" in note for note in first.warnings)
    # Still the same pictures fail: the audit is finished for the others.
    assert audit_images(config).audit_id == first.audit_id
    outage(over=True)
    whole = audit_images(config)
    assert (whole.images, whole.failures) == (24, 0) and whole.audit_id != first.audit_id
    assert "12 images were taken over" in " ".join(whole.warnings)
    assert audit_images(config).audit_id == whole.audit_id
    assert whole.candidates.read_bytes() == undisturbed


def test_what_failed_before_an_interruption_is_tried_again_after_it(tiny: Tiny, dataset: Path, tmp_path: Path) -> None:
    config = tiny.config(tmp_path / "out", dataset=str(dataset), shard_size=6)
    plan = make_plan(config, survey_dataset(config))
    lost = dataset / plan.shard(1)[0].path
    lost.rename(tmp_path / "away.png")
    for index in range(3):
        sweep_shard(plan, index)
    (tmp_path / "away.png").rename(lost)
    kept = (plan.folder / "sweep-00000.parquet").stat().st_mtime_ns
    summary = audit_images(config)
    assert (summary.images, summary.failures, summary.audit_id) == (24, 0, plan.audit_id)
    assert (tmp_path / "out/features" / plan.audit_id / "sweep-00000.parquet").stat().st_mtime_ns == kept


def test_a_dataset_that_vanishes_stops_the_audit_and_its_return_continues_it(
    tiny: Tiny, dataset: Path, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "out", dataset=str(dataset), shard_size=6)
    plan = make_plan(config, survey_dataset(config))
    sweep_shard(plan, 0)
    dataset.rename(tmp_path / "unmounted")
    with pytest.raises(DatasetError, match="is gone; bring it back, and the same command continues"):
        sweep_shard(plan, 1)
    (tmp_path / "unmounted").rename(dataset)
    summary = audit_images(config)
    assert (summary.images, summary.failures, summary.audit_id) == (24, 0, plan.audit_id)


@pytest.mark.parametrize("damage", [cut, empty, flip, Path.unlink], ids=["cut", "empty", "flipped", "gone"])
def test_damaged_files_of_an_interrupted_audit_are_made_anew(
    tiny: Tiny, dataset: Path, tmp_path: Path, damage: Damage, undisturbed: bytes
) -> None:
    config = tiny.config(tmp_path / "out", dataset=str(dataset), shard_size=6)

    class Stopped(Exception):
        pass

    def stop(step: str, done: int, total: int) -> None:
        if step == "merge":
            raise Stopped

    with pytest.raises(Stopped):
        audit_images(config, stop)
    [folder] = (tmp_path / "out/work").iterdir()
    files = sorted(file for file in folder.iterdir() if file.suffix in (".parquet", ".safetensors"))
    assert {"rank.parquet", "sweep-00001.parquet", "interpret-00000.parquet"} <= {file.name for file in files}
    assert all(map(is_whole, files))
    for file in files:
        if file.name not in ("listing.parquet", "failures-listing.parquet"):
            damage(file)
    assert audit_images(config).candidates.read_bytes() == undisturbed


def test_shards_that_were_swapped_are_swept_again(
    tiny: Tiny, dataset: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    config = tiny.config(tmp_path / "out", dataset=str(dataset), shard_size=6)
    plan = make_plan(config, survey_dataset(config))
    for index in range(3):
        sweep_shard(plan, index)
    one, two = plan.files.sweep(0), plan.files.sweep(1)
    one.rename(tmp_path / "between")
    two.rename(one)
    (tmp_path / "between").rename(two)
    assert audit_images(config).candidates.read_bytes() == undisturbed


@pytest.mark.parametrize("name", ["plan.json", "listing.parquet"])
@pytest.mark.parametrize("damage", [cut, empty, Path.unlink], ids=["cut", "empty", "gone"])
def test_an_audit_whose_plan_is_damaged_begins_anew_and_uses_what_was_swept(
    tiny: Tiny, dataset: Path, tmp_path: Path, name: str, damage: Damage
) -> None:
    config = tiny.config(tmp_path / "out", dataset=str(dataset), shard_size=6)
    plan = make_plan(config, survey_dataset(config))
    sweep_shard(plan, 0)
    damage(plan.folder / name)
    summary = audit_images(config)
    assert (summary.images, summary.failures) == (24, 0)
    if (name, damage) != ("plan.json", Path.unlink):
        assert any("6 images were taken over" in note for note in summary.warnings)


@pytest.mark.parametrize("damage", [cut, empty, flip], ids=["cut", "empty", "flipped"])
def test_damaged_features_of_a_finished_audit_are_swept_again(
    tiny: Tiny, dataset: Path, tmp_path: Path, damage: Damage, undisturbed: bytes
) -> None:
    config = tiny.config(tmp_path / "out", dataset=str(dataset), shard_size=6)
    first = audit_images(config)
    damage(tmp_path / "out/features" / first.audit_id / "sweep-00002.parquet")
    os.utime(sorted(dataset.rglob("*.png"))[0])
    summary = audit_images(config)
    assert (summary.images, summary.failures) == (24, 0) and summary.audit_id != first.audit_id
    assert summary.candidates.read_bytes() == undisturbed


def test_where_next_to_nothing_can_be_read_the_first_reason_is_said(tiny: Tiny, dataset: Path, tmp_path: Path) -> None:
    for path in sorted(dataset.rglob("*.png"))[1:]:
        path.write_text("not there")
    with pytest.raises(DatasetError, match=r"only 1 of 24 images could be read, of 1 class; .* is not an image"):
        audit_images(tiny.config(tmp_path / "out", dataset=str(dataset)))


def test_pictures_that_are_all_the_same_are_refused_in_a_sentence(tiny: Tiny, tmp_path: Path) -> None:
    picture = next(tiny.dataset.rglob("*.png"))
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(4):
            shutil.copy(picture, tmp_path / "data" / label / f"{number}.png")
    with pytest.raises(DatasetError, match="its 8 files hold 1 different picture in all"):
        audit_images(tiny.config(tmp_path / "out", dataset=str(tmp_path / "data")))


def test_labels_that_say_nothing_about_the_pictures_are_said_to(tiny: Tiny, tmp_path: Path) -> None:
    for number, picture in enumerate(sorted(tiny.dataset.rglob("*.png"))):
        folder = tmp_path / "data" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / picture.name)
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(tmp_path / "data")))
    assert any("the labels say next to nothing about the pictures" in note for note in summary.warnings)
    sound = audit_images(tiny.config(tmp_path / "sound"))
    assert not any("say next to nothing" in note for note in sound.warnings)


def test_the_first_picture_that_can_be_read_again_is_named(dataset: Path) -> None:
    (dataset / "red" / "a.png").touch()
    good = next(path for path in sorted(dataset.rglob("*.png")) if path.name != "a.png").relative_to(dataset).as_posix()
    assert passed(str(dataset), [("red/a.png", "is empty"), ("gone.png", "does not exist")]) == ""
    assert passed(str(dataset), [("red/a.png", "is empty"), (good, "no permission"), ("gone.png", "?")]) == good
    assert passed(str(dataset), []) == ""


def test_a_picture_that_does_not_suit_the_model_is_no_reason_to_begin_anew(
    tiny: Tiny, dataset: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (1, 60_000), "red").save(dataset / "red" / "line.png")
    plan = make_plan(config := tiny.config(tmp_path / "out", dataset=str(dataset)), survey_dataset(config))
    failures = [each for shard in range(plan.shards) for each in unread(failures_beside(sweep_shard(plan, shard)))]
    assert [path for path, _ in failures] == ["red/line.png"]
    assert passed(plan.root, failures) == "" and SWEEP.missing(plan) == []
    assert stages_left(plan)[0] and SWEEP.missing(plan) == []


@pytest.mark.parametrize("name", ["interpret", "regions"])
@pytest.mark.parametrize("damage", [cut, flip], ids=["cut", "flipped"])
def test_damaged_maps_of_a_finished_audit_are_drawn_again(
    tiny: Tiny, dataset: Path, tmp_path: Path, name: str, damage: Damage
) -> None:
    (tmp_path / "map.csv").write_text("label,output\nred,2\ngreen,0\nblue,1\n")
    as_is: dict[str, Any] = {"head": "as-is", "class_map": str(tmp_path / "map.csv"), "shard_size": 24}
    config = tiny.config(tmp_path / "out", dataset=str(dataset), **as_is)
    first = audit_images(config)
    for file in (tmp_path / "out/features" / first.audit_id).glob(f"{name}-*.parquet"):
        damage(file)
    os.utime(sorted(dataset.rglob("*.png"))[0])
    again = audit_images(config)
    assert again.audit_id != first.audit_id
    undisturbed = audit_images(tiny.config(tmp_path / "undisturbed", dataset=str(dataset), **as_is))
    assert again.candidates.read_bytes() == undisturbed.candidates.read_bytes()
