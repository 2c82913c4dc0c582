"""A later audit of a dataset computes what is new or changed, and nothing else."""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from gradattn_core.audit import rank, reuse
from gradattn_core.audit.plan import Plan, make_plan, survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.sweep import count_taken_over, sweep_shard
from gradattn_core.config import AuditConfig
from gradattn_core.evidence import SUMS
from gradattn_core.files import remove_folder
from gradattn_core.outfolder import FORMAT, listed
from gradattn_core.records import AuditSummary
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny, make_tiny


@dataclass(frozen=True)
class Audited:
    """A copy of a dataset that may be changed, and the folder of a finished audit of it."""

    dataset: Path
    out: Path
    tiny: Tiny

    def config(self, **changes: Any) -> AuditConfig:
        return self.tiny.config(self.out, dataset=str(self.dataset), **changes)

    def audit(self, **changes: Any) -> AuditSummary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return audit_images(self.config(**changes))

    def swept(self, audit_id: str) -> pd.DataFrame:
        files = sorted((self.out / "features" / audit_id).glob("sweep-*.parquet"))
        frame: pd.DataFrame = pa.concat_tables([pq.read_table(file) for file in files]).to_pandas()
        return frame


@pytest.fixture
def audited(tiny: Tiny, tmp_path: Path) -> Audited:
    found = Audited(shutil.copytree(tiny.dataset, tmp_path / "dataset"), tmp_path / "out", tiny)
    found.audit()
    return found


