"""Where a probe judges, a later audit keeps the maps whose head has hardly moved, with that head and their numbers."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gradattn_core.audit import heads
from gradattn_core.audit.heads import LinearHeads, stands
from gradattn_core.audit.judge import Judge
from gradattn_core.audit.run import audit_images
from gradattn_core.model import device
from gradattn_core.outfolder import AuditFolder
from gradattn_core.records import AuditSummary, FloatArray
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny


def audited(tiny: Tiny, dataset: Path, out: Path, **changes: object) -> AuditSummary:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return audit_images(tiny.config(out, dataset=str(dataset), interpret="all", **changes))


def said(summary: AuditSummary) -> str:
    """What the audit says of the maps that it kept."""
    return next((sentence for sentence in summary.warnings if "kept from earlier audits" in sentence), "")


def drawn_by(out: Path, audit_id: str) -> pd.DataFrame:
    """Of each map by its path what is stored beside it."""
    files = AuditFolder(out / "features" / audit_id).interpret_files()
    columns = ["path", "head", "map", "model_log_odds", "average_log_odds", "given_output", "other_output"]
    found: pd.DataFrame = pd.concat([pq.read_table(file, columns=columns).to_pandas() for file in files])
    return found.set_index("path")


def readouts(out: Path, audit_id: str) -> dict[str, FloatArray]:
    files = AuditFolder(out / "features" / audit_id).sweep_files()
    found = pd.concat([pq.read_table(file, columns=["path", "readout"]).to_pandas() for file in files])
    return dict(zip(found["path"], found["readout"], strict=True))


@pytest.fixture
def grown(tiny: Tiny, tmp_path: Path) -> tuple[Path, Path, str]:
    """A dataset to which a picture was added since it was audited, the output folder, and the audit before."""
    dataset, out = shutil.copytree(tiny.dataset, tmp_path / "dataset"), tmp_path / "out"
    first = audited(tiny, dataset, out)
    assert said(first) == ""
    # A copy of a picture under its own label: its features move the probe a little.
    shutil.copy(dataset / "red" / "red-10.png", dataset / "red" / "new.png")
    return dataset, out, first.audit_id


def test_a_probe_that_is_the_same_draws_no_map_again(tiny: Tiny, grown: tuple[Path, Path, str]) -> None:
    dataset, out, first = grown
    (dataset / "red" / "new.png").unlink()
    second = audited(tiny, dataset, out, threshold=0.4)
    assert (
        said(second)
        == "72 maps were kept from earlier audits, 0 were drawn anew: the probe of the kept ones has hardly moved."
    )
    assert second.audit_id != first and len(drawn_by(out, second.audit_id)) == 72
    assert not LinearHeads.load(AuditFolder(out / "features" / second.audit_id).heads).kept


def test_maps_of_a_probe_that_has_moved_are_drawn_again_and_the_others_keep_their_numbers(
    tiny: Tiny, grown: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, out, first = grown
    before = drawn_by(out, first)
    old = LinearHeads.load(AuditFolder(out / "features" / first).heads)
    # With bounds of the middle some are kept and some are not.
    monkeypatch.setattr(heads, "MOST_MOVED", 0.05)
    second = audited(tiny, dataset, out)
    after, now = drawn_by(out, second.audit_id), LinearHeads.load(AuditFolder(out / "features" / second.audit_id).heads)
    own = set(after["head"]) - set(before["head"])
    kept = [path for path in after.index if after["head"][path] not in own]
    assert 0 < len(kept) < 72 and set(now.kept) == set(after.loc[kept, "head"])
    assert said(second).startswith(f"{len(kept)} maps were kept from earlier audits, {73 - len(kept)} were drawn anew")
    features = readouts(out, second.audit_id)
    for path in set(kept) - {"red/new.png"}:
        # All of its numbers are those of the head that drew it, which the new audit keeps.
        assert np.array_equal(after["map"][path], before["map"][path])
        assert after["average_log_odds"][path] == before["average_log_odds"][path]
        head = now.kept[after["head"][path]]
        assert any(np.array_equal(head, each) for each in old.joined)
        pair = head[after["given_output"][path]] - head[after["other_output"][path]]
        log_odds = float(features[path] @ pair[:-1] + pair[-1])
        assert log_odds == pytest.approx(after["model_log_odds"][path], abs=1e-3)


def test_a_map_that_is_kept_is_measured_by_the_head_that_drew_it(
    tiny: Tiny, grown: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, out, first = grown
    monkeypatch.setattr(heads, "MOST_MOVED", 9.0)
    monkeypatch.setattr(heads, "MOST_SHIFTED", 99.0)
    second = audited(tiny, dataset, out)
    # And once more: the head that drew a map goes with it from audit to audit.
    shutil.copy(dataset / "blue" / "blue-10.png", dataset / "blue" / "new.png")
    third = audited(tiny, dataset, out)
    assert not (out / "features" / first).exists() and third.audit_id != second.audit_id
    after, store = drawn_by(out, third.audit_id), Store(out)
    judge = Judge.of(store, third.audit_id)
    assert judge.heads is not None
    kept = [path for path in after.index if after["head"][path] in judge.heads.kept]
    assert len(kept) > 40
    found = judge.measure(store, kept[0])
    assert found.numbers == "measured" and found.sums is not None
    assert found.sums.log_odds == pytest.approx(after["model_log_odds"][kept[0]], abs=1e-4)
    assert found.scores.sum() == pytest.approx(found.sums.log_odds - found.sums.base, abs=1e-3)


def test_of_more_heads_than_there_is_room_for_those_of_most_maps_are_kept(
    tiny: Tiny, grown: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, out, first = grown
    before = drawn_by(out, first)
    (head,) = LinearHeads.load(AuditFolder(out / "features" / first).heads).joined[:1]
    monkeypatch.setattr(heads, "MOST_KEPT", 2 * head.nbytes)
    second = audited(tiny, dataset, out)
    after, now = drawn_by(out, second.audit_id), LinearHeads.load(AuditFolder(out / "features" / second.audit_id).heads)
    assert set(before["head"]) > set(now.kept) and len(now.kept) == 2
    kept = int(after["head"].isin(list(now.kept)).sum())
    # Every other map names a head that this audit has itself.
    assert said(second).startswith(f"{kept} maps were kept from earlier audits, {73 - kept} were drawn anew")
    assert kept + int((~after["head"].isin(before["head"])).sum()) == 73


def test_which_heads_are_kept_depends_on_nothing_but_their_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    drew = pd.Series(["d", "b", "a", "b", "c", "c"], dtype=object)
    assert heads.most_used(drew, 100) == ["a", "b", "c", "d"]
    monkeypatch.setattr(heads, "MOST_KEPT", 399)
    assert heads.most_used(drew, 100) == heads.most_used(drew[::-1], 100) == ["a", "b", "c"]
    assert heads.most_used(drew[:0], 100) == []


def test_which_maps_can_stand_for_a_new_one() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 6)).astype(np.float32)
    head = rng.normal(size=(3, 7)).astype(np.float32)
    nudge = np.zeros_like(head)
    nudge[0, 0] = 1.0
    size = np.sqrt(np.mean((np.c_[features, np.ones(500)] @ (head[0] - head[1])) ** 2))
    before = {"same": head, "near": head + 0.05 * size * nudge, "far": head + 0.2 * size * nudge}
    # A picture of which the moved weight hardly speaks, and one of which it says much.
    quiet, loud = int(np.abs(features[:, 0]).argmin()), int(np.abs(features[:, 0]).argmax())
    assert abs(features[loud, 0]) * 0.05 * size > heads.MOST_SHIFTED
    rows = [("same", quiet), ("near", quiet), ("far", quiet), ("near", loud), ("same", loud), ("unknown", quiet)]
    candidates = pd.DataFrame({"head": [name for name, _ in rows], "fold": 0, "given_output": 0, "other_output": 1})
    found = stands(candidates, head[None], before, features, np.array([row for _, row in rows]))
    assert found.tolist() == [True, True, False, False, True, False]
    # Between two other classes nothing has moved.
    others = candidates.assign(given_output=1, other_output=2)
    assert stands(others, head[None], before, features, np.array([row for _, row in rows])).tolist() == [True] * 5 + [
        False
    ]


def test_a_head_that_names_the_other_class_draws_the_map_again() -> None:
    features = np.array([[0.01], [5.0], [-5.0]], dtype=np.float32)
    now, before = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32), np.array([[1.0, -0.02], [0.0, 0.0]], np.float32)
    asked = pd.DataFrame({"head": ["old"] * 2, "fold": 0, "given_output": 0, "other_output": 1})
    assert stands(asked, now[None], {"old": before}, features, np.array([0, 1])).tolist() == [False, True]


def test_maps_in_tf32_say_so_and_stand_for_no_exact_ones(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretended: this CPU is a GPU with units for TF32, whose numbers are exact all the same."""
    out = tmp_path / "out"
    monkeypatch.setattr(device, "computes_tf32", lambda _: True)
    rough = audited(tiny, tiny.dataset, out)
    assert rough.computed.endswith(", maps in tf32")
    assert Store(out).audits.one(rough.audit_id).versions["map_precision"] == "tf32"
    exact = audited(tiny, tiny.dataset, out, map_precision="float32")
    assert exact.audit_id != rough.audit_id and said(exact) == "", "all of them are drawn again"
    assert "maps" not in exact.computed
    assert Store(out).audits.one(exact.audit_id).versions["map_precision"] == "float32"
    again = audited(tiny, tiny.dataset, out, threshold=0.4)
    assert said(again).startswith("72 maps were kept"), "an exact one will do for any"
