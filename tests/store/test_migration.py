"""A database of each earlier schema version, as it lies on people's disks, and what this version makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from gradattn_core.cli import main
from gradattn_core.errors import StoreError
from gradattn_core.evidence import SUMS
from gradattn_core.store import schema
from gradattn_core.store.store import Store
from tests.helpers.sample_audit import PATHS, as_parquet, audit_row, sample_store, tables

_TABLES = ("audits", "images", "predictions", "scores", "interpretations", "regions", "class_pairs", "failures")
_MASSES = {"positive_mass": 9.0, "negative_mass": 6.0, "balance": 0.2}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The sample audit with some decisions, as version 1 kept it."""
    return older_database(tmp_path, 1)


def older_database(tmp_path: Path, version: int) -> Path:
    """The sample audit with some decisions, in tables and views that the statements up to ``version`` made."""
    (tmp_path / "newer").mkdir()
    newer = sample_store(tmp_path / "newer")
    newer.decisions.append("first", PATHS[0], "relabel", new_label="bald eagle", reviewer="ann")
    # Taken back, taken back but for the first, and disputed.
    newer.decisions.append_many("first", PATHS[6:9], "keep", reviewer="ann")
    newer.decisions.append_many("first", PATHS[7:9], "remove", reviewer="bob")
    newer.decisions.undo_many("first", PATHS[6:8], reviewer="cy")
    folder = tmp_path / "older"
    folder.mkdir()
    with duckdb.connect(folder / "gradattn.duckdb") as connection:
        for statement in (each for statements in schema.MIGRATIONS[:version] for each in statements):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(version)])
        connection.execute(f"ATTACH '{newer.database}' AS newer (READ_ONLY)")
        for table in (*_TABLES, "decisions"):
            columns = connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE table_name = ? AND database_name = 'gradattn' "
                "ORDER BY column_index",
                [table],
            ).fetchall()
            names = ", ".join(str(_MASSES.get(name, name)) for (name,) in columns)
            connection.execute(f"INSERT INTO {table} SELECT {names} FROM newer.{table}")
    return folder


def test_what_an_older_audit_said_is_still_said_and_what_it_lacks_is_absent(older: Path) -> None:
    store = Store(older)
    store.prepare()
    page = store.candidates.page("first")
    assert list(page["path"]) == PATHS[:6]
    assert (page["decision"][0], page["new_label"][0]) == ("relabel", "bald eagle")
    evidence, prediction = store.images.evidence("first", PATHS[0]), store.images.prediction("first", PATHS[0])
    assert evidence is not None and evidence.hidden is None and evidence.for_logit == 1.5
    assert prediction is not None and prediction.components == {"margin": 0.5, "neighbours": 0.0}
    for column in ("runner_up_probability", "kind", "kind_numbers", "cluster"):
        assert getattr(prediction, column) is None, column
    assert list(store.audits.class_pairs("first")["suspects"]) == [4, 2]


def test_an_older_log_says_what_it_said(older: Path) -> None:
    store, newer = Store(older), Store(older.parent / "newer")
    log = store.decisions.page()
    assert log.equals(newer.decisions.page())
    assert list(log["stands"]) == [False, False, True, False, False, True, False, True]
    assert list(log["conflict"]) == [False, False, True, False, True, False, False, False]
    said = ["path", "decision", "reviewer", "note", "new_label", "conflict"]
    pages = [each.candidates.page("first", everything=True)[said] for each in (store, newer)]
    assert pages[0].equals(pages[1])


