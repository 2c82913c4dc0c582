"""Small things that every query needs: rows as dicts, times as text."""

from __future__ import annotations

from typing import Any

import duckdb

from gradattn_core.errors import StoreError

TIME = "coalesce(strftime({0}, '%Y-%m-%dT%H:%M:%S.%f+00:00'), '') AS {0}"
"""A time column as ISO 8601 text in UTC."""

# Paths travel as one parameter; the cast also tells DuckDB the type of an empty list.
PATHS = "(SELECT unnest(CAST(? AS TEXT[])))"


def rows(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Every row of a result as a dict from column to value."""
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def value(result: duckdb.DuckDBPyConnection) -> Any:
    """The one value of a result that has one row and one column."""
    return result.fetchall()[0][0]


def check_page(top: int | None, offset: int) -> None:
    """Raises:
    StoreError: where ``top`` or ``offset`` is negative.
    """
    for name, number in (("top", top), ("offset", offset)):
        if number is not None and number < 0:
            raise StoreError(f"{name}={number} is negative; give 0 or more")
