"""One connection per transaction, and the patience it takes where several processes share one DuckDB file.

A read-write connection shuts every other process out and a read-only one shuts every writer out, so none is kept:
the file is attached for one transaction, detached at once, and asked for again with growing, jittered pauses while
somebody else holds it. What is kept is DuckDB itself, an empty engine per process: starting one takes ten times as long
as attaching the file.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import stat
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import duckdb

from gradattn_core.errors import StoreBusyError, StoreError
from gradattn_core.files import clear_drafts, new_draft
from gradattn_core.store import schema

_FIRST_PAUSE = 0.004
# A writer needs the moment in which nobody reads, so it looks more often than readers do.
_LONGEST_PAUSE_OF_WRITERS = 0.02
_LONGEST_PAUSE_OF_READERS = 0.16

# DuckDB refuses a second connection of another mode within a process too. Threads queue here instead of polling.
_turns: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)

_engine: duckdb.DuckDBPyConnection | None = None
_engine_lock = threading.Lock()
_aliases = itertools.count()
# A forked child has none of the engine's threads: it can neither use nor close it, only leave it alone.
_engines_of_parents: list[duckdb.DuckDBPyConnection] = []

# Mistakes in our own SQL stay what they are; only what the world can cause becomes a StoreError.
_OWN_MISTAKES = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)


class OlderSchemaError(StoreError):
    """The database is of an older schema version and was opened without permission to write."""


@contextlib.contextmanager
def transaction(database: Path, *, write: bool, patience: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection inside one transaction: committed when the block ends, rolled back when it raises, then closed.

    A writing transaction creates a database that is absent and brings an older schema up to date.

    Args:
        database: the file, an absolute path.
        write: whether the block changes anything.
        patience: seconds to wait for other threads and processes.

    Raises:
        StoreError: where the file cannot be opened, stays locked, is damaged, not gradattn's or of a newer schema, or
            the disk is full; reading, also where it is absent or (OlderSchemaError) of an older schema.
    """
    deadline = time.monotonic() + patience
    turn = _turns[database]
    if not turn.acquire(timeout=max(patience, 0)):
        raise StoreBusyError(
            f"another thread of this process has held {database} for more than {patience:g} s; try again"
        )
    try:
        if not _exists(database):
            if not write:
                raise StoreError(
                    f"there is no finished audit in {database.parent}; "
                    f"`gradattn audit DATASET --out {database.parent}` makes one"
                )
            _create(database)
        with _attachment(database, write=write, deadline=deadline, patience=patience) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.begin()
            _bring_up_to_date(connection, database, write=write)
            yield connection
            connection.commit()
    finally:
        turn.release()


def _bring_up_to_date(connection: duckdb.DuckDBPyConnection, database: Path, *, write: bool) -> None:
    version = schema.read_version(connection, str(database))
    if version == len(schema.MIGRATIONS):
        return
    if not write:
        raise OlderSchemaError(
            f"{database} has the older schema version {version} and this gradattn needs {len(schema.MIGRATIONS)}; "
            "open it once without read-only mode and it is brought up to date"
        )
    schema.migrate(connection, version)


def _exists(database: Path) -> bool:
    try:
        mode = database.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"cannot open {database}: {error.strerror}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # DuckDB would wait for somebody to write to a pipe
        raise StoreError(f"cannot open {database}: it is a pipe or a device and no file; remove it")
    return True


def _create(database: Path) -> None:
    """Make an empty database under another name first, so that a kill in the middle leaves no half-made file behind."""
    if not database.parent.is_dir():
        raise StoreError(f"the output folder {database.parent} does not exist; create it or name another with --out")
    draft = new_draft(database)
    try:
        with _translated(database), duckdb.connect(draft) as connection:
            connection.begin()
            schema.migrate(connection, 0)
            connection.commit()
            # Closing writes the tables into the file too, but does not say so when the disk is full.
            connection.execute("CHECKPOINT")
        _publish(draft, database)
    except OSError as error:
        raise StoreError(f"cannot create {database}: {error.strerror}") from error
    finally:
        for leftover in (draft, draft.with_name(draft.name + ".wal")):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
    clear_drafts(database)


