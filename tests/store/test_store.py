"""What the store answers: pages of suspects, evidence, predictions, summaries."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.export import COLUMNS
from gradattn_core.records import Box, Region
from gradattn_core.store.store import Store
from gradattn_core.sums import Sums
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import PATHS, audit_row, sample_store, tables


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sample_store(tmp_path)


def test_candidates_are_the_suspects_in_order_of_rank_with_plain_columns(store: Store) -> None:
    frame = store.candidates.page("first")
    assert list(frame["rank"]) == [1, 2, 3, 4, 5, 6]
    assert list(frame["path"]) == PATHS[:6]
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    more = {"width": "int64", "is_suspect": "bool", "outside_probability": "float64", "cluster": "int64"}
    for name, kind in {**COLUMNS, **more, "conflict": "bool", "hidden_probability": "float64"}.items():
        assert kind == "str" or frame[name].dtype == kind, name
    assert (frame[["decision", "reviewer", "note", "new_label"]] == "").all(axis=None)
    assert list(frame["outside_label"]) == ["tape player", "", "tape player", "", "tape player", ""]


def test_margin_and_sums_come_from_the_explained_head_where_there_is_one(store: Store) -> None:
    frame = store.candidates.page("first")
    assert list(frame["margin"]) == [-2.5, -2.5, -2.5, -2.5, -5.0, -6.0]
    numbers = ["model_log_odds", "log_odds_without_picture", "red_log_odds", "blue_log_odds"]
    numbers += ["top_region_log_odds", "top_region_measured"]
    assert frame[numbers][:4].drop_duplicates().to_numpy().tolist() == [[-2.5, -5.5, 9.0, -6.0, -3.0, -1.5]]
    assert frame[numbers][4:].isna().all(axis=None)


def test_the_box_is_that_of_the_strongest_region_against_the_label_in_whole_pixels(store: Store) -> None:
    assert list(store.candidates.page("first")["top_region_box"]) == ["10,21,100,120"] * 4 + [""] * 2


def test_a_threshold_or_everything_looks_beyond_the_suspects(store: Store) -> None:
    assert list(store.candidates.page("first", min_suspicion=0.2)["rank"]) == list(range(1, 9))
    assert list(store.candidates.page("first", min_suspicion=0.9)["rank"]) == [1]
    assert list(store.candidates.page("first", everything=True)["rank"]) == list(range(1, 11))


def test_every_combination_of_filters_selects_what_a_naive_selection_does(store: Store) -> None:
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    store.decisions.append("first", PATHS[1], "relabel", new_label="kite", reviewer="ann")
    store.decisions.append("first", PATHS[8], "remove", reviewer="ann")
    everything = store.candidates.page("first", everything=True)
    choices = product([None, "kite"], [None, "bald eagle"], [None, 0.05], ["any", "no", "remove"], [None, "te/0"])
    for given, suggested, threshold, decided, part in choices:
        wanted = everything[
            (everything["given_label"].eq(given) if given else True)
            & (everything["suggested_label"].eq(suggested) if suggested else True)
            & (everything["suspicion"].ge(threshold) if threshold else everything["is_suspect"])
            & everything["path"].map(lambda path, part=part: part is None or part in path)
            & everything["decision"].map(
                lambda said, decided=decided: decided in ("any", said, "yes" if said else "no")
            )
        ]
        filters: dict[str, Any] = {
            "given": given, "suggested": suggested, "min_suspicion": threshold,
            "decided": decided, "path_contains": part,
        }  # fmt: skip
        page = store.candidates.page("first", **filters)
        pd.testing.assert_frame_equal(page, wanted.reset_index(drop=True), check_dtype=not wanted.empty)
        assert store.candidates.count("first", **filters) == len(wanted), filters


def test_newer_filters_select_what_a_naive_selection_does(store: Store) -> None:
    store.decisions.append_many("first", [PATHS[1], PATHS[3], PATHS[8]], "keep", reviewer="ann")
    store.decisions.append("first", PATHS[3], "remove", reviewer="bob")
    everything = store.candidates.page("first", everything=True)
    named: list[list[str] | None] = [None, PATHS[1:9:2], []]
    choices = list(product([None, "confusable"], [None, 0.5], [None, "ann", "bob"], named, ["any", "no"]))
    for kind, most, reviewer, paths, decided in choices[::5]:
        wanted = everything[
            (everything["kind"].eq(kind) if kind else True)
            & (everything["suspicion"].le(most) if most else True)
            & (everything["reviewer"].eq(reviewer) if reviewer else True)
            & (everything["path"].isin(paths) if paths is not None else everything["is_suspect"])
            & (everything["decision"].eq("") if decided == "no" else True)
        ].reset_index(drop=True)
        filters: dict[str, Any] = {
            "kind": kind, "max_suspicion": most, "reviewer": reviewer, "paths": paths, "decided": decided,
        }  # fmt: skip
        pd.testing.assert_frame_equal(
            store.candidates.page("first", **filters), wanted, check_dtype=not wanted.empty, obj=str(filters)
        )
        assert store.candidates.count("first", **filters) == len(wanted)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("given", [None, "kite"])
def test_every_order_is_that_of_a_naive_sort_on_all_pages(store: Store, everything: bool, given: str | None) -> None:
    for path in (PATHS[8], PATHS[2], PATHS[0]):
        store.decisions.append("first", path, "keep", reviewer="ann")
    rows = store.candidates.page("first", everything=everything, given=given).to_dict("records")
    times = {row["path"]: -position for position, row in enumerate(store.decisions.page().to_dict("records"))}
    keys: dict[str, Any] = {
        "rank": lambda row: row["rank"],
        "pair": lambda row: (row["given_label"], row["suggested_label"], row["rank"]),
        "similar": lambda row: (row["cluster"] < 0, row["cluster"], row["rank"]),
        "path": lambda row: row["path"],
        "decided": lambda row: (-times.get(row["path"], -1000), row["rank"]),
    }
    assert {row["cluster"] for row in rows} >= ({0, -1} if everything else {0})
    for order, key in keys.items():
        wanted = [row["path"] for row in sorted(rows, key=key)]
        chosen: dict[str, Any] = {"everything": everything, "given": given, "order": order}
        pages = [store.candidates.page("first", **chosen, top=4, offset=offset) for offset in (0, 4, 8)]
        assert list(store.candidates.page("first", **chosen)["path"]) == wanted, order
        assert [path for page in pages for path in page["path"]] == wanted, order


def test_pages_tile_the_list(store: Store) -> None:
    pages = [store.candidates.page("first", top=4, offset=offset) for offset in (0, 4, 8)]
    assert [len(page) for page in pages] == [4, 2, 0]
    pd.testing.assert_frame_equal(pd.concat(pages[:2], ignore_index=True), store.candidates.page("first"))
    assert store.candidates.page("first", top=0).empty


@pytest.mark.parametrize("part", ["%", "_", "\\", "'", "*", "[a]"])
def test_a_part_of_the_path_is_taken_literally(tmp_path: Path, part: str) -> None:
    store = Store(tmp_path)
    store.audits.merge(audit_row(), tables([f"kite/a{part}b.jpg", "kite/aXXb.jpg"], suspects=2))
    assert list(store.candidates.page("first", path_contains=part)["path"]) == [f"kite/a{part}b.jpg"]


@pytest.mark.parametrize("arguments", [{"decided": "maybe"}, {"order": "size"}, {"top": -1}, {"offset": -1}])
def test_an_unusable_filter_is_refused_with_what_would_work(store: Store, arguments: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=str(next(iter(arguments.values())))):
        store.candidates.page("first", **arguments)


def test_a_filter_that_does_not_exist_is_never_passed_over(store: Store) -> None:
    misspelt: Any = {"givn": "kite"}
    for question in (
        lambda: store.candidates.page("first", **misspelt),
        lambda: store.candidates.count("first", **misspelt),
        lambda: store.decisions.page(**misspelt),
        lambda: store.decisions.count(**misspelt),
    ):
        with pytest.raises(TypeError, match=r"no filter 'givn'; choose .*, reviewer"):
            question()


def test_evidence_is_the_stored_map_with_its_regions_positive_first(store: Store) -> None:
    evidence = store.images.evidence("first", PATHS[3])
    assert evidence is not None
    np.testing.assert_array_equal(evidence.scores, np.array([[1, -2, 3], [-4, 5, 3]], dtype=np.float32))
    assert evidence.scores.dtype == np.float32
    assert (evidence.for_label, evidence.against_label) == ("kite", "bald eagle")
    assert (evidence.for_logit, evidence.against_logit) == (1.5, 4.0)
    assert evidence.crop == Box(80, 0, 560, 480)
    assert (evidence.objective, evidence.correction) == ("difference", "complete")
    statistics = evidence.statistics
    assert (evidence.sums, evidence.numbers) == (Sums(-2.5, -5.5, -1.0, 9.0, -6.0, "sample"), "map")
    assert (statistics.concentration, statistics.overlap) == (0.5, 0.75)
    assert [(region.sign, region.rank) for region in statistics.regions] == [(1, 1), (1, 2), (-1, 1), (-1, 2)]
    assert statistics.regions[2] == Region(-1, 1, 0.5, 0.25, -0.75, Box(10.4, 20.6, 100, 120), -3.0, -1.5)


def test_an_image_that_was_not_interpreted_has_no_evidence(store: Store) -> None:
    assert store.images.evidence("first", PATHS[4]) is None
    assert store.images.evidence("first", "kite/unknown.jpg") is None


def test_a_prediction_carries_everything_known_about_one_image(store: Store) -> None:
    prediction = store.images.prediction("first", PATHS[1])
    assert prediction is not None
    assert prediction.top_labels == ["bald eagle", "albatross"]
    assert prediction.fold == 1
    assert prediction.outside_label is None
    assert (prediction.given_probability, prediction.head_given_probability) == (0.125, 0.25)
    assert prediction.components == {"margin": 0.5, "neighbours": 1.0}
    assert (prediction.width, prediction.rank, prediction.is_suspect) == (640, 2, True)
    assert store.images.prediction("first", "kite/unknown.jpg") is None


def test_audits_come_newest_first_with_times_in_utc(store: Store) -> None:
    later = audit_row()["finished_at"].replace(hour=23)
    store.audits.merge(audit_row("second", finished_at=later), tables(PATHS, suspects=1))
    audits = store.audits.all()
    assert list(audits["audit_id"]) == ["second", "first"] == [store.audits.latest_id(), "first"]
    assert audits["finished_at"][1] == "2026-11-22T10:05:00.000000+00:00"
    assert audits["parameters"][1] == '{"folds": 5, "name": "é"}'
    assert audits["warnings"][1] == ["one class is small"]
    assert audits["checkpoint"][1] == ""
    assert (audits["images"][1], audits["estimated_errors"][1]) == (10, 4.5)


def test_classes_are_sorted_pairs_are_by_expected_errors_and_failures_are_told(store: Store) -> None:
    assert store.audits.classes("first") == ["albatross", "bald eagle", "kite"]
    assert list(store.audits.class_pairs("first")["suspects"]) == [4, 2]
    assert store.audits.failures("first").to_dict("records") == [
        {"path": "kite/broken.jpg", "given_label": "kite", "stage": "decode", "reason": "truncated"}
    ]


def test_the_progress_counts_the_review(store: Store) -> None:
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    store.decisions.append("first", PATHS[1], "remove", reviewer="ann")
    store.decisions.append("first", PATHS[9], "remove", reviewer="ann")
    progress = store.review.progress("first")
    assert (progress.suspects_decided, progress.suspects - progress.suspects_decided) == (2, 4)
    assert (progress.right, progress.wrong, progress.removed, progress.unsure) == (1, 2, 2, 0)


def test_one_audit_is_its_row_of_the_list_with_its_parameters_read(store: Store) -> None:
    audit = store.audits.one("first")
    assert (audit.images, audit.suspects, audit.estimated_errors) == (10, 6, 4.5)
    assert type(audit.images) is int
    assert audit.parameters == {"folds": 5, "name": "é"} and audit.versions == {"torch": "2.15.0"}
    assert audit.warnings == ("one class is small",)
    row = store.audits.all().iloc[0].drop(["parameters", "versions", "warnings"])
    assert {name: getattr(audit, name) for name in row.index} == row.to_dict()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.candidates.page("none"),
        lambda store: store.audits.one("none"),
        lambda store: store.audits.classes("none"),
        lambda store: store.decisions.append("none", PATHS[0], "keep", reviewer="ann"),
    ],
)
def test_an_unknown_audit_is_named_with_those_that_exist(store: Store, call: Callable[[Store], object]) -> None:
    with pytest.raises(StoreError, match=r"no audit 'none'.*first"):
        call(store)


def test_an_image_resolves_against_the_root_of_its_audit_only(tmp_path: Path) -> None:
    listed = ["kite/a.jpg", "/elsewhere/b.jpg", "../c.jpg", "kite/../../d.jpg", "kite/../e.jpg", "..f.jpg"]
    store = Store(tmp_path)
    store.audits.merge(audit_row(root="/data/birds"), tables(listed, suspects=1))
    assert store.images.files("first", [listed[5], *listed[:2]]) == [
        Path("/data/birds/..f.jpg"),
        Path("/data/birds/kite/a.jpg"),
        Path("/elsewhere/b.jpg"),
    ]
    assert store.images.file("first", "kite/../e.jpg") == Path("/data/birds/e.jpg")
    for escaping in ("../c.jpg", "kite/../../d.jpg"):
        with pytest.raises(StoreError, match="leaves the dataset's root"):
            store.images.file("first", escaping)
    for unlisted in ("/etc/passwd", "kite/b.jpg", "kite//a.jpg", ""):
        with pytest.raises(StoreError, match="has no image"):
            store.images.file("first", unlisted)


def test_hostile_text_goes_through_every_text_column_and_back(tmp_path: Path) -> None:
    paths = [f"{text}/{row}" for row, text in enumerate(HOSTILE)]
    frames = tables(paths, suspects=len(paths), given=HOSTILE)
    for table, column in (
        ("images", "content_hash"), ("predictions", "predicted_label"), ("predictions", "outside_label"),
        ("scores", "suggested_label"), ("scores", "runner_up_label"), ("interpretations", "for_label"),
        ("interpretations", "against_label"), ("interpretations", "objective"),
    ):  # fmt: skip
        frames[table][column] = HOSTILE
    frames["predictions"]["top_labels"] = pd.Series([[text, text] for text in HOSTILE])
    frames["class_pairs"] = pd.concat([frames["class_pairs"].iloc[[0]]] * len(HOSTILE), ignore_index=True)
    frames["class_pairs"][["given_label", "suggested_label"]] = np.array([HOSTILE, HOSTILE], dtype=object).T
    frames["failures"] = pd.DataFrame({"path": paths, "stage": HOSTILE, "reason": HOSTILE, "given_label": HOSTILE})
    store = Store(tmp_path)
    store.audits.merge(
        audit_row(classes=HOSTILE, warnings=HOSTILE, parameters={text: text for text in HOSTILE if "\0" not in text}),
        frames,
    )

    page = store.candidates.page("first")
    assert list(page["path"]) == paths
    for column in ("given_label", "suggested_label", "runner_up_label", "outside_label", "content_hash"):
        assert list(page[column]) == HOSTILE, column
    assert store.audits.classes("first") == sorted(HOSTILE)
    assert store.audits.all()["warnings"][0] == HOSTILE
    assert (
        set(store.audits.failures("first")["reason"])
        == set(store.audits.class_pairs("first")["given_label"])
        == set(HOSTILE)
    )
    assert [
        list(store.candidates.page("first", given=text, path_contains=text)["path"]) for text in HOSTILE[10:16]
    ] == [[path] for path in paths[10:16]]
    for path, text in zip(paths, HOSTILE, strict=True):
        evidence, prediction = store.images.evidence("first", path), store.images.prediction("first", path)
        assert evidence is not None and (evidence.for_label, evidence.objective) == (text, text)
        assert prediction is not None and prediction.top_labels == [text, text]
    for path, text in zip(paths[:6], HOSTILE, strict=False):
        store.decisions.append("first", path, "relabel", new_label=text, reviewer=text, note=text)
    page = store.candidates.page("first", decided="yes")
    assert list(page["note"]) == list(page["reviewer"]) == list(page["new_label"]) == HOSTILE[:6]


def test_the_strongest_region_of_either_sign_of_many_images(store: Store) -> None:
    strongest = store.showing.strongest("first", PATHS)
    assert set(strongest) == set(PATHS[:4])
    for path in PATHS[:4]:
        evidence = store.images.evidence("first", path)
        assert evidence is not None
        regions = [region for region in evidence.statistics.regions if region.rank == 1]
        assert strongest[path] == [(region.sign, region.box) for region in regions]