def spoil(file: Path, out: Path) -> None:
    """Make the file unreadable as a picture without a sign of it in size or time: whoever reads it will fail.

    Its change time would tell, but for an audit of an older version, which knew none.
    """
    listed(out).unlink(missing_ok=True)
    status = file.stat()
    file.write_bytes(b"x" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def new_picture(file: Path, colour: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    blotches = rng.normal(0, 25, (6, 8, 3)).repeat(6, 0).repeat(6, 1)
    Image.fromarray(np.clip(np.array(colour) + blotches, 0, 255).astype(np.uint8)).save(file)


def anew(summary: AuditSummary) -> str:
    """What the audit says of how much it took over."""
    return next((warning for warning in summary.warnings if "taken over" in warning), "")


def test_only_added_and_changed_images_are_swept_removed_ones_leave_and_decisions_stay(
    tiny: Tiny, tmp_path: Path
) -> None:
    big = make_tiny(tmp_path / "big", per_class=60)
    audited = Audited(big.dataset, tmp_path / "out", big)
    first = audited.audit(shard_size=50)
    store = Store(audited.out)
    suspects = list(store.candidates.page(first.audit_id)["path"])
    store.decisions.append(first.audit_id, suspects[0], "relabel", new_label="red", reviewer="ada")

    ordinary = [path for path in audited.swept(first.audit_id)["path"] if path not in suspects]
    changed, removed, spoilt = ordinary[:10], ordinary[10:20], ordinary[20:]
    for number, path in enumerate(changed):
        new_picture(audited.dataset / path, (200, 50, 40), number)
    for path in removed:
        (audited.dataset / path).unlink()
    for number in range(100):
        new_picture(audited.dataset / "green" / f"added-{number:03d}.png", (40, 180, 60), 100 + number)
    for path in spoilt:
        spoil(audited.dataset / path, audited.out)
    second = audited.audit(shard_size=50)

    assert anew(second) == "160 images were taken over from earlier audits, 110 were swept anew."
    assert second.images == 180 + 100 - 10
    assert {failure for failure in store.audits.failures(second.audit_id)["stage"]} <= {"interpret", "decode"}
    swept = audited.swept(second.audit_id)
    assert list(swept["path"]) == sorted(swept["path"]) and set(swept["path"]).isdisjoint(removed)
    before, after = fresh_rows(big, tmp_path).set_index("path"), swept.set_index("path")
    shared = before.index.intersection(after.index).difference(changed)
    assert len(shared) == 160
    for name in ("content_hash", "given_label", "size", "width", "height"):
        assert before.loc[shared, name].equals(after.loc[shared, name])
    assert all((audited.dataset / path).stat().st_mtime_ns == after.loc[path, "modified"] for path in after.index)
    np.testing.assert_allclose(
        np.stack(before.loc[shared, "readout"].tolist()), np.stack(after.loc[shared, "readout"].tolist()), atol=1e-5
    )
    carried = store.candidates.one(second.audit_id, suspects[0])
    assert carried is not None and carried.decision == "relabel"
    assert first.news is None and second.news is not None
    assert second.news.since == first.audit_id
    news = second.news
    assert (news.new_images, news.gone_images, news.changed_images, news.relabelled_images) == (110, 20, 10, 0)


def fresh_rows(big: Tiny, folder: Path) -> pd.DataFrame:
    """What an audit that takes nothing over sweeps of the same pictures, before they were changed and spoilt."""
    fresh = Audited(make_tiny(folder / "again", per_class=60).dataset, folder / "fresh", big)
    return fresh.swept(fresh.audit(shard_size=50).audit_id)


def test_an_image_moved_into_another_class_is_known_by_its_content(audited: Audited) -> None:
    wrong = sorted(audited.tiny.wrong)[0]
    colour = Path(wrong).name.split("-")[0]
    moved = audited.dataset / colour / "moved.png"
    shutil.copy(audited.dataset / wrong, moved)  # copied: another time of modification
    (audited.dataset / wrong).unlink()
    summary = audited.audit()
    assert anew(summary) == "72 images were taken over from earlier audits, 0 were swept anew."
    row = audited.swept(summary.audit_id).set_index("path").loc[f"{colour}/moved.png"]
    assert row["given_label"] == colour and row["modified"] == moved.stat().st_mtime_ns
    candidate = Store(audited.out).candidates.one(summary.audit_id, f"{colour}/moved.png")
    assert candidate is not None and candidate.suspicion < 0.5, "its new label is right"


def test_a_known_path_with_another_content_is_swept_anew(audited: Audited) -> None:
    path = audited.dataset / "red" / "red-10.png"
    new_picture(path, (40, 60, 200), 1)
    summary = audited.audit()
    assert anew(summary).endswith(" 1 were swept anew.")
    assert Store(audited.out).candidates.page(summary.audit_id)["path"].tolist().count("red/red-10.png") == 1


def test_restart_takes_nothing_over(audited: Audited) -> None:
    assert anew(audited.audit(restart=True)) == ""


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"head": "as-is"}])
def test_a_sweep_made_another_way_takes_nothing_over(audited: Audited, changes: dict[str, Any], tmp_path: Path) -> None:
    if "head" in changes:
        (tmp_path / "map.csv").write_text("label,output\nred,2\ngreen,0\nblue,1\n")
        changes = {**changes, "class_map": str(tmp_path / "map.csv")}
    assert anew(audited.audit(**changes)) == ""


def test_other_parameters_of_the_ranking_take_the_whole_sweep_over(audited: Audited) -> None:
    assert anew(audited.audit(folds=3)).endswith(" 0 were swept anew.")


def test_the_features_that_were_taken_over_are_not_kept_twice(audited: Audited) -> None:
    (audited.dataset / "red" / "red-10.png").unlink()
    summary = audited.audit()
    assert [folder.name for folder in (audited.out / "features").iterdir()] == [summary.audit_id]
    assert len(Store(audited.out).audits.all()) == 2


def test_an_interrupted_audit_gives_its_shards_to_the_next_when_the_dataset_has_changed(audited: Audited) -> None:
    shutil.rmtree(audited.out)
    stale = make_plan(audited.config(), survey_dataset(audited.config()))
    sweep_shard(stale, 0)
    with pytest.warns(UserWarning, match="folds"):
        other = make_plan(audited.config(folds=3), survey_dataset(audited.config(folds=3)))
    (audited.dataset / "red" / "red-23.png").unlink()
    summary = audited.audit()
    assert anew(summary) == "20 images were taken over from earlier audits, 51 were swept anew."
    # Neither can be continued any more, as both were begun on the dataset as it was.
    assert not stale.folder.exists() and not other.folder.exists()


