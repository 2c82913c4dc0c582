"""pandas goes by its labels, not by position; and what cannot be ranked is refused by row and column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from gradattn_core.errors import GradattnError, RankingError
from gradattn_core.ranking.arrays import softmax
from gradattn_core.ranking.noise import class_pairs, noise_estimate
from gradattn_core.ranking.suspicion import knows_by_heart, rank_labels
from gradattn_core.records import FloatArray

ROWS = 240


def digits(seed: int = 0) -> tuple[FloatArray, np.ndarray]:
    """Features and given labels of some handwritten digits, one in ten of them wrong."""
    features, true = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    wrong = rng.random(ROWS) < 0.1
    return features[:ROWS].astype(np.float32), np.where(wrong, (true[:ROWS] + 1) % 10, true[:ROWS])


def guesses(given: np.ndarray, classes: int, seed: int = 0) -> FloatArray:
    """Probabilities of a fair model, which knows most of the labels."""
    logits = np.random.default_rng(seed).normal(size=(len(given), classes)).astype(np.float32)
    logits[np.arange(len(given)), given] += 2
    return softmax(logits)


IDS = pd.Index([f"img-{number:03d}.png" for number in range(ROWS)], name="image")
MIXED = np.random.default_rng(3).permutation(ROWS)


@pytest.mark.parametrize("kind", ["text", "dates", "pairs", "numbers", "floats"])
def test_rows_are_matched_by_their_index_and_it_comes_back(kind: str) -> None:
    features, given = digits()
    kinds: dict[str, pd.Index] = {
        "text": IDS,
        "dates": pd.date_range("2026-01-01", periods=ROWS, name="taken"),
        "pairs": pd.MultiIndex.from_product([["a", "b"], range(ROWS // 2)]),
        "numbers": pd.Index(range(1000, 1000 + ROWS)),
        "floats": pd.Index(np.arange(ROWS) / 2),
    }
    index = kinds[kind]
    plain = rank_labels(given, features, logits=np.log(guesses(given, 10)))
    series, frame = pd.Series(given, index=index), pd.DataFrame(features, index=index)
    logits = pd.DataFrame(np.log(guesses(given, 10)), index=index)
    ranked = rank_labels(series, frame.iloc[MIXED], logits=logits.iloc[MIXED[::-1]])
    assert ranked.index.equals(index) and ranked.index.names == index.names
    pd.testing.assert_frame_equal(ranked.reset_index(drop=True), plain, check_exact=True)


def test_folds_are_matched_too() -> None:
    features, given = digits()
    folds = np.arange(ROWS) % 4
    plain = rank_labels(given, features, folds=folds)
    ranked = rank_labels(pd.Series(given, IDS), features, folds=pd.Series(folds, IDS).iloc[MIXED])
    pd.testing.assert_frame_equal(ranked.reset_index(drop=True), plain, check_exact=True)


def test_the_index_of_a_frame_comes_back_where_the_labels_are_a_list() -> None:
    features, given = digits()
    assert rank_labels(given.tolist(), pd.DataFrame(features, IDS)).index.equals(IDS)
    assert rank_labels(given.tolist(), features).index.equals(pd.RangeIndex(ROWS))


def test_an_index_that_says_nothing_new_may_hold_a_name_twice() -> None:
    features, given = digits()
    twice = pd.Index(["same"] * ROWS)
    assert rank_labels(pd.Series(given, twice), pd.DataFrame(features, twice)).index.equals(twice)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (IDS[MIXED].where(np.arange(ROWS) != 5, IDS[MIXED[6]]), "twice"),
        (IDS[:-1].append(pd.Index(["other.png"])), "features lacks 1 of the rows of given .first: 'img-239.png'"),
        (pd.RangeIndex(ROWS), "features lacks 240 of the rows of given"),
        (pd.Index(range(ROWS)).astype(str), "select the same rows"),
    ],
)
def test_rows_that_cannot_be_matched_are_refused(rows: pd.Index, words: str) -> None:
    features, given = digits()
    with pytest.raises(RankingError, match=words):
        rank_labels(pd.Series(given, IDS), pd.DataFrame(features, rows))


def test_labels_of_a_part_of_the_rows_are_refused_with_a_way_out() -> None:
    features, given = digits()
    part = pd.Series(given, IDS).iloc[:200]
    frame = pd.DataFrame(features, IDS)
    with pytest.raises(RankingError, match=r"given lacks 40 of the rows of features .first: 'img-200.png'"):
        rank_labels(part, frame)
    assert len(rank_labels(part, frame.loc[part.index])) == 200


def test_two_tables_in_two_orders_are_refused_where_the_labels_have_none() -> None:
    features, given = digits()
    frame, logits = pd.DataFrame(features, IDS), pd.DataFrame(guesses(given, 10), IDS[MIXED])
    with pytest.raises(RankingError, match="features and probabilities have different indexes"):
        rank_labels(given.tolist(), frame, probabilities=logits)


NAMES = np.array(["ape", "bee", "cat", "dog"])


def of_four() -> tuple[np.ndarray, FloatArray]:
    given = np.random.default_rng(1).integers(0, 4, 160)
    return given, guesses(given, 4, seed=2)


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 3, 0, 2]])
@pytest.mark.parametrize("names", [NAMES, np.arange(4), np.array([7, 3, 20, 1]), np.array([0.5, 1.5, 2.5, 3.5])])
def test_columns_are_matched_by_class_in_any_order(names: np.ndarray, order: list[int]) -> None:
    given, p = of_four()
    labels = names[given].tolist()
    plain = rank_labels(labels, probabilities=p, classes=names.tolist())
    frame = pd.DataFrame(p, columns=names)[names[order].tolist()]
    for classes in (None, names.tolist(), names[order].tolist()):
        by_name = rank_labels(labels, probabilities=frame, classes=classes)
        np.testing.assert_allclose(by_name["suspicion"], plain["suspicion"], atol=1e-4)
        assert by_name["suggested_label"].tolist() == plain["suggested_label"].tolist()
    as_text = frame.rename(columns=str)
    np.testing.assert_allclose(rank_labels(labels, logits=np.log(as_text))["suspicion"], plain["suspicion"], atol=2e-3)


def test_columns_that_are_only_numbered_go_by_position() -> None:
    given, p = of_four()
    plain = rank_labels(NAMES[given], probabilities=p)
    pd.testing.assert_frame_equal(rank_labels(NAMES[given], probabilities=pd.DataFrame(p)), plain)
    with pytest.raises(RankingError, match="names or places"):
        rank_labels(given, probabilities=pd.DataFrame(p), classes=[3, 2, 1, 0])


def test_a_class_that_no_label_names_is_known_by_its_column() -> None:
    given, p = of_four()
    few = np.where(given == 1, 2, given)
    plain = rank_labels(NAMES[few], probabilities=p, classes=NAMES)
    named = rank_labels(NAMES[few], probabilities=pd.DataFrame(p, columns=NAMES)[["dog", "bee", "ape", "cat"]])
    np.testing.assert_allclose(named["suspicion"], plain["suspicion"], atol=1e-4)
    assert (named["suggested_label"] == "bee").any()
    with pytest.raises(RankingError, match="pass all of them as classes"):
        rank_labels(NAMES[few], probabilities=p)


@pytest.mark.parametrize(
    ("columns", "classes", "words"),
    [
        (["ape", "bee", "cat", "p_dog"], None, "no column for the class 'dog' .it has 'p_dog', which is no class"),
        (["p0", "p1", "p2", "p3"], NAMES, "no column for the class 'ape'"),
        (["ape", "bee", "cat", "cat"], None, "the column 'cat' twice"),
        (["ape", "bee", "cat", "dog", "fold"], NAMES, "the column 'fold', which classes lacks"),
    ],
)
def test_columns_that_are_no_classes_are_refused(columns: list[str], classes: Any, words: str) -> None:
    given, p = of_four()
    table = np.column_stack([p, np.zeros(len(p))])[:, : len(columns)]
    with pytest.raises(RankingError, match=words):
        rank_labels(NAMES[given], probabilities=pd.DataFrame(table, columns=columns), classes=classes)


@pytest.mark.parametrize(
    "as_given",
    [
        pd.Categorical,
        lambda names: pd.Categorical(names, categories=["dog", "cat", "bee", "ape", "emu"], ordered=True),
        pd.Index,
        lambda names: pd.array(names, dtype="string"),
        lambda names: pd.Series(names, dtype="category", index=IDS[: len(names)]),
        tuple,
        lambda names: np.array(names, dtype=object),
    ],
    ids=["categorical", "ordered", "index", "array", "series", "tuple", "objects"],
)
def test_labels_may_be_any_vector(as_given: Any) -> None:
    given, p = of_four()
    names = NAMES[given].tolist()
    ranked = rank_labels(as_given(names), probabilities=p, classes=pd.Index(NAMES))
    expected = rank_labels(names, probabilities=p)
    pd.testing.assert_frame_equal(ranked.reset_index(drop=True), expected)


def test_nullable_numbers_are_numbers_unless_one_is_missing() -> None:
    features, given = digits()
    frame = pd.DataFrame(features).astype("Int64")
    pd.testing.assert_frame_equal(rank_labels(given, frame), rank_labels(given, features))
    frame.iloc[4, 2] = pd.NA
    with pytest.raises(RankingError, match="row 4, column 2"):
        rank_labels(given, frame)
    with pytest.raises(RankingError, match="its column 'path' holds something else"):
        rank_labels(given, pd.DataFrame(features).assign(path="x.png"))


def test_pairs_estimate_and_memory_go_by_the_index_too() -> None:
    features, given = digits()
    series = pd.Series(given, IDS)
    ranked = rank_labels(series, features)
    worst_first = ranked.sort_values("rank")
    pd.testing.assert_frame_equal(class_pairs(series, worst_first, threshold=0.3), class_pairs(given, ranked, 0.3))
    suspects = worst_first["suspicion"] >= 0.3
    pd.testing.assert_frame_equal(
        class_pairs(series, ranked, suspects=suspects), class_pairs(series, ranked, threshold=0.3)
    )
    by_index = noise_estimate(series, worst_first).classes
    pd.testing.assert_frame_equal(by_index, noise_estimate(given, ranked).classes)
    with pytest.raises(RankingError, match="ranked lacks"):
        class_pairs(series, ranked.rename(index={IDS[0]: "other"}))
    many, frame = pd.Series(np.tile(given, 5)), pd.DataFrame(np.tile(features, (5, 1)))
    mixed = np.random.default_rng(0).permutation(len(many))
    assert knows_by_heart(many, many.iloc[mixed], frame) == knows_by_heart(many, many.to_numpy(), frame.to_numpy())
    with pytest.raises(RankingError, match="predicted holds"):
        knows_by_heart(many, given, frame)


def broken(p: FloatArray, change: dict[tuple[int, int], float]) -> FloatArray:
    table = p.copy()
    for place, value in change.items():
        table[place] = value
    return table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({(3, 1): np.nan}, r"probabilities holds NaN.* 1 rows \(first: row 3, column 1, the class 'bee'"),
        ({(3, 1): np.inf}, "row 3, column 1, the class 'bee'"),
        ({(8, 2): -0.2}, r"probabilities holds -0.2 in row 8, column 2, the class 'cat'"),
        ({(8, 2): 1.9}, r"row 8 sums to .*the class 'cat'"),
        ({(9, 0): 0, (9, 1): 0, (9, 2): 0, (9, 3): 0}, "row 9 sums to 0 "),
    ],
)
def test_numbers_that_are_no_probabilities_are_named_by_row_and_class(
    change: dict[tuple[int, int], float], words: str
) -> None:
    given, p = of_four()
    with pytest.raises(RankingError, match=words):
        rank_labels(NAMES[given], probabilities=broken(p, change))


@pytest.mark.parametrize("table", [lambda p: 100 * p, lambda p: 0.8 * p, lambda p: np.sqrt(p), lambda p: p > 0.1])
def test_tables_that_do_not_sum_to_one_are_refused(table: Any) -> None:
    given, p = of_four()
    with pytest.raises(RankingError, match=r"must sum to 1 in each row, but row \d+ sums to"):
        rank_labels(given, probabilities=table(p).astype(float))


@pytest.mark.parametrize(
    "table",
    [
        lambda p: p.astype(np.float16),
        lambda p: np.round(p, 2),
        lambda p: np.round(p, 1),
        lambda p: np.where(p < 0.02, 0, p),
        lambda p: np.floor(p * 255 + 0.5) / 255,
    ],
    ids=["half precision", "two digits", "one digit", "small ones cut off", "a byte each"],
)
def test_what_rounding_takes_from_the_sum_is_given_back(table: Any) -> None:
    given, p = of_four()
    rounded = rank_labels(given, probabilities=table(p))["suspicion"]
    assert np.corrcoef(rounded, rank_labels(given, probabilities=p)["suspicion"])[0, 1] > 0.85


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"given": ["a", "b", float("nan")]}, "missing .first: row 2"),
        ({"given": ["a", "b", pd.NA]}, "missing .first: row 2"),
        ({"given": pd.Series([1, None, 2], dtype="Int64")}, "missing .first: row 1"),
        ({"given": ["a", "b", ["c"]]}, r"row 2 is \['c'\]"),
        ({"given": ["a", "b", {}], "classes": ["a", "b"]}, "row 2 is {}"),
        ({"given": pd.DataFrame({"label": ["a", "b", "a"]})}, "pass one of its columns"),
        ({"given": "aba"}, "list of labels"),
        ({"given": 7}, "list of labels"),
        ({"given": ["a", "b", "\x1b[2Jc"], "classes": ["a", "b"]}, r"classes lacks: '\\x1b\[2Jc' in row 2"),
        ({"given": ["a", "b", "a"], "classes": ["a", "b", "b"]}, "the class 'b' twice"),
        ({"given": ["a", "b", "a"], "classes": ["a", None]}, "missing value"),
        ({"given": ["a", "b", "a"], "seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"given": ["a", "b", "a"], "seed": 0.5}, "seed must be"),
        ({"given": ["a", "a", "a"], "classes": ["a", "b"]}, "single class"),
    ],
)
def test_labels_that_are_none_are_refused_by_row(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(RankingError, match=words):
        rank_labels(features=np.eye(3), **arguments)


def test_whatever_is_passed_no_other_error_comes() -> None:
    """Arguments of every kind, drawn at random, are ranked or refused by a sentence."""
    rng = np.random.default_rng(4)
    refused = ranked = 0
    for _ in range(300):
        rows, classes = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        codes = rng.integers(0, classes, rows)
        given = [codes, NAMES[codes % 4].tolist(), pd.Series(codes, IDS[:rows]), pd.Series(NAMES[codes % 4])]
        tables: list[Any] = [
            rng.dirichlet(np.full(classes, 0.3), rows),
            np.full((rows, classes), 1 / classes),
            np.round(rng.dirichlet(np.full(classes, 0.3), rows), 1),
            np.eye(classes)[codes],
            rng.normal(size=(rows, int(rng.integers(1, 4)))),
            pd.DataFrame(rng.dirichlet(np.ones(classes), rows), IDS[:rows], NAMES[:classes]),
        ]
        arguments = {
            name: tables[int(rng.integers(len(tables)))] for name in ("logits", "probabilities") if rng.random() < 0.5
        }
        try:
            frame = rank_labels(given[int(rng.integers(4))], seed=int(rng.integers(-1, 9)), **arguments)
        except GradattnError as error:
            assert isinstance(error, RankingError) and "\n" not in str(error)
            refused += 1
        else:
            assert len(frame) == rows and frame["suspicion"].between(0, 1).all()
            ranked += 1
    assert refused > 20 and ranked > 20
