"""One output folder's database as its users see it: a transaction that reads, a transaction that writes."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb

from gradattn_core.errors import StoreError
from gradattn_core.store.connection import OlderSchemaError, transaction

DATABASE_NAME = "gradattn.duckdb"
DATA_ROOT = "GRADATTN_DATA_ROOT"


class Database:
    """The file of one output folder. Holds no connection: each transaction opens one and closes it."""

    def __init__(
        self, directory: Path | str, *, patience: float, read_only: bool, data_root: Path | str | None
    ) -> None:
        self.directory = Path(directory).absolute()
        if "?" in str(self.directory):
            # DuckDB takes what follows for a query string and looks for its log file in another folder.
            raise StoreError(f"DuckDB cannot keep a database below a folder with '?' in its name: {self.directory}")
        self.database = self.directory / DATABASE_NAME
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


def _require_audit(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    known = [row[0] for row in connection.execute("SELECT audit_id FROM audits ORDER BY audit_id").fetchall()]
    if audit_id not in known:
        near = difflib.get_close_matches(audit_id, known, n=1) or [
            name for name in known if audit_id and audit_id in name
        ]
        meant = f". Did you mean {near[-1]}?" if near else ""
        raise StoreError(f"there is no audit {audit_id!r}; finished are {', '.join(known[-5:]) or 'none'}{meant}")