def test_an_interrupted_audit_of_another_split_stays_and_loses_no_features(audited: Audited) -> None:
    paths = paths_of(audited)
    rows = [f"{path},{path.split('/')[0]},{'train' if number % 2 else 'val'}" for number, path in enumerate(paths)]
    manifest = audited.dataset / "all.csv"
    manifest.write_text("\n".join(["path,label,split", *rows]))
    train = audited.tiny.config(audited.out, dataset=str(manifest), split="train")
    val = audited.tiny.config(audited.out, dataset=str(manifest), split="val")
    audit_images(val)
    with pytest.warns(UserWarning, match="split"):
        begun = make_plan(train, survey_dataset(train))
    (audited.dataset / paths[0]).unlink()  # of val
    with pytest.warns(UserWarning):
        audit_images(val)
    assert begun.folder.is_dir() and make_plan(train, survey_dataset(train)).audit_id == begun.audit_id
    # The features of the class folder are not those of a split of it.
    assert len(list((audited.out / "features").iterdir())) == 2


def paths_of(audited: Audited) -> list[str]:
    return sorted(path.relative_to(audited.dataset).as_posix() for path in audited.dataset.rglob("*.png"))


def test_a_folder_that_was_half_removed_stops_no_later_audit(audited: Audited) -> None:
    with pytest.warns(UserWarning, match="folds"):
        half = make_plan(audited.config(folds=3), survey_dataset(audited.config(folds=3)))
    sweep_shard(half, 0)
    copy = shutil.copytree(half.folder, half.folder.with_name("copy"))
    remove_folder(copy, ("plan.json", "sweep.json"))
    assert not copy.exists()
    # Killed after the first files were gone.
    for name in ("plan.json", "sweep.json", "listing.parquet"):
        (half.folder / name).unlink()
    (audited.dataset / "red" / "red-10.png").unlink()
    assert audited.audit().images == 71
    assert audited.audit(folds=3).images == 71


def test_images_of_unknown_time_are_read_and_known_by_content(audited: Audited) -> None:
    for path in paths_of(audited):
        os.utime(audited.dataset / path, (0, 0))
    before = hashes(audited, audited.audit())
    new_picture(audited.dataset / "red" / "red-10.png", (40, 60, 200), 1)
    os.utime(audited.dataset / "red" / "red-10.png", (0, 0))
    (audited.dataset / "red" / "red-11.png").unlink()
    second = audited.audit()
    assert before["red/red-10.png"] != hashes(audited, second)["red/red-10.png"]
    assert anew(second) == "70 images were taken over from earlier audits, 1 were swept anew."


def hashes(audited: Audited, summary: AuditSummary) -> dict[str, str]:
    swept = audited.swept(summary.audit_id)
    return dict(zip(swept["path"], swept["content_hash"], strict=True))


def test_a_picture_that_was_replaced_since_it_was_swept_gets_no_map_of_its_successor(audited: Audited) -> None:
    wrong = sorted(audited.tiny.wrong)[0]
    shutil.rmtree(audited.out)
    plan = make_plan(audited.config(), survey_dataset(audited.config()))
    for index in range(plan.shards):
        sweep_shard(plan, index)
    status = (audited.dataset / wrong).stat()
    Image.new("RGB", (48, 36), (40, 60, 200)).save(audited.dataset / wrong)
    content = (audited.dataset / wrong).read_bytes()
    assert len(content) <= status.st_size, "what follows the end of a PNG is not read"
    (audited.dataset / wrong).write_bytes(content.ljust(status.st_size, b"\0"))
    os.utime(audited.dataset / wrong, ns=(status.st_atime_ns, status.st_mtime_ns))
    summary = audited.audit()
    failures = Store(audited.out).audits.failures(summary.audit_id)
    [failure] = failures.to_dict("records")
    assert failure["path"] == wrong and failure["stage"] == "interpret"
    assert failure["reason"] == "it has changed since it was swept"
    assert Store(audited.out).images.evidence(summary.audit_id, wrong) is None


def test_other_weights_under_the_same_name_take_nothing_over(audited: Audited, tmp_path: Path) -> None:
    state = load_file(audited.tiny.checkpoint)
    key = next(iter(state))
    save_file({**state, key: state[key] + 0.01}, tmp_path / "other.safetensors")
    assert anew(audited.audit(checkpoint=str(tmp_path / "other.safetensors"))) == ""


