"""An audit from listing to candidates.csv, on real files, a real model and a real database."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradattn_core import outfolder
from gradattn_core.audit.finetune import content_folds
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.sweep import sweep_shard
from gradattn_core.config import AuditConfig, FineTuning
from gradattn_core.csv_tables import read_candidates
from gradattn_core.errors import ClassAlignmentError, DatasetError, GradattnError, ModelError, StoreError
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny


@pytest.fixture(scope="module")
def audited(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audited")
    audit_images(tiny.config(out))
    return out


def latest(out: Path) -> tuple[Store, str]:
    store = Store(out)
    return store, store.audits.latest_id()


def test_planted_errors_lead_the_list_and_are_given_their_true_colour_back(tiny: Tiny, audited: Path) -> None:
    candidates = read_candidates(audited / "candidates.csv")
    top = candidates.head(len(tiny.wrong))
    assert set(top["path"]) == tiny.wrong
    assert all(
        Path(path).name.startswith(suggested)
        for path, suggested in zip(top["path"], top["suggested_label"], strict=True)
    )
    assert list(candidates["rank"]) == sorted(candidates["rank"])
    assert top["suspicion"].min() > 0.5


def test_the_work_folder_is_cleared_and_the_features_lie_beside_the_database(audited: Path) -> None:
    store, audit_id = latest(audited)
    assert not list((audited / "work").iterdir())
    features = [pq.read_table(path) for path in sorted((audited / "features" / audit_id).glob("sweep-*.parquet"))]
    assert sum(len(table) for table in features) == store.audits.one(audit_id).images == 72
    assert not [path for path in audited.rglob(".*") if path.name != ".audit.lock"], "temporary files were left"


def test_the_map_explains_the_head_whose_logits_are_stored(tiny: Tiny, audited: Path) -> None:
    store, audit_id = latest(audited)
    for path in tiny.wrong:
        evidence, prediction = store.images.evidence(audit_id, path), store.images.prediction(audit_id, path)
        assert evidence is not None and prediction is not None
        assert evidence.for_label == path.split("/")[0]
        assert evidence.for_logit == pytest.approx(prediction.given_logit, abs=1e-3)
        assert evidence.against_logit == pytest.approx(prediction.predicted_logit, abs=1e-3)
        assert evidence.scores.shape == (8, 8) and np.abs(evidence.scores).max() > 0


def test_regions_lie_inside_the_original_picture(audited: Path) -> None:
    store, audit_id = latest(audited)
    for path in store.candidates.page(audit_id)["path"]:
        evidence = store.images.evidence(audit_id, path)
        assert evidence is not None and evidence.statistics.regions
        # 48 x 36 pictures are resized to 42 x 32 and cropped to the middle 32 columns.
        assert evidence.crop.left == pytest.approx(5 * 48 / 42) and evidence.crop.top == 0
        for region in evidence.statistics.regions:
            assert evidence.crop.left - 1e-3 <= region.box.left < region.box.right <= evidence.crop.right + 1e-3
            assert 0 <= region.box.top < region.box.bottom <= 36


def test_a_finished_audit_is_kept_and_restart_makes_another(tiny: Tiny, audited: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(audited, out)
    (out / "candidates.csv").unlink()
    first = audit_images(tiny.config(out))
    assert first.seconds == {} and first.audit_id == latest(out)[1]
    assert (out / "candidates.csv").read_bytes() == (audited / "candidates.csv").read_bytes()
    time.sleep(1.1)
    second = audit_images(tiny.config(out, restart=True))
    assert second.audit_id != first.audit_id and len(Store(out).audits.all()) == 2
    assert (out / "candidates.csv").read_bytes() == (audited / "candidates.csv").read_bytes()


def test_a_changed_parameter_and_a_changed_file_begin_a_new_audit(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    config = tiny.config(tmp_path / "out", dataset=str(dataset))
    before = survey_dataset(config).fingerprint
    assert survey_dataset(tiny.config(tmp_path / "elsewhere", dataset=str(dataset))).fingerprint == before
    assert survey_dataset(tiny.config(tmp_path / "out", dataset=str(dataset), folds=4)).fingerprint != before
    os.utime(next(dataset.rglob("*.png")), (1, 1))
    assert survey_dataset(config).fingerprint != before


def test_broken_images_are_failures_and_the_audit_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    (dataset / "red" / "empty.png").touch()
    (dataset / "red" / "text.jpg").write_text("not a picture")
    whole = (dataset / "blue" / "blue-05.png").read_bytes()
    (dataset / "blue" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (dataset / "blue" / ".hidden.png").touch()
    (dataset / "blue" / "notes.txt").touch()
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(dataset)))
    assert (summary.images, summary.failures, summary.skipped) == (72, 3, 2)
    store, audit_id = latest(tmp_path / "out")
    failures = store.audits.failures(audit_id)
    passed_over, unread = failures[failures["stage"] == "skip"], failures[failures["stage"] == "decode"]
    assert set(unread["path"]) == {"red/empty.png", "red/text.jpg", "blue/cut.png"} and len(failures) == 5
    assert list(unread["given_label"]) == ["blue", "red", "red"] and unread["reason"].str.len().min() > 5
    assert passed_over[["path", "given_label"]].to_numpy().tolist() == [
        ["blue/.hidden.png", ""],
        ["blue/notes.txt", "blue"],
    ]
    groups = {(each.stage, each.ending, each.given_label): each.files for each in summary.not_judged}
    assert groups == {
        ("decode", ".png", "red"): 1,
        ("decode", ".jpg", "red"): 1,
        ("decode", ".png", "blue"): 1,
        ("skip", ".png", ""): 1,
        ("skip", ".txt", "blue"): 1,
    }
    [said] = [warning for warning in summary.warnings if "not judged" in warning]
    assert said.startswith("3 pictures were not judged: 2 .png, 1 .jpg, of 'red' (2), 'blue' (1)")
    assert store.audits.one(audit_id).warnings == summary.warnings


def test_spellings_and_copies_under_several_labels_are_said(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    (dataset / "Red").mkdir()
    for number in range(8, 20):
        shutil.move(dataset / "red" / f"red-{number:02d}.png", dataset / "Red")
    shutil.copy(dataset / "blue" / "blue-05.png", dataset / "green" / "copy.png")
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(dataset)))
    said = "\n".join(summary.warnings)
    assert "Two spellings of one class: 'Red' (12), 'red' (12)" in said and "makes 3 classes of 4" in said
    assert "1 picture lies under several labels, byte for byte the same: at least 1 of these labels is wrong" in said
    store, audit_id = latest(tmp_path / "out")
    page = store.candidates.page(audit_id)
    spelt = page[page["given_label"].str.casefold() == page["suggested_label"].str.casefold()]
    assert len(spelt) and set(spelt["kind"]) == {"two spellings"}
    assert f"{len(spelt):,} suspects look like another spelling" in said or len(spelt) == 1
    merged = audit_images(tiny.config(tmp_path / "merged", dataset=str(dataset), merge_spellings=True))
    store, audit_id = latest(tmp_path / "merged")
    assert store.audits.classes(audit_id) == ["Red", "blue", "green"]
    assert "Spellings of one class were merged" in "\n".join(merged.warnings)


def test_a_class_of_which_nothing_can_be_read_is_named(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    for number in range(3):
        (dataset / "red" / f"{number}.svg").touch()
        (dataset / "violet").mkdir(exist_ok=True)
        (dataset / "violet" / f"{number}.svg").touch()
        (dataset / "violet" / f"{number}.txt").touch()
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(dataset)))
    assert (summary.images, summary.failures, summary.skipped) == (72, 6, 3)
    assert "Nothing of class 'violet' was judged: 'violet' has 3 .svg, 3 .txt." in summary.warnings


def test_a_line_of_pixels_is_a_failure_and_fills_no_memory(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    Image.new("RGB", (1, 60_000)).save(dataset / "red" / "line.png")
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(dataset)))
    store, audit_id = latest(tmp_path / "out")
    assert summary.failures == 1 and "too unequal" in store.audits.failures(audit_id)["reason"][0]


def test_the_class_pairs_count_every_suspect(tiny: Tiny, audited: Path) -> None:
    store, audit_id = latest(audited)
    assert (
        store.audits.class_pairs(audit_id)["suspects"].sum() == store.audits.one(audit_id).suspects >= len(tiny.wrong)
    )


def test_a_class_that_its_fold_never_saw_is_not_held_against_it(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    (dataset / "rare").mkdir()
    # No copy to the byte: of those under two labels one is wrong for certain.
    with Image.open(dataset / "red" / "red-10.png") as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(dataset / "rare" / "only.png")
    audit_images(tiny.config(tmp_path / "out", dataset=str(dataset), threshold=1.0))
    store, audit_id = latest(tmp_path / "out")
    assert "rare/only.png" not in set(store.candidates.page(audit_id)["path"])


def test_an_interrupted_audit_goes_on_with_the_device_and_batch_size_of_the_new_command(
    tiny: Tiny, audited: Path, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path, batch_size=3, workers=2)
    plan = make_plan(config, survey_dataset(config))
    sweep_shard(plan, 0)
    kept = (plan.folder / "sweep-00000.parquet").read_bytes()
    again = make_plan(tiny.config(tmp_path), survey_dataset(tiny.config(tmp_path)))
    assert again.audit_id == plan.audit_id and again.config.batch_size == 8
    assert (again.folder / "sweep-00000.parquet").read_bytes() == kept
    audit_images(tiny.config(tmp_path))
    assert (tmp_path / "candidates.csv").read_bytes() == (audited / "candidates.csv").read_bytes()


def test_a_picture_that_breaks_between_sweep_and_interpretation_is_a_failure(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    config = tiny.config(tmp_path / "out", dataset=str(dataset))
    survey = survey_dataset(config)
    plan = make_plan(config, survey)
    for index in range(plan.shards):
        sweep_shard(plan, index)
    broken = sorted(tiny.wrong)[0]
    size, modified = (dataset / broken).stat().st_size, (dataset / broken).stat().st_mtime_ns
    (dataset / broken).write_bytes(b"x" * size)
    os.utime(dataset / broken, ns=(modified, modified))
    summary = audit_images(config)
    store, audit_id = latest(tmp_path / "out")
    assert summary.failures == 1 and list(store.audits.failures(audit_id)["path"]) == [broken]
    assert store.images.evidence(audit_id, broken) is None
    assert broken in set(store.candidates.page(audit_id)["path"])


def test_labels_with_odd_characters_go_through(tiny: Tiny, tmp_path: Path) -> None:
    odd = {"red": "=1+1", "green": '<b>grün<b>, "x"', "blue": "🐦 ‮bird"}
    for name, label in odd.items():
        shutil.copytree(tiny.dataset / name, tmp_path / "dataset" / label)
    audit_images(tiny.config(tmp_path / "out", dataset=str(tmp_path / "dataset")))
    candidates = read_candidates(tmp_path / "out" / "candidates.csv")
    assert set(candidates["given_label"]) == set(odd.values())
    assert all((tmp_path / "dataset" / path).is_file() for path in candidates["path"])


def test_interpret_all_maps_every_image(tiny: Tiny, tmp_path: Path) -> None:
    summary = audit_images(tiny.config(tmp_path, interpret="all"))
    store, audit_id = latest(tmp_path)
    paths = store.candidates.page(audit_id, min_suspicion=0.0)["path"]
    assert len(paths) == summary.images
    assert all(store.images.evidence(audit_id, path) is not None for path in paths)


def test_as_is_speaks_for_the_outputs_of_the_class_map(tiny: Tiny, tmp_path: Path) -> None:
    class_map = tmp_path / "map.csv"
    class_map.write_text("label,output\nred,2\ngreen,0\nblue,1\n")
    audit_images(tiny.config(tmp_path / "out", head="as-is", class_map=str(class_map), interpret="all"))
    store, audit_id = latest(tmp_path / "out")
    assert store.audits.all()["head"][0] == "as-is"
    prediction = store.images.prediction(audit_id, "red/red-10.png")
    assert prediction is not None
    from gradattn_core.audit.loading import audit_model
    from gradattn_core.dataset.decoding import read_image
    from gradattn_core.model.preprocessing import Preprocessing

    model = audit_model(tiny.config(tmp_path))
    pixels = Preprocessing.of(model)(read_image(tiny.dataset / "red" / "red-10.png").image)
    assert prediction.given_logit == pytest.approx(float(model(pixels[None])[0, 2]), abs=1e-4)


def test_finetuning_judges_each_image_by_a_model_that_never_saw_it(tiny: Tiny, tmp_path: Path) -> None:
    tuning = FineTuning(epochs=12, learning_rate=2e-3, batch_size=16)
    config = tiny.config(tmp_path, head="finetune", folds=2, finetuning=tuning, from_scratch=True, checkpoint=None)
    audit_images(config)
    candidates = read_candidates(tmp_path / "candidates.csv")
    assert len(set(candidates.head(len(tiny.wrong))["path"]) & tiny.wrong) >= len(tiny.wrong) - 1
    store, audit_id = latest(tmp_path)
    path = sorted(tiny.wrong)[0]
    evidence, prediction = store.images.evidence(audit_id, path), store.images.prediction(audit_id, path)
    assert evidence is not None and prediction is not None and prediction.fold in (0, 1)
    assert evidence.for_logit == pytest.approx(prediction.given_logit, abs=1e-3)


def test_folds_follow_from_content_alone() -> None:
    hashes = [hashlib.blake2b(bytes([n % 256, n // 256]), digest_size=16).hexdigest() for n in range(500)]
    folds = content_folds(hashes, 5)
    assert list(content_folds(hashes[::-1], 5)) == list(folds[::-1])
    assert list(content_folds(hashes[:10], 5)) == list(folds[:10])
    assert set(folds) == set(range(5))


def test_two_audits_do_not_write_to_one_folder_at_once(tiny: Tiny, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), held, release))
    holder.start()
    try:
        assert held.wait(60)
        with pytest.raises(StoreError, match="another audit is at work"):
            audit_images(tiny.config(tmp_path))
    finally:
        release.set()
        holder.join()


def _hold(out: str, held: object, release: object) -> None:
    with outfolder.lock(out):
        held.set()  # type: ignore[attr-defined]
        release.wait(60)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"dataset": "nowhere"}, DatasetError, "nowhere"),
        ({"checkpoint": "nowhere.safetensors"}, ModelError, "nowhere.safetensors"),
        ({"model": "vit_tiny_patch17_224"}, ModelError, "did you mean"),
        ({"model_arguments": {}}, ModelError, "does not fit"),
        ({"head": "as-is", "class_map": "nowhere.json"}, ClassAlignmentError, "nowhere.json"),
        ({"device": "abacus"}, ModelError, "abacus"),
    ],
)
def test_unusable_input_is_one_sentence_and_leaves_nothing(
    tiny: Tiny, tmp_path: Path, changes: dict[str, object], error: type[GradattnError], words: str
) -> None:
    with pytest.raises(error, match=words):
        audit_images(tiny.config(tmp_path, **changes))
    assert not (tmp_path / "gradattn.duckdb").exists()
    assert not list(tmp_path.glob("work/*/plan.json"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head": "tail"}, "tail"),
        ({"folds": 1}, "folds 1"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"correction": "none"}, "correction 'none'"),
        ({"correction": "absolute"}, "correction 'absolute'"),
        ({"objective": "logit"}, "objective 'logit'"),
        ({"measured": "some"}, "measured 'some'"),
        ({"measured": "all", "correction": "centred"}, "measured 'all' needs maps that add up"),
        ({"seed": -1}, "seed -1"),
        ({"shard_size": 100_001}, "shard_size 100001 is too large"),
        ({"finetuning": FineTuning(learning_rate=-1.0)}, "learning rate -1.0"),
        ({"finetuning": FineTuning(epochs=0)}, "epochs 0"),
        ({"from_scratch": True}, "from_scratch"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(GradattnError, match=words):
        AuditConfig("data", **changes)  # type: ignore[arg-type]


def test_a_dataset_of_which_one_class_can_be_read_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny.dataset / "red", tmp_path / "dataset" / "red")
    (tmp_path / "dataset" / "blue").mkdir()
    (tmp_path / "dataset" / "blue" / "broken.png").touch()
    with pytest.raises(DatasetError, match="at least two classes"):
        audit_images(tiny.config(tmp_path / "out", dataset=str(tmp_path / "dataset")))


@pytest.mark.parametrize(
    "milestone",
    [
        pytest.param("work/*/plan.json", marks=pytest.mark.slow),
        "work/*/sweep-00001.parquet",
        pytest.param("work/*/predictions.parquet", marks=pytest.mark.slow),
        "work/*/interpret-00000.parquet",
        pytest.param("work/*/exemplars.parquet", marks=pytest.mark.slow),
        "work/*/findings.parquet",
        "features/*/sweep-00000.parquet",
    ],
)
def test_killed_at_any_step_the_same_command_ends_with_the_same_list(
    tiny: Tiny, audited: Path, tmp_path: Path, milestone: str
) -> None:
    process = start_audit(tiny, tmp_path)
    while not list(tmp_path.glob(milestone)) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the audit was over before it could be killed"
    assert start_audit(tiny, tmp_path).wait() == 0
    check_undisturbed(tmp_path, audited)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_the_same_command_ends_with_the_same_list(tiny: Tiny, tmp_path: Path) -> None:
    files: set[str] = set()
    process = start_audit(tiny, tmp_path / "undisturbed", shard_size=4)
    while process.poll() is None:
        files |= names(tmp_path / "undisturbed")
    assert process.returncode == 0 and len(files) > 60
    random = np.random.default_rng(7)
    moments = np.sort(random.choice(len(files), 20, replace=False))
    killed, made = 0, set[str]()
    for moment in moments:
        process = start_audit(tiny, tmp_path / "killed", shard_size=4)
        while len(made) <= moment and process.poll() is None:
            made |= names(tmp_path / "killed")
        time.sleep(random.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 18, "the audit was over before it could be killed"
    assert start_audit(tiny, tmp_path / "killed", shard_size=4).wait() == 0
    check_undisturbed(tmp_path / "killed", tmp_path / "undisturbed", shards=18)


def names(out: Path) -> set[str]:
    """What has been made so far; every step leaves files of its own."""
    return {name for _, _, found in os.walk(out) for name in found if not name.startswith(".")}


def findings(out: Path) -> list[pa.Table]:
    """What is found besides the list, to the last digit."""
    queries = (
        "SELECT path, kind, kind_numbers, cluster FROM scores ORDER BY rank",
        "SELECT * EXCLUDE (audit_id) FROM interpretations ORDER BY image_rank",
        "SELECT * EXCLUDE (audit_id) FROM neighbours ORDER BY image_rank, position",
        "SELECT * EXCLUDE (audit_id) FROM exemplars ORDER BY label, position",
    )
    with duckdb.connect(out / "gradattn.duckdb", read_only=True) as connection:
        return [connection.execute(query).to_arrow_table() for query in queries]


def start_audit(tiny: Tiny, out: Path, shard_size: int = 20) -> subprocess.Popen[bytes]:
    arguments = [str(tiny.dataset), str(tiny.checkpoint), str(out), str(shard_size)]
    return subprocess.Popen([sys.executable, "-c", _RUN, *arguments])


def check_undisturbed(out: Path, audited: Path, shards: int = 4) -> None:
    assert (out / "candidates.csv").read_bytes() == (audited / "candidates.csv").read_bytes()
    assert all(first.equals(second) for first, second in zip(findings(out), findings(audited), strict=True))
    assert len(Store(out).audits.all()) == 1
    assert not list((out / "work").iterdir())
    assert len(list(out.glob("features/*/sweep-*.parquet"))) == shards


_RUN = """
import sys
from pathlib import Path
from gradattn_core.audit.run import audit_images
from tests.helpers.tiny import Tiny
tiny = Tiny(Path(sys.argv[1]), Path(sys.argv[2]), frozenset())
audit_images(tiny.config(Path(sys.argv[3]), shard_size=int(sys.argv[4])))
"""


def test_the_candidates_read_as_a_plain_table(audited: Path) -> None:
    frame = pd.read_csv(audited / "candidates.csv")
    assert list(frame.columns) == [
        "rank", "path", "given_label", "suggested_label", "suspicion", "given_probability", "suggested_probability",
        "margin", "model_log_odds", "log_odds_without_picture", "red_log_odds", "blue_log_odds", "top_region_box",
        "top_region_log_odds", "top_region_measured", "decision", "reviewer", "note", "outside_label",
        "kind",
    ]  # fmt: skip
    boxes = frame["top_region_box"].dropna().str.split(",", expand=True).astype(int)
    assert len(boxes) and (boxes[2] > boxes[0]).all() and (boxes[3] > boxes[1]).all()