def _publish(draft: Path, database: Path) -> None:
    """Give the draft its name, unless another process was first: its database must not be replaced."""
    try:
        os.link(draft, database)
    except OSError:
        # A file system without hard links; or another process was first, and has cleared this draft perhaps.
        if not database.exists():
            draft.rename(database)


@contextlib.contextmanager
def _attachment(
    database: Path, *, write: bool, deadline: float, patience: float
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose default database is the file; what the block left uncommitted is rolled back."""
    connection = _session()
    alias = f"gradattn_{next(_aliases)}"
    try:
        _attach(connection, alias, database, write=write, deadline=deadline, patience=patience)
        with _translated(database):
            yield connection
        _detach(connection, alias)
    except StoreError as error:
        # Our own refusals harm nothing; after an error of DuckDB's the engine may be invalid as a whole.
        _detach(connection, alias) if error.__cause__ is None else _discard_engine()
        raise
    except BaseException:
        _discard_engine()
        raise
    finally:
        connection.close()


def _session() -> duckdb.DuckDBPyConnection:
    """A connection of this process's engine, which is started where there is none."""
    global _engine
    with _engine_lock:
        if _engine is None:
            _engine = duckdb.connect()
        return _engine.cursor()


def _discard_engine() -> None:
    """Let go the engine, and with it every file, once the last of its connections is closed."""
    global _engine
    with _engine_lock:
        if _engine is not None:
            _engine.close()
        _engine = None


def _forget_engine() -> None:
    global _engine, _engine_lock
    if _engine is not None:
        _engines_of_parents.append(_engine)
    _engine, _engine_lock = None, threading.Lock()
    _turns.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_engine)


def _attach(
    connection: duckdb.DuckDBPyConnection,
    alias: str,
    database: Path,
    *,
    write: bool,
    deadline: float,
    patience: float,
) -> None:
    """Attach the file as the connection's default database.

    Not ``duckdb.connect(file)``: that finds out the file's type first, and DuckDB 2.0 then takes the headers it read
    for it, before it had the lock, for those of the file. What another process committed in between is overwritten.
    With the type named, everything is read under the lock.
    """
    place = str(database).replace("'", "''")
    mode = "READ_WRITE" if write else "READ_ONLY"
    pause, longest = _FIRST_PAUSE, _LONGEST_PAUSE_OF_WRITERS if write else _LONGEST_PAUSE_OF_READERS
    while True:
        try:
            connection.execute(f"ATTACH '{place}' AS {alias} (TYPE duckdb, {mode})")
            connection.execute(f"USE {alias}")
            return
        except duckdb.Error as error:
            holder = _lock_holder(error)
            if holder is None:
                raise StoreError(f"cannot open {database}: {_sentence(error)}") from error
            if time.monotonic() >= deadline:
                raise StoreBusyError(
                    f"{holder} has held {database} for more than {patience:g} s; close it or wait until it has finished"
                ) from error
        time.sleep(min(pause * random.uniform(0.5, 1.0), max(deadline - time.monotonic(), 0.0)))
        pause = min(2 * pause, longest)


def _detach(connection: duckdb.DuckDBPyConnection, alias: str) -> None:
    """Give the file back. What was committed is on disk already, whatever goes wrong here."""
    try:
        with contextlib.suppress(duckdb.TransactionException):
            connection.rollback()
        connection.execute("USE memory")
        connection.execute(f"DETACH {alias}")
    except duckdb.Error:
        _discard_engine()


def _lock_holder(error: duckdb.Error) -> str | None:
    """Who keeps us out, in words; None where the error is no lock."""
    message = str(error)
    if "already attached by database" in message:
        return "another connection of this process"
    if "Could not set lock" in message:
        found = re.search(r"lock is held in (.+?) \(PID (\d+)\)", message)
        return f"another process (PID {found[2]}, {found[1]})" if found else "another process"
    return None


@contextlib.contextmanager
def _translated(database: Path) -> Iterator[None]:
    try:
        yield
    except _OWN_MISTAKES:
        raise
    except duckdb.Error as error:
        raise StoreError(f"{database}: {_sentence(error)}") from error


def _sentence(error: duckdb.Error) -> str:
    """DuckDB's message without its class name, its hints and its line breaks."""
    first = str(error).split("\n", 1)[0].split(" See also ", 1)[0]
    return re.sub(r"^[A-Z][\w ]*Error: ", "", first).strip() or type(error).__name__