def test_an_interrupted_audit_with_other_parameters_stays_and_can_be_continued(audited: Audited) -> None:
    with pytest.warns(UserWarning, match="folds"):
        other = make_plan(audited.config(folds=3), survey_dataset(audited.config(folds=3)))
    assert audited.audit(restart=True).images == 72
    assert other.folder.is_dir()
    assert audited.audit(folds=3).audit_id == other.audit_id


def test_another_dataset_in_the_same_folder_shares_what_has_the_same_content(audited: Audited, tmp_path: Path) -> None:
    twin = Audited(shutil.copytree(audited.dataset, tmp_path / "twin"), audited.out, audited.tiny)
    spoil(twin.dataset / "red" / "red-10.png", twin.out)  # the same place and time below another root proves nothing
    summary = twin.audit()
    assert anew(summary) == "71 images were taken over from earlier audits, 0 were swept anew."
    assert Store(twin.out).audits.failures(summary.audit_id)["path"].tolist() == ["red/red-10.png"]
    assert len(list((audited.out / "features").iterdir())) == 2


def test_maps_of_the_models_own_classifier_are_taken_over_bit_for_bit(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("label,output\nred,2\ngreen,0\nblue,1\n")
    as_is = {"head": "as-is", "class_map": str(tmp_path / "map.csv")}
    audited = Audited(shutil.copytree(tiny.dataset, tmp_path / "dataset"), tmp_path / "out", tiny)
    first = audited.audit(**as_is)
    for path in audited.swept(first.audit_id)["path"]:
        spoil(audited.dataset / path, audited.out)
    new_picture(audited.dataset / "red" / "new.png", (40, 60, 200), 1)
    second = audited.audit(**as_is)
    assert anew(second) == "72 images were taken over from earlier audits, 1 were swept anew."
    before, after = (maps(audited.out, summary.audit_id) for summary in (first, second))
    same = {path: row for path, row in after.items() if path != "red/new.png"}
    assert len(same) > 30 and all(before[path] == row for path, row in same.items())
    # Whose other class is another one now needs a new map, and cannot be read for it.
    store = Store(audited.out)
    others = [
        store.candidates.page(summary.audit_id).set_index("path")["suggested_label"] for summary in (first, second)
    ]
    moved_on = {path for path in before if others[0][path] != others[1][path]}
    assert set(store.audits.failures(second.audit_id)["path"]) == moved_on == set(before) - set(same)


def made_by_earlier_version(audited: Audited, audit_id: str) -> None:
    """Take the columns and parameters that an earlier version had not from a finished audit's files and its row."""
    for file in (audited.out / "features" / audit_id).glob("*.parquet"):
        table = pq.read_table(file)
        newer = {
            "measured",
            "log_odds",
            "numbers",
            "is_measured",
            "head",
            *(n for n in SUMS if n in table.column_names),
        }
        pq.write_table(table.drop_columns(sorted(newer & set(table.column_names))), file)
    with duckdb.connect(audited.out / "gradattn.duckdb") as connection:
        old = "json_merge_patch(parameters, '{\"measured\": null}')"
        connection.execute(f"UPDATE audits SET parameters = {old} WHERE audit_id = ?", [audit_id])


@pytest.mark.parametrize("kept", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_maps_of_an_earlier_version_are_kept_by_who_names_them_and_drawn_anew_by_who_does_not(
    tiny: Tiny, tmp_path: Path, kept: bool
) -> None:
    audited = Audited(shutil.copytree(tiny.dataset, tmp_path / "dataset"), tmp_path / "out", tiny)
    first = audited.audit(head="as-is", correction="complete")
    made_by_earlier_version(audited, first.audit_id)
    before = maps(audited.out, first.audit_id)
    if kept:
        for path in audited.swept(first.audit_id)["path"]:
            spoil(audited.dataset / path, audited.out)
    new_picture(audited.dataset / "red" / "new.png", (40, 60, 200), 1)
    changes = {"head": "as-is", **({"correction": "complete"} if kept else {})}
    second = audited.audit(**changes)
    assert anew(second) == "72 images were taken over from earlier audits, 1 were swept anew."
    said = [warning for warning in second.warnings if warning.startswith("All maps are drawn anew")]
    assert said == ([] if kept else [
        "All maps are drawn anew, with correction secant: the audit before had complete ones."
    ])  # fmt: skip
    after = maps(audited.out, second.audit_id)
    same = [path for path in after if before.get(path) == after[path]]
    with duckdb.connect(audited.out / "gradattn.duckdb", read_only=True) as connection:
        query = "SELECT count(*), count(model_log_odds) FROM interpretations WHERE audit_id = ?"
        [(drawn, adding)] = connection.execute(query, [second.audit_id]).fetchall()
    assert (len(same) > 30 and adding == 0) if kept else (not same and adding == drawn > 30)
    (audited.dataset / "red" / "new.png").unlink()
    assert not any("drawn anew" in warning for warning in audited.audit(**changes).warnings), "it is said once"


def test_a_map_that_is_kept_keeps_its_numbers_and_what_was_not_measured_is(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = Audited(shutil.copytree(tiny.dataset, tmp_path / "dataset"), tmp_path / "out", tiny)
    as_is = {"head": "as-is", "interpret": "all"}
    monkeypatch.setattr(rank, "MEASURED", 3)
    first = audited.audit(**as_is)
    top = Store(audited.out).candidates.page(first.audit_id, top=3)["path"]
    assert {path for path, row in maps(audited.out, first.audit_id).items() if is_measured(row)} == set(top)
    monkeypatch.setattr(rank, "MEASURED", 6)
    for number in range(6):
        new_picture(audited.dataset / "red" / f"new-{number}.png", (40, 60, 200), number)
    second = audited.audit(**as_is)
    before, after = (maps(audited.out, summary.audit_id) for summary in (first, second))
    shared = sorted(set(before) & set(after))
    measured = set(Store(audited.out).candidates.page(second.audit_id, top=6)["path"])
    # The mean of the answers is another one now; a kept map stays beside the one it was drawn with.
    place, other = map(interpretation_columns(audited.out).index, ("average_log_odds", "against_label"))
    kept = {path for path in shared if before[path] == after[path]}
    drawn = {path for path in shared if before[path][place] != after[path][place]}
    newly = {path for path in measured & set(shared) if not is_measured(before[path])}
    newly |= {path for path in shared if before[path][other] != after[path][other]}
    assert drawn == newly and kept == set(shared) - drawn and len(kept) > 20
    assert all(is_measured(after[path]) for path in measured)
    audited.audit(**as_is, measured="all")
    last = Store(audited.out).audits.latest_id()
    assert all("measured" in row for row in maps(audited.out, last).values())


def test_an_audit_whose_correction_was_named_is_the_same_audit(tiny: Tiny, tmp_path: Path) -> None:
    named = tiny.config(tmp_path, correction="complete")
    assert "measured" not in named.identity() and "measured" in tiny.config(tmp_path).identity()


def interpretation_columns(out: Path) -> list[str]:
    with duckdb.connect(out / "gradattn.duckdb", read_only=True) as connection:
        result = connection.execute("SELECT * EXCLUDE (audit_id, image_rank) FROM interpretations LIMIT 0")
        return [column[0] for column in result.description]


def is_measured(row: tuple[Any, ...]) -> bool:
    """Whether one of a map's regions, each a tuple that ends with its measured effect, was measured."""
    return any(isinstance(part, tuple) and part[-1] is not None for part in row)


def test_an_audit_that_an_earlier_version_had_begun_is_begun_anew_and_what_it_swept_is_used(
    tiny: Tiny, tmp_path: Path
) -> None:
    audited = Audited(shutil.copytree(tiny.dataset, tmp_path / "dataset"), tmp_path / "out", tiny)
    config = audited.config(head="as-is", correction="complete")
    begun = make_plan(config, survey_dataset(config))
    for shard in range(2):
        sweep_shard(begun, shard)
    begun.files.plan.write_text(begun.files.plan.read_text().replace(f'"format": {FORMAT}', '"format": 3'))
    for path in pq.read_table(begun.files.sweep(0))["path"].to_pylist():
        os.utime(audited.dataset / path, ns=(7, 7))
    with pytest.warns(UserWarning, match="another version of gradattn has begun it; what it had swept is used"):
        summary = audit_images(audited.config(head="as-is"))
    assert anew(summary) == "40 images were taken over from earlier audits, 32 were swept anew."
    assert sum(warning.startswith("All maps are drawn anew") for warning in summary.warnings) == 1


def maps(out: Path, audit_id: str) -> dict[str, tuple[Any, ...]]:
    """Everything stored about each map and its regions, by path."""
    query = "SELECT * EXCLUDE (audit_id, image_rank) FROM {} WHERE audit_id = ? ORDER BY path"
    with duckdb.connect(out / "gradattn.duckdb", read_only=True) as connection:
        rows = connection.execute(query.format("interpretations"), [audit_id]).fetchall()
        regions = connection.execute(query.format("regions") + ", sign, rank", [audit_id]).fetchall()
    return {row[0]: (*row, *(region for region in regions if region[0] == row[0])) for row in rows}


def test_a_new_audit_says_what_differs_from_the_last(audited: Audited) -> None:
    with pytest.warns(UserWarning, match=r"folds 3 \(was 5\)"):
        make_plan(audited.config(folds=3), survey_dataset(audited.config(folds=3)))
    with pytest.warns(UserWarning, match="interrupted and stays as it is: folds 4"):
        make_plan(audited.config(folds=4), survey_dataset(audited.config(folds=4)))


def test_a_changed_dataset_is_said(audited: Audited) -> None:
    (audited.dataset / "red" / "red-10.png").unlink()
    with pytest.warns(UserWarning, match="the images, the labels, the checkpoint or gradattn itself have changed"):
        make_plan(audited.config(), survey_dataset(audited.config()))


def test_the_first_audit_of_a_dataset_and_a_restart_warn_of_nothing(audited: Audited, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_plan(audited.config(restart=True, folds=3), survey_dataset(audited.config(folds=3)))
        elsewhere = audited.tiny.config(tmp_path / "elsewhere")
        make_plan(elsewhere, survey_dataset(elsewhere))


def test_an_interrupted_audit_keeps_its_shards_whatever_size_is_asked_for_then(
    audited: Audited, tmp_path: Path
) -> None:
    config = audited.tiny.config(tmp_path / "other", shard_size=20)
    plan = make_plan(config, survey_dataset(config))
    sweep_shard(plan, 0)
    again = make_plan(audited.tiny.config(tmp_path / "other", shard_size=7), survey_dataset(config))
    assert (again.audit_id, again.shard_size, again.shards) == (plan.audit_id, 20, 4)


@pytest.mark.parametrize(
    ("precision", "form", "reason"),
    [
        ("float32", 2, "they are resized faster now"),
        ("bfloat16", 3, "attention is faster in bfloat16 now"),
        ("bfloat16", 4, "layers are faster in bfloat16 now"),
    ],
)
def test_what_a_version_with_other_numbers_had_swept_is_swept_once_more_and_that_is_said_once(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, form: int, reason: str
) -> None:
    audited = Audited(shutil.copytree(tiny.dataset, tmp_path / "dataset"), tmp_path / "out", tiny)
    once_more = f"All pictures are swept once more, though an earlier version of gradattn had swept them: {reason}"

    def swept(removed: str) -> Plan:
        """Of a dataset that has lost one more picture."""
        (audited.dataset / "red" / removed).unlink()
        config = audited.config(precision=precision)
        plan = make_plan(config, survey_dataset(config))
        for shard in range(plan.shards):
            sweep_shard(plan, shard)
        return plan

    with monkeypatch.context() as earlier:
        earlier.setitem(reuse._SWEEP_FORMATS, precision, form)
        before = swept("red-10.png")
    with pytest.warns(UserWarning, match=once_more):
        upgraded = swept("red-11.png")
    assert upgraded.sweep_key != before.sweep_key and count_taken_over(upgraded) == 0
    assert sum(note.startswith(once_more) for note in upgraded.notes) == 1
    with pytest.warns(UserWarning, match="a new audit begins") as told:
        after = swept("red-12.png")
    assert not any(once_more in note for note in (*after.notes, *(str(warning.message) for warning in told)))
    assert count_taken_over(after) == after.images > 0
