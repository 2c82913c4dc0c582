"""The store: all finished audits and decisions in one DuckDB file, shared by audit, command line and page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradattn_core.store import decisions, findings, log, outcome, progress, relearning
from gradattn_core.store.audits import Audits
from gradattn_core.store.log import LogFilter, LogFilters


class Store(Audits):
    """The database of one output folder. Holds no connection: each call is one transaction, closed when it returns.

    Frames that come back have plain columns: text (absent text is ``""``), float64 (absent numbers are NaN), int64,
    bool; times are ISO 8601 text in UTC.

    Args:
        directory: the output folder; the database in it is made by the first :meth:`prepare` or :meth:`merge`.
        patience: seconds a call waits while other threads or processes hold the database.
        read_only: refuse everything that writes.
        data_root: where the images are now, if not below the root that their audit stored (default: the environment
            variable ``GRADATTN_DATA_ROOT``, if it is set).

    Every method raises :class:`StoreError` where the database is absent, unusable, of a newer schema, or locked for
    longer than ``patience``, and where ``audit_id`` is not in it.
    """

    def summary(self, audit_id: str) -> dict[str, Any]:
        """The audit's row of :meth:`audits` as a dict, and how far the review is.

        Added keys: ``decided`` (suspects with a standing decision), ``undecided`` (suspects without), and
        ``decisions``, a dict from each decision to its number of images, suspects or not.
        """
        with self._reading(audit_id) as connection:
            audits = findings.audits(connection)
            review = progress.review(connection, audit_id)
        row = audits[audits["audit_id"] == audit_id].iloc[0]
        return {str(name): cell.item() if isinstance(cell, np.generic) else cell for name, cell in row.items()} | review

    def review_progress(self, audit_id: str) -> dict[str, Any]:
        """How far the review is, over all images of the audit with a standing decision, suspects or not.

        Keys: ``reviewed``; of these ``wrong`` (relabel, remove), ``right`` (keep) and ``unsure``; ``precision``, wrong
        / (wrong + right), and its interval ``precision_low`` to ``precision_high`` (Wilson), NaN where there are none;
        ``suspects`` and ``suspects_decided``; ``learnt_wrong`` and ``learnt_right``, the verdicts on suspects that
        can be learnt from, of copies one; ``estimated_left``, the sum of the suspicions of the undecided suspects,
        and its interval ``left_low`` to ``left_high``; ``reranked``, how many decisions the order in force was learnt
        from, 0 for the audit's own. Intervals are of about 95 %, see ``gradattn_core.estimates``.
        """
        with self._reading(audit_id) as connection:
            return progress.review_progress(connection, audit_id)

    def suspects_to_learn_from(self, audit_id: str, similarity: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Every suspect with all that is stored about it, and which of them look alike; in the audit's own order.

        Returns:
            One row per suspect: ``path, rank, suspicion`` (as the audit found them), ``given_label, suggested_label,
            content_hash, cluster, decision`` (the one that stands, or ``""``), then numbers, NaN where absent:
            ``margin`` and ``entropy`` of the head, ``map_margin`` of the explained classes, the statistics of the map,
            and the components. And the pairs ``path, neighbour_path`` of at least this ``similarity``; the neighbour
            may be no suspect.
        """
        with self._reading(audit_id) as connection:
            return relearning.suspects(connection, audit_id), relearning.alike(connection, audit_id, similarity)

    def rerank(self, audit_id: str, paths: Sequence[str], suspicion: ArrayLike, *, decisions: int) -> None:
        """Give suspects new suspicions and, among the ranks that they had in the audit, the ranks that follow.

        Starts from the audit's own order, whatever an earlier call made of it. All other images stay where they are.
        Every reader sees the new order at once; :meth:`reset_order` takes it back.

        Args:
            paths, suspicion: the suspects that may move, and the probability in [0, 1] that each one's label is wrong.
            decisions: how many the suspicions were learnt from.

        Raises:
            StoreError: where one of the paths is no suspect of the audit; nothing is written then.
        """
        with self._writing(audit_id) as connection:
            relearning.rerank(connection, audit_id, paths, suspicion, decisions)

    def reset_order(self, audit_id: str) -> bool:
        """Take back :meth:`rerank`: the audit's own ranks and suspicions. Returns whether there was one."""
        with self._writing(audit_id) as connection:
            return relearning.reset(connection, audit_id)

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
        return self._decide(audit_id, [path], decision, new_label, reviewer, note)[0]

    def decide_many(
        self,
        audit_id: str,
        paths: Sequence[str],
        decision: str,
        *,
        new_label: str | None = None,
        reviewer: str,
        note: str = "",
    ) -> int:
        """:meth:`decide` for many images in one transaction, all or none, one row each; returns how many."""
        return len(self._decide(audit_id, paths, decision, new_label, reviewer, note))

    def undo(self, audit_id: str, path: str, *, reviewer: str) -> str | None:
        """Take back the decision that stands, whoever made it; the one before it stands again.

        Returns:
            The id of the undo's own row, or None where no decision stood and nothing was written.
        """
        return next(iter(self._undo(audit_id, [path], reviewer)), None)

    def undo_many(self, audit_id: str, paths: Sequence[str], *, reviewer: str) -> int:
        """:meth:`undo` for many images in one transaction; returns how many decisions were taken back."""
        return len(self._undo(audit_id, paths, reviewer))

    def decisions(self, *, top: int | None = None, offset: int = 0, **filters: Unpack[LogFilters]) -> pd.DataFrame:
        """A page of the log of all audits, newest first, undos included.

        Args:
            top: at most so many rows, after ``offset`` rows were passed over.
            filters: see :class:`~gradattn_core.store.log.LogFilters`.

        Returns:
            ``decision_id, path, given_label, decision, new_label, reviewer, note, decided_at, audit_id, content_hash,
            stands, conflict``; ``conflict`` marks the last words of reviewers who differ about the same image.
        """
        with self._reading() as connection:
            return log.decisions(connection, LogFilter(**filters), top=top, offset=offset)

    def count_decisions(self, **filters: Unpack[LogFilters]) -> int:
        """How many rows :meth:`decisions` has for the same filters on all its pages together."""
        with self._reading() as connection:
            return log.count_decisions(connection, LogFilter(**filters))

    def reviewers(self) -> list[str]:
        """Everybody who ever decided or undid something, in sorted order."""
        with self._reading() as connection:
            return log.reviewers(connection)

    def agreement(self) -> pd.DataFrame:
        """How often two reviewers' last words about the same image agree in decision and new label.

        Columns: ``reviewer_a, reviewer_b, both`` (images both have a word about), ``agree``, ``share`` (agree / both).
        One row per pair of reviewers with common images, those with the most first.
        """
        with self._reading() as connection:
            return log.agreement(connection)

    def corrected(self, audit_id: str, *, folder: Path | None = None, top: int | None = None) -> pd.DataFrame:
        """Every image (at most ``top``) of the audit with the label that now holds: ``path, label``, ordered by path.

        Standing relabels are applied; removed images are left out; whatever is undecided, kept or unsure has its given
        label. Paths are absolute, below ``data_root`` where there is one, but relative where they lie below ``folder``,
        the folder the list is meant for: a manifest written there is a dataset that ``gradattn audit`` reads.
        """
        with self._reading(audit_id) as connection:
            return outcome.corrected(connection, audit_id, data_root=self.data_root, folder=folder, top=top)

    def corrections(self, audit_id: str, *, everything: bool = False) -> pd.DataFrame:
        """What the standing decisions change: ``path, content_hash, given_label, decision, label``, ordered by path.

        ``label`` is the one that now holds, ``""`` where the image is to be removed. Only images whose label changes or
        that are removed, unless ``everything``: then every image of the audit. Copies of a picture under one given
        label share a decision, and each of them has a row.
        """
        with self._reading(audit_id) as connection:
            return outcome.corrections(connection, audit_id, everything=everything)

    def removals(self, audit_id: str) -> pd.DataFrame:
        """The images that are to be removed, ordered by path: ``path, given_label, reviewer, note, decided_at``."""
        with self._reading(audit_id) as connection:
            return outcome.removals(connection, audit_id)

    def _decide(
        self, audit_id: str, paths: Sequence[str], decision: str, new_label: str | None, reviewer: str, note: str
    ) -> list[str]:
        decisions.check_decision(decision, new_label, reviewer)
        with self._writing(audit_id) as connection:
            return decisions.decide_many(
                connection, audit_id, paths, decision, new_label=new_label, reviewer=reviewer, note=note
            )

    def _undo(self, audit_id: str, paths: Sequence[str], reviewer: str) -> list[str]:
        decisions.check_reviewer(reviewer)
        with self._writing(audit_id) as connection:
            return decisions.undo_many(connection, audit_id, paths, reviewer=reviewer)
