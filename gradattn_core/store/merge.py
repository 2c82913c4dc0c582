"""A finished audit into the database: all in the caller's transaction, replacing what the same audit left before."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.errors import StoreError
from gradattn_core.store.schema import OF_AUDIT, OPTIONAL, RANKED, UNIQUE_KEYS

Source: TypeAlias = Sequence[Path] | pd.DataFrame


def check_sources(tables: Mapping[str, Source]) -> None:
    """Refuse unknown tables and unreadable files before the database is locked.

    Raises:
        StoreError: naming the table or the file.
    """
    for table, source in tables.items():
        if table not in UNIQUE_KEYS:
            raise StoreError(f"there is no table {table!r} to merge into; known are {', '.join(UNIQUE_KEYS)}")
        if isinstance(source, pd.DataFrame):
            continue
        for file in source:
            try:
                pq.read_schema(file)
            except (OSError, pa.ArrowException) as error:
                raise StoreError(f"cannot read {file} as parquet: {str(error).splitlines()[0]}") from error


def merge(connection: duckdb.DuckDBPyConnection, audit: Mapping[str, Any], tables: Mapping[str, Source]) -> None:
    """Replace every row of ``audit["audit_id"]`` but its decisions, in the transaction of the caller."""
    audit_id = audit.get("audit_id")
    if not isinstance(audit_id, str) or not audit_id:
        raise StoreError("an audit needs a text audit_id to be merged")
    for table in OF_AUDIT:
        connection.execute(f"DELETE FROM {table} WHERE audit_id = ?", [audit_id])
    _insert_audit(connection, audit)
    for table in UNIQUE_KEYS:
        source = tables.get(table, [])
        if isinstance(source, pd.DataFrame):
            _insert_frame(connection, table, audit_id, source)
        elif len(source) > 0:
            _insert_files(connection, table, audit_id, source)
        _check_unique(connection, table, audit_id)
    _check_complete(connection, audit_id)
    connection.execute(
        "UPDATE audits SET population = (SELECT population FROM populations WHERE audit_id = $audit_id) "
        "WHERE audit_id = $audit_id",
        {"audit_id": audit_id},
    )


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """The columns a table takes from outside, each with its type."""
    rows = connection.execute(
        """SELECT column_name, data_type FROM duckdb_columns()
           WHERE database_name = current_database() AND table_name = ?
               AND column_name NOT IN ('image_rank', 'audit_rank', 'audit_suspicion', 'audit_is_suspect', 'population')
               AND (column_name <> 'audit_id' OR table_name = 'audits')
           ORDER BY column_index""",
        [table],
    ).fetchall()
    return {name: kind for name, kind in rows}


def _insert_audit(connection: duckdb.DuckDBPyConnection, audit: Mapping[str, Any]) -> None:
    columns = _columns(connection, "audits")
    unknown = sorted(set(audit) - set(columns))
    if unknown:
        raise StoreError(f"an audit has no column {', '.join(unknown)}; known are {', '.join(columns)}")
    values = {"state": "complete", **audit}
    for name in ("parameters", "versions"):
        if values.get(name) is not None and not isinstance(values[name], str):
            values[name] = json.dumps(values[name], ensure_ascii=False, sort_keys=True, default=str)
    for name in ("classes", "warnings"):
        if values.get(name) is not None:
            values[name] = [str(entry) for entry in values[name]]
    placeholders = ", ".join(f"CAST(? AS {columns[name]})" for name in values)
    connection.execute(f"INSERT INTO audits ({', '.join(values)}) VALUES ({placeholders})", list(values.values()))


def _insert_frame(connection: duckdb.DuckDBPyConnection, table: str, audit_id: str, frame: pd.DataFrame) -> None:
    columns = _present(_columns(connection, table), frame.columns)
    _require(columns, frame.columns, f"the frame for {table}")
    try:
        rows = pa.Table.from_pandas(frame[list(columns)], preserve_index=False)
    except pa.ArrowException as error:
        raise StoreError(f"the frame for {table} cannot be stored: {error}") from error
    connection.register("merged_rows", rows)
    connection.execute(_insertion(table, columns, "merged_rows"), {"audit_id": audit_id})
    connection.unregister("merged_rows")


def _insert_files(connection: duckdb.DuckDBPyConnection, table: str, audit_id: str, files: Sequence[Path]) -> None:
    named = {file: pq.read_schema(file).names for file in files}
    columns = _present(_columns(connection, table), {name for names in named.values() for name in names})
    for file, names in named.items():
        # By name and file by file: DuckDB alone would fill a column that one shard lacks with NULL, silently.
        _require(columns, names, str(file))
    # One shard may hold only NULLs where another has text, so the types of all files are joined.
    source = "read_parquet($files, union_by_name = true, hive_partitioning = false)"
    parameters = {"audit_id": audit_id, "files": [_literal(file) for file in files]}
    connection.execute(_insertion(table, columns, source), parameters)


def _insertion(table: str, columns: Mapping[str, str], source: str) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(f'CAST(new."{name}" AS {kind})' for name, kind in columns.items())
    source = f"{source} AS new"
    order = ""
    if table in RANKED:
        names, values = f"image_rank, {names}", f"s.rank, {values}"
        source = f"{source} LEFT JOIN scores s ON s.audit_id = $audit_id AND s.path = new.path"
    if table == "scores":
        order = "ORDER BY new.rank"
    elif table in RANKED and table != "interpretations":
        # Maps are too heavy to sort; their small columns are quick to search in any order.
        order = "ORDER BY s.rank"
    return f"INSERT INTO {table} (audit_id, {names}) SELECT $audit_id, {values} FROM {source} {order}"


def _present(columns: Mapping[str, str], present: Any) -> dict[str, str]:
    """The columns without the optional ones that are not there."""
    return {name: kind for name, kind in columns.items() if name not in OPTIONAL or name in set(present)}


def _require(columns: Mapping[str, str], present: Any, where: str) -> None:
    missing = [name for name in columns if name not in set(present)]
    if missing:
        raise StoreError(f"{where} lacks the column {', '.join(missing)}; needed are {', '.join(columns)}")


def _literal(file: Path) -> str:
    """The path for DuckDB, which otherwise takes ``*``, ``?`` and ``[`` in a folder's name for a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(file))


def _check_unique(connection: duckdb.DuckDBPyConnection, table: str, audit_id: str) -> None:
    for key in UNIQUE_KEYS[table]:
        names = ", ".join(key)
        row = connection.execute(
            f"SELECT {names}, count(*) FROM {table} WHERE audit_id = ? GROUP BY {names} HAVING count(*) > 1 LIMIT 1",
            [audit_id],
        ).fetchone()
        if row is not None:
            where = ", ".join(f"{name} {value!r}" for name, value in zip(key, row, strict=False))
            raise StoreError(f"{table} of audit {audit_id} has {row[-1]} rows for {where}; one is allowed")


def _check_complete(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    """Whatever is said about an image, the image itself must be listed: it alone has the label and the content hash."""
    said = [(table, "path") for table in ("scores", "predictions", "interpretations", "regions", "exemplars")]
    for table, column in (*said, ("neighbours", "path"), ("neighbours", "neighbour_path")):
        row = connection.execute(
            f"""SELECT t.{column} FROM {table} t
                ANTI JOIN images i ON i.audit_id = t.audit_id AND i.path = t.{column}
                WHERE t.audit_id = ? LIMIT 1""",
            [audit_id],
        ).fetchone()
        if row is not None:
            raise StoreError(f"{table} of audit {audit_id} has {row[0]!r}, which is not among its images")