def test_a_command_that_only_reads_brings_an_older_database_up_to_date(
    older: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["summary", "--out", str(older), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["review"]["reviewed"] == 3


def test_an_older_database_takes_decisions_and_audits_of_this_version(older: Path) -> None:
    store = Store(older)
    store.decisions.append("first", PATHS[1], "keep", reviewer="bob")
    store.audits.merge(audit_row("second"), tables(PATHS, suspects=2))
    assert list(store.candidates.page("first", decided="yes")["decision"]) == ["relabel", "keep"]
    evidence, prediction = store.images.evidence("second", PATHS[0]), store.images.prediction("second", PATHS[0])
    assert evidence is not None and evidence.hidden is not None and evidence.hidden.label == "kite"
    assert prediction is not None and prediction.kind == "mislabel"
    assert prediction.kind_numbers == {"hidden_margin": 0.25, "row": 0.0}
    with duckdb.connect(store.database, read_only=True) as connection:
        version = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        neighbours = connection.execute(
            "SELECT image_rank, position, neighbour_path FROM neighbours WHERE path = ? ORDER BY position", [PATHS[1]]
        ).fetchall()
    assert version == (str(len(schema.MIGRATIONS)),)
    assert neighbours == [(2, step, PATHS[1 + step]) for step in range(1, 7)]


# Maps add up since version 5.
@pytest.mark.parametrize("version", range(1, 5))
def test_older_maps_are_kept_and_add_up_to_nothing(tmp_path: Path, version: int) -> None:
    store, newer = Store(older_database(tmp_path, version)), Store(tmp_path / "newer")
    before, after = (each.images.evidence("first", PATHS[2]) for each in (newer, store))
    assert before is not None and before.sums is not None and after is not None
    np.testing.assert_array_equal(after.scores, before.scores)
    assert (after.sums, after.numbers) == (None, "map")
    plain = [replace(region, log_odds=None, measured=None) for region in before.statistics.regions]
    assert after.statistics == replace(before.statistics, regions=tuple(plain))
    page = store.candidates.page("first")
    assert page[[*SUMS[:2], *SUMS[3:5], "top_region_log_odds", "top_region_measured"]].isna().all(axis=None)
    assert list(page["top_region_box"]) == list(newer.candidates.page("first")["top_region_box"])
    # Old and new audits stand side by side, and a suspect's order is learnt from what there is.
    store.audits.merge(audit_row("second"), tables(PATHS, suspects=2))
    assert store.candidates.page("second")["red_log_odds"].tolist() == [9.0, 9.0]
    suspects, _ = store.review.suspects("first", 0.5)
    assert suspects["blue_log_odds"].isna().all() and suspects["overlap"].notna().sum() == 4


@pytest.mark.parametrize("version", range(1, 6))
def test_an_older_estimate_is_kept_without_the_interval_that_was_none(tmp_path: Path, version: int) -> None:
    store = Store(older_database(tmp_path, version))
    audit, progress = store.audits.one("first"), store.review.progress("first")
    assert audit.estimated_errors == 4.5
    ends = [audit.estimated_low, audit.estimated_high, progress.left_low, progress.left_high]
    health = store.audits.class_health("first")
    assert np.isnan([*ends, *health["low"], *health["high"]]).all() and progress.estimated_left > 3
    assert health["wrong"].sum() == pytest.approx(5.0)
    store.review.rerank("first", PATHS[1:6], np.linspace(0.9, 0.1, 5), decisions=1, learnt_by="near")
    progress = store.review.progress("first")
    assert progress.estimated_left == pytest.approx(2.5) and np.isnan(progress.left_low)


def test_a_page_that_only_reads_says_what_brings_an_older_database_up_to_date(tmp_path: Path) -> None:
    folder = older_database(tmp_path, 6)
    with pytest.raises(StoreError, match=r"older schema version 6 .* open it once without read-only mode"):
        Store(folder, read_only=True).candidates.page("first")
    assert Store(folder).candidates.count("first") == 6 and Store(folder, read_only=True).candidates.count("first") == 6


def test_an_audit_that_the_version_before_began_is_merged_without_likely_classes(tmp_path: Path) -> None:
    frames = tables(PATHS, suspects=2)
    store = Store(tmp_path)
    store.audits.merge(audit_row(), frames)
    store.audits.merge(audit_row("shards"), as_parquet(frames, tmp_path / "shards"))
    for audit_id in ("first", "shards"):
        prediction = store.images.prediction(audit_id, PATHS[0])
        assert prediction is not None and prediction.likely_labels is None
    frames["scores"]["likely_labels"] = pd.Series([["kite", "bald eagle"]] * len(PATHS))
    frames["scores"]["likely_probabilities"] = pd.Series([[0.75, 0.25]] * len(PATHS))
    store.audits.merge(audit_row(), as_parquet(frames, tmp_path / "newer shards"))
    prediction = store.images.prediction("first", PATHS[0])
    assert prediction is not None
    assert (prediction.likely_labels, prediction.likely_probabilities) == (["kite", "bald eagle"], [0.75, 0.25])


def test_a_neighbour_or_an_exemplar_that_the_audit_does_not_list_is_refused(tmp_path: Path) -> None:
    for table, column in (("neighbours", "path"), ("neighbours", "neighbour_path"), ("exemplars", "path")):
        frames = tables(PATHS, suspects=2)
        frames[table].loc[0, column] = "elsewhere.jpg"
        with pytest.raises(StoreError, match=rf"{table} .*'elsewhere.jpg', which is not among its images"):
            Store(tmp_path).audits.merge(audit_row(), frames)


@pytest.mark.parametrize("table", ["neighbours", "exemplars"])
def test_a_position_is_taken_once(tmp_path: Path, table: str) -> None:
    frames = tables(PATHS, suspects=2)
    frames[table]["position"] = 1
    with pytest.raises(StoreError, match=rf"{table} .* rows for .*position 1"):
        Store(tmp_path).audits.merge(audit_row(), frames)
