"""The store: all finished audits and decisions in one DuckDB file, shared by audit, command line and page."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.records import Evidence
from gradattn_core.store import decisions, merge
from gradattn_core.store.candidates import CandidateFilter, count_query, page_query
from gradattn_core.store.connection import OlderSchemaError, transaction
from gradattn_core.store.evidence import evidence_of

DATABASE_NAME = "gradattn.duckdb"

_TIME = "coalesce(strftime({0}, '%Y-%m-%dT%H:%M:%S.%f+00:00'), '') AS {0}"


class Store:
    """The database of one output folder. Holds no connection: each call is one transaction, closed when it returns.

    Frames that come back have plain columns: text (absent text is ``""``), float64 (absent numbers are NaN), int64,
    bool; times are ISO 8601 text in UTC.

    Args:
        directory: the output folder; the database in it is made by the first :meth:`prepare` or :meth:`merge`.
        patience: seconds a call waits while other threads or processes hold the database.
        read_only: refuse everything that writes.

    Every method raises :class:`StoreError` where the database is absent, unusable, of a newer schema, or locked for
    longer than ``patience``, and where ``audit_id`` is not in it.
    """

    def __init__(self, directory: Path | str, *, patience: float = 30.0, read_only: bool = False) -> None:
        self.directory = Path(directory).absolute()
        if "?" in str(self.directory):
            # DuckDB takes what follows for a query string and looks for its log file in another folder.
            raise StoreError(f"DuckDB cannot keep a database below a folder with '?' in its name: {self.directory}")
        self.database = self.directory / DATABASE_NAME
        self.patience = patience
        self.read_only = read_only

    def prepare(self) -> None:
        """Create the database or bring its schema up to date, so that an unusable folder is noticed before any work."""
        with self._writing():
            pass

    def merge(self, audit: Mapping[str, Any], tables: Mapping[str, merge.Source]) -> None:
        """Put one finished audit into the database in one transaction; readers see all of it or none.

        What the same ``audit_id`` left before is replaced. Decisions are never touched.

        Args:
            audit: columns of ``audits`` by name; ``audit_id``, ``dataset``, ``root``, ``model`` and ``classes`` are
                needed, ``parameters`` and ``versions`` may be mappings.
            tables: rows for any of ``images, predictions, scores, interpretations, regions, class_pairs, failures``, as
                parquet files or as a frame. Columns are taken by name and others ignored; ``audit_id`` and
                ``image_rank`` are filled in.

        Raises:
            StoreError: for an unknown table, an unreadable file, a missing column, a value that does not fit, a path or
                rank twice, a path that ``images`` lacks; nothing is written then.
        """
        merge.check_sources(tables)
        with self._writing() as connection:
            merge.merge(connection, audit, tables)

    def audits(self) -> pd.DataFrame:
        """One row per audit, newest first; ``parameters`` and ``versions`` as JSON text, ``warnings`` as lists."""
        with self._reading() as connection:
            frame = connection.execute(
                f"""SELECT audit_id, dataset, root, model, coalesce(checkpoint, '') AS checkpoint,
                        coalesce(head, '') AS head, coalesce(fingerprint, '') AS fingerprint,
                        {_TIME.format("started_at")}, {_TIME.format("finished_at")}, state,
                        coalesce(images, 0) AS images, coalesce(failures, 0) AS failures,
                        coalesce(skipped, 0) AS skipped, coalesce(suspects, 0) AS suspects, estimated_errors,
                        coalesce(features, '') AS features, coalesce(parameters::TEXT, '{{}}') AS parameters,
                        coalesce(versions::TEXT, '{{}}') AS versions, coalesce(warnings, []) AS warnings
                    FROM audits a ORDER BY a.finished_at DESC NULLS LAST, audit_id DESC"""
            ).df()
        frame["warnings"] = frame["warnings"].map(list)
        return frame

    def latest_audit_id(self) -> str:
        """The audit that finished last.

        Raises:
            StoreError: where no audit has finished yet.
        """
        with self._reading() as connection:
            row = connection.execute(
                "SELECT audit_id FROM audits ORDER BY finished_at DESC NULLS LAST, audit_id DESC LIMIT 1"
            ).fetchone()
        if row is None:
            raise StoreError(
                f"no audit has finished in {self.directory} yet; "
                f"`gradattn audit DATASET --out {self.directory}` makes one"
            )
        return str(row[0])

    def candidates(
        self,
        audit_id: str,
        *,
        given: str | None = None,
        suggested: str | None = None,
        min_suspicion: float | None = None,
        decided: str = "any",
        path_contains: str | None = None,
        everything: bool = False,
        top: int | None = None,
        offset: int = 0,
    ) -> pd.DataFrame:
        """A page of suspects in order of rank.

        Args:
            given: only this given label; ``suggested``: only this suggested label.
            min_suspicion: the threshold over all images, instead of the audit's own choice of suspects.
            decided: ``any``, ``yes``, ``no``, or one decision (``keep``, ``relabel``, ``remove``, ``unsure``).
            path_contains: this text, literally, somewhere in the path.
            everything: all images, not only suspects.
            top: at most so many rows, after ``offset`` rows were passed over.

        Returns:
            The columns of candidates.csv, then ``new_label, content_hash, width, height, is_suspect, runner_up_label,
            predicted_label, outside_label, outside_probability``. ``margin`` is the logit of the given label minus
            that of the other class, in the explained head; ``predicted_label`` is the class that this head names.
        """
        chosen = CandidateFilter(given, suggested, min_suspicion, decided, path_contains, everything)
        with self._reading(audit_id) as connection:
            return connection.execute(*page_query(audit_id, chosen, top=top, offset=offset)).df()

    def count_candidates(
        self,
        audit_id: str,
        *,
        given: str | None = None,
        suggested: str | None = None,
        min_suspicion: float | None = None,
        decided: str = "any",
        path_contains: str | None = None,
        everything: bool = False,
    ) -> int:
        """How many rows :meth:`candidates` has for the same filters on all its pages together."""
        chosen = CandidateFilter(given, suggested, min_suspicion, decided, path_contains, everything)
        with self._reading(audit_id) as connection:
            return int(_one(connection.execute(*count_query(audit_id, chosen)))["count_star()"])

    def evidence(self, audit_id: str, path: str) -> Evidence | None:
        """The stored detail interpretation of one image with its regions; None where it was not interpreted."""
        with self._reading(audit_id) as connection:
            where = "WHERE audit_id = ? AND path = ?"
            rows = _rows(connection.execute(f"SELECT * FROM interpretations {where}", [audit_id, path]))
            if not rows:
                return None
            regions = _rows(
                connection.execute(f"SELECT * FROM regions {where} ORDER BY sign DESC, rank", [audit_id, path])
            )
        return evidence_of(rows[0], regions)

    def prediction(self, audit_id: str, path: str) -> dict[str, Any] | None:
        """Everything stored about one image's prediction and score; None where the audit has no such image.

        Keys are the columns of ``images``, ``predictions`` and ``scores``; absent values are None, ``components`` a
        dict. ``given_probability`` is that of the ranking; the head's own comes back as ``head_given_probability``.
        """
        with self._reading(audit_id) as connection:
            rows = _rows(
                connection.execute(
                    """WITH image AS MATERIALIZED (SELECT * FROM images WHERE audit_id = ? AND path = ?)
                       SELECT i.* EXCLUDE (image_rank), p.* EXCLUDE (audit_id, image_rank, path, given_probability),
                           p.given_probability AS head_given_probability, s.* EXCLUDE (audit_id, path)
                       FROM image i
                       LEFT JOIN predictions p ON p.audit_id = i.audit_id AND p.image_rank = i.image_rank
                       LEFT JOIN scores s ON s.audit_id = i.audit_id AND s.rank = i.image_rank""",
                    [audit_id, path],
                )
            )
        return rows[0] if rows else None

    def class_pairs(self, audit_id: str) -> pd.DataFrame:
        """The (given, suggested) label pairs with suspects, most expected wrong labels first."""
        with self._reading(audit_id) as connection:
            return connection.execute(
                """SELECT given_label, suggested_label, coalesce(suspects, 0) AS suspects,
                       coalesce(class_size, 0) AS class_size, share, mean_suspicion, expected
                   FROM class_pairs c WHERE audit_id = ? ORDER BY c.expected DESC, given_label, suggested_label""",
                [audit_id],
            ).df()

    def failures(self, audit_id: str) -> pd.DataFrame:
        """The inputs that could not be used: ``path, stage, reason``, ordered by path."""
        with self._reading(audit_id) as connection:
            return connection.execute(
                "SELECT path, stage, reason FROM failures WHERE audit_id = ? ORDER BY path, stage", [audit_id]
            ).df()

    def classes(self, audit_id: str) -> list[str]:
        """The dataset's classes in sorted order."""
        with self._reading(audit_id) as connection:
            return sorted(
                _one(connection.execute("SELECT classes FROM audits WHERE audit_id = ?", [audit_id]))["classes"]
            )

    def summary(self, audit_id: str) -> dict[str, Any]:
        """The audit's row of :meth:`audits` as a dict, and how far the review is.

        Added keys: ``decided`` (suspects with a standing decision), ``undecided`` (suspects without), and
        ``decisions``, a dict from each decision to its number of images, suspects or not.
        """
        audits = self.audits()
        with self._reading(audit_id) as connection:
            counted = connection.execute(
                """SELECT d.decision, count(*), count(*) FILTER (s.is_suspect)
                   FROM current_decisions d
                   JOIN images i ON i.content_hash = d.content_hash AND i.given_label = d.given_label
                   LEFT JOIN scores s ON s.audit_id = i.audit_id AND s.rank = i.image_rank
                   WHERE i.audit_id = ? GROUP BY d.decision""",
                [audit_id],
            ).fetchall()
            suspects = connection.execute(*count_query(audit_id, CandidateFilter())).fetchall()[0][0]
        row = audits[audits["audit_id"] == audit_id].iloc[0]
        decided = sum(of_suspects for _, _, of_suspects in counted)
        return {
            **{str(name): value.item() if isinstance(value, np.generic) else value for name, value in row.items()},
            "decided": decided,
            "undecided": suspects - decided,
            "decisions": {name: 0 for name in decisions.DECISIONS} | {name: images for name, images, _ in counted},
        }

    def image_file(self, audit_id: str, path: str) -> Path:
        """The absolute place of an image that belongs to the audit; the file itself may have moved since.

        Raises:
            StoreError: where the audit lists no such path, or the listed path leaves the dataset's root.
        """
        return self.image_files(audit_id, [path])[0]

    def image_files(self, audit_id: str, paths: Sequence[str]) -> list[Path]:
        """:meth:`image_file` for many paths at the price of one, in their order."""
        with self._reading(audit_id) as connection:
            root = _one(connection.execute("SELECT root FROM audits WHERE audit_id = ?", [audit_id]))["root"]
            listed = connection.execute(
                "SELECT path FROM images WHERE audit_id = ? AND path IN (SELECT unnest(CAST(? AS TEXT[])))",
                [audit_id, list(paths)],
            ).fetchall()
        return [_place(root, path, audit_id, {row[0] for row in listed}) for path in paths]

    def decide(
        self,
        audit_id: str,
        path: str,
        decision: str,
        *,
        new_label: str | None = None,
        reviewer: str,
        note: str = "",
    ) -> str:
        """Append a decision about an image's given label; it is on disk when this returns.

        It holds for every image of the same content and given label, in this and every other audit. The newest stands;
        what other reviewers said before stays in the log.

        Args:
            decision: ``keep`` (the label is right), ``relabel``, ``remove`` or ``unsure``.
            new_label: for ``relabel``, and only for it.

        Returns:
            The decision's id.

        Raises:
            StoreError: where the audit has no such image, or an argument is unusable; nothing is written then.
        """
        decisions.check_decision(decision, new_label, reviewer)
        with self._writing(audit_id) as connection:
            decision_id = decisions.decide(
                connection, audit_id, path, decision, new_label=new_label, reviewer=reviewer, note=note
            )
        return decision_id

    def undo(self, audit_id: str, path: str, *, reviewer: str) -> str | None:
        """Take back the decision that stands, whoever made it; the one before it stands again.

        Returns:
            The id of the undo's own row, or None where no decision stood and nothing was written.
        """
        decisions.check_reviewer(reviewer)
        with self._writing(audit_id) as connection:
            undo_id = decisions.undo(connection, audit_id, path, reviewer=reviewer)
        return undo_id

    def decisions(self) -> pd.DataFrame:
        """The whole log of all audits, newest first, undos included."""
        with self._reading() as connection:
            return connection.execute(
                f"""SELECT decision_id, path, given_label, decision, coalesce(new_label, '') AS new_label, reviewer,
                       note, {_TIME.format("decided_at")}, audit_id, content_hash
                   FROM decisions ORDER BY sequence DESC"""
            ).df()

    @contextlib.contextmanager
    def _writing(self, audit_id: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.read_only:
            raise StoreError(f"{self.database} was opened read-only; nothing can be written to it")
        with transaction(self.database, write=True, patience=self.patience) as connection:
            if audit_id is not None:
                _require_audit(connection, audit_id)
            yield connection

    @contextlib.contextmanager
    def _reading(self, audit_id: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(transaction(self.database, write=False, patience=self.patience))
            except OlderSchemaError:
                if self.read_only:
                    raise
                self.prepare()
                connection = stack.enter_context(transaction(self.database, write=False, patience=self.patience))
            if audit_id is not None:
                _require_audit(connection, audit_id)
            yield connection


def _place(root: str, path: str, audit_id: str, listed: set[str]) -> Path:
    if path not in listed:
        raise StoreError(f"audit {audit_id} has no image {path!r}")
    if PurePosixPath(path).is_absolute():
        return Path(path)
    # Normalised without looking at the disk: images behind a symbolic link inside the root stay reachable.
    inside = os.path.normpath(path)
    if inside.split(os.sep)[0] == os.pardir:
        raise StoreError(f"the image path {path!r} of audit {audit_id} leaves the dataset's root and is not opened")
    return Path(root) / inside


def _require_audit(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    known = [row[0] for row in connection.execute("SELECT audit_id FROM audits ORDER BY audit_id").fetchall()]
    if audit_id not in known:
        raise StoreError(f"there is no audit {audit_id!r}; finished are {', '.join(known[-5:]) or 'none'}")


def _rows(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _one(result: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    return _rows(result)[0]
