"""One output folder's database as its users see it: a transaction that reads, a transaction that writes, and rows."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from gradattn_core import outfolder
from gradattn_core.errors import StoreError
from gradattn_core.estimates import ASSUMPTIONS, SUREST
from gradattn_core.store.connection import OlderSchemaError, transaction

DATA_ROOT = "GRADATTN_DATA_ROOT"

TIME = "coalesce(strftime({0}, '%Y-%m-%dT%H:%M:%S.%f+00:00'), '') AS {0}"
"""A time column as ISO 8601 text in UTC."""

# Paths travel as one parameter; the cast also tells DuckDB the type of an empty list.
PATHS = "(SELECT unnest(CAST(? AS TEXT[])))"


# As ranking.noise.shifted: what moved a label's odds in a re-ranking moves them under either assumption. NaN where an
# audit of an older version lacks them, as least, greatest and sum pass over NULL.
_BEFORE, _AFTER = (f"least(greatest({name}, {SUREST}), 1 - {SUREST})" for name in ("audit_suspicion", "suspicion"))
_WRONG, _RIGHT = f"({{0}} * {_AFTER} * (1 - {_BEFORE}))", f"((1 - {{0}}) * (1 - {_AFTER}) * {_BEFORE})"
_SHIFTED = f"coalesce(CASE WHEN audit_suspicion IS NULL THEN {{0}} ELSE {_WRONG} / ({_WRONG} + {_RIGHT}) END, 'nan')"
BELIEFS = f"""(SELECT audit_id, rank, is_suspect, suspicion, {
    ", ".join(f"{_SHIFTED.format(name)} AS {name}" for name in ASSUMPTIONS)
} FROM scores)"""
"""How likely each label is wrong under every assumption, in the order in force: a table to select from."""

# As belief.believe: of the suspicion, what the audit thought to be none of the dataset's classes is one part, and the
# other classes share the rest as the voters share theirs.
_AUDITS = "coalesce(s.audit_suspicion, s.suspicion)"
_NONE = f"(CASE WHEN {_AUDITS} > 0 THEN least(coalesce(s.outside_suspicion, 0) / {_AUDITS}, 1) ELSE 0 END)"
_VOTERS = "coalesce(s.suggested_probability, 0)"
_OTHERS = f"""greatest(1 - coalesce(s.outside_suspicion, 0) - coalesce(s.given_probability, 0),
    {_VOTERS} + coalesce(s.runner_up_probability, 0))"""
PROPOSED = f"""(s.suspicion * CASE WHEN s.suggested_label = '' THEN {_NONE} WHEN {_OTHERS} > 0
    THEN (1 - {_NONE}) * {_VOTERS} / {_OTHERS} ELSE 0 END)"""
"""The probability of the suggested label, of rows ``s`` of ``scores``."""


class Database:
    """The file of one output folder. Holds no connection: each transaction opens one and closes it."""

    def __init__(
        self, directory: Path | str, *, patience: float, read_only: bool, data_root: Path | str | None
    ) -> None:
        self.directory = Path(directory).absolute()
        if "?" in str(self.directory):
            # DuckDB takes what follows for a query string and looks for its log file in another folder.
            raise StoreError(f"DuckDB cannot keep a database below a folder with '?' in its name: {self.directory}")
        self.database = outfolder.database(self.directory)
        self.patience = patience
        self.read_only = read_only
        root = data_root or os.environ.get(DATA_ROOT)
        self.data_root = Path(root).absolute() if root else None

    def prepare(self) -> None:
        """Create the database or bring its schema up to date, so that an unusable folder is noticed before any work."""
        with self._writing():
            pass

    @contextlib.contextmanager
    def _writing(self, audit_id: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.read_only:
            raise StoreError(f"{self.database} was opened read-only; nothing can be written to it")
        with transaction(self.database, write=True, patience=self.patience) as connection:
            if audit_id is not None:
                _require_audit(connection, audit_id)
            yield connection

    @contextlib.contextmanager
    def _reading(self, *audit_ids: str) -> Iterator[duckdb.DuckDBPyConnection]:
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(transaction(self.database, write=False, patience=self.patience))
            except OlderSchemaError:
                if self.read_only:
                    raise
                self.prepare()
                connection = stack.enter_context(transaction(self.database, write=False, patience=self.patience))
            for audit_id in audit_ids:
                _require_audit(connection, audit_id)
            yield connection


class Part:
    """What can be asked of a database about one subject; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database._reading, database._writing
        self.directory, self.data_root = database.directory, database.data_root


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


def check_filters(filters: Mapping[str, object], kind: type) -> None:
    """Raises:
    TypeError: where ``filters`` has a key that the TypedDict ``kind`` lacks; alone, Python would pass it over.
    """
    for name in filters:
        if name not in kind.__annotations__:
            raise TypeError(f"there is no filter {name!r}; choose {', '.join(kind.__annotations__)}")


def _require_audit(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    finished = [name for (name,) in connection.execute("SELECT audit_id FROM audits ORDER BY audit_id").fetchall()]
    if audit_id not in finished:
        near = difflib.get_close_matches(audit_id, finished, n=1) or [
            name for name in finished if audit_id and audit_id in name
        ]
        meant = f". Did you mean {near[-1]}?" if near else ""
        raise StoreError(f"there is no audit {audit_id!r}; finished are {', '.join(finished[-5:]) or 'none'}{meant}")
