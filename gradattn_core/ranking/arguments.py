"""What people pass to the ranking: tables of pandas by their labels, anything else by position.

A Series or a frame names its rows. Whatever names them as the given labels do is brought into their order, and what
cannot be is refused: a table in another order would be judged against the labels of other images, without a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradattn_core.errors import RankingError
from gradattn_core.ranking.inputs import check_given, check_matrix, check_probabilities, shown, values_of
from gradattn_core.records import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Arguments:
    """What ``rank_labels`` was given, checked, everything in the order of the labels.

    Attributes:
        index: the names of the rows, where they have any.
        codes: [N] the given class numbers.
        names: [K] the classes.
        features: [N, D], if any.
        predictions: [N, K] logits or probabilities, if any.
        folds, copies: as they were given, but in order.
    """

    index: pd.Index | None
    codes: IntArray
    names: list[Any]
    features: FloatArray | None
    predictions: FloatArray | None
    folds: Any
    copies: Any = None


def read_arguments(
    given: Any,
    features: Any,
    logits: Any,
    probabilities: Any,
    classes: Any = None,
    folds: Any = None,
    copies: Any = None,
) -> Arguments:
    """The arguments of ``rank_labels`` as arrays.

    Raises:
        RankingError: an unusable argument, named in the message.
    """
    if logits is not None and probabilities is not None:
        raise RankingError("logits and probabilities were both given; pass only one of them")
    if features is None and logits is None and probabilities is None:
        raise RankingError("rank_labels needs features, logits or probabilities")
    index = row_names(given, features=features, logits=logits, probabilities=probabilities, folds=folds, copies=copies)
    name, table = ("logits", logits) if probabilities is None else ("probabilities", probabilities)
    labels = values_of(given, "given")
    passed = None if classes is None else values_of(classes, "classes")
    columns = class_columns(table, name, labels, passed)
    codes, names = check_given(labels, _sorted(columns) if passed is None and columns else passed)
    if features is not None and (codes == codes[0]).all():
        raise RankingError("given holds a single class; of features a label can only be doubted where another has some")
    rows = len(codes)
    matrix = None if features is None else numbers_of(in_order(features, "features", index), "features", rows)
    predictions = None
    if table is not None:
        predictions = numbers_of(in_order(table, name, index), name, rows, columns, names)
        if probabilities is not None:
            check_probabilities(predictions, names)
    folds, copies = in_order(folds, "folds", index), in_order(copies, "copies", index)
    return Arguments(index, codes, names, matrix, predictions, folds, copies)


def _sorted(columns: list[Any]) -> list[Any]:
    try:
        return sorted(columns)
    except TypeError:
        return columns


def row_names(given: Any, **tables: Any) -> pd.Index | None:
    """The index that the result bears: that of ``given``, else that of the ``tables``; None where nobody has one.

    Raises:
        RankingError: ``given`` has none and two tables have different ones.
    """
    if isinstance(given, pd.Series):
        return given.index
    named = {name: table.index for name, table in tables.items() if isinstance(table, pd.Series | pd.DataFrame)}
    for name, index in named.items():
        first = next(iter(named))
        if not index.equals(named[first]):
            raise RankingError(
                f"{first} and {name} have different indexes and given has none, so nobody knows whose rows its labels "
                "belong to: pass given as a Series with its index"
            )
    return next(iter(named.values()), None)


def in_order(table: Any, name: str, index: pd.Index | None) -> Any:
    """``table`` with its rows in the order of ``index``; an array, whose rows have no names, as it is.

    Raises:
        RankingError: they are not the same rows, or a name stands twice.
    """
    if index is None or not isinstance(table, pd.Series | pd.DataFrame) or table.index.equals(index):
        return table
    ours, theirs = (each if isinstance(each, pd.MultiIndex) else each.astype(object) for each in (index, table.index))
    advice = f"pass {name}.to_numpy() if its rows are in the order of the labels"
    for owner, names in (("given", ours), (name, theirs)):
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            raise RankingError(
                f"the indexes of given and {name} differ and {owner} has the row {shown(twice)} twice, so it cannot be "
                f"told which rows belong together; {advice}"
            )
    for owner, lacking, other in (
        (name, ours.difference(theirs, sort=False), "given"),
        ("given", theirs.difference(ours, sort=False), name),
    ):
        if len(lacking):
            raise RankingError(
                f"{owner} lacks {len(lacking)} of the rows of {other} (first: {shown(lacking[0])}); select the same "
                f"rows of both, or {advice}"
            )
    return table.iloc[theirs.get_indexer(ours)]


def class_columns(table: Any, name: str, given: Sequence[Any], classes: list[Any] | None) -> list[Any] | None:
    """The class of each column of a frame that names its columns; None where they go by position.

    Args:
        given: the labels.
        classes: those that were passed, in the order that columns without names have.

    Raises:
        RankingError: the columns have names of their own, which are not those of the classes.
    """
    if not isinstance(table, pd.DataFrame):
        return None
    columns = cast(Any, table.columns)
    numbered = isinstance(columns, pd.RangeIndex) and columns.start == 0 and columns.step == 1
    known = list(dict.fromkeys(given if classes is None else classes))
    if numbered:
        if classes is not None and len(columns) == len(known) and list(columns) != known and set(columns) == set(known):
            raise RankingError(
                f"{name} has the columns 0, 1, … and classes has these numbers in another order, so they may be "
                f"names or places: pass {name}.to_numpy() if they are places, else name the columns"
            )
        return None
    if not columns.is_unique:
        raise RankingError(f"{name} has the column {shown(columns[columns.duplicated()][0])} twice")
    found = list(columns)
    if not set(known) <= set(found):
        by_text = {str(label): label for label in known}
        if len(by_text) == len(known) and by_text.keys() == {str(column) for column in found}:
            return [by_text[str(column)] for column in found]
    lacking = [label for label in known if label not in set(found)]
    strange = [column for column in found if column not in set(known)]
    by_place = f"or pass {name}.to_numpy() with its columns in the order of the classes"
    if lacking:
        rather = f" (it has {shown(strange[0])}, which is no class)" if strange else ""
        raise RankingError(
            f"{name} has no column for the class {shown(lacking[0])}{rather}; name each column by its class, {by_place}"
        )
    if strange and classes is not None:
        raise RankingError(
            f"{name} has the column {shown(strange[0])}, which classes lacks; drop that column, {by_place}"
        )
    return found


def numbers_of(
    table: Any, name: str, rows: int, columns: list[Any] | None = None, classes: list[Any] | None = None
) -> FloatArray:
    """``table`` as a finite float32 matrix of ``rows`` rows, one column for each of ``classes`` if there are any.

    Args:
        columns: the class of each column of ``table``, if they have names; they are brought into order.

    Raises:
        RankingError: as ``check_matrix``; a column that holds no numbers is named.
    """
    if isinstance(table, pd.DataFrame):
        if columns is not None and classes is not None:
            place = {label: position for position, label in enumerate(columns)}
            table = table.iloc[:, [place[label] for label in classes]]
        try:
            values: ArrayLike = np.ascontiguousarray(table.to_numpy(dtype=np.float32, na_value=np.nan))
        except (TypeError, ValueError) as error:
            texts = [column for column, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
            which = f"its column {shown(texts[0])} holds something else" if texts else str(error)
            raise RankingError(f"{name} must hold numbers only, but {which}") from error
    else:
        values = table
    return check_matrix(values, name, rows, None if classes is None else len(classes), classes)
