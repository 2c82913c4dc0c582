"""The store: all finished audits and decisions in one DuckDB file, shared by audit, command line and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradattn_core.errors import StoreError
from gradattn_core.records import Evidence, FloatArray, News
from gradattn_core.store import (
    candidates,
    changes,
    decisions,
    evidence,
    findings,
    images,
    log,
    outcome,
    progress,
    relearning,
)
from gradattn_core.store.candidates import CandidateFilter, Filters
from gradattn_core.store.database import Database
from gradattn_core.store.log import LogFilter, LogFilters
from gradattn_core.store.merge import Source, check_sources
from gradattn_core.store.merge import merge as merge_audit
from gradattn_core.store.rows import value


class Part:
    """One side of the database; see :class:`Store`."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database._reading, database._writing
        self.directory, self.data_root = database.directory, database.data_root


class Audits(Part):
    """What finished audits found, class by class and one against another."""

    def merge(self, audit: Mapping[str, Any], tables: Mapping[str, Source]) -> None:
        """Put one finished audit into the database in one transaction; readers see all of it or none.

        What the same ``audit_id`` left before is replaced. Decisions are never touched.

        Args:
            audit: columns of ``audits`` by name; ``audit_id``, ``dataset``, ``root``, ``model`` and ``classes`` are
                needed, ``parameters`` and ``versions`` may be mappings.
            tables: rows for any of ``schema.UNIQUE_KEYS``, as parquet files or as a frame. Columns are taken by name
                and others ignored; ``audit_id`` and ``image_rank`` are filled in.

        Raises:
            StoreError: for an unknown table, an unreadable file, a missing column, a value that does not fit, a path or
                rank twice, a path that ``images`` lacks; nothing is written then.
        """
        check_sources(tables)
        with self._writing() as connection:
            merge_audit(connection, audit, tables)

    def all(self) -> pd.DataFrame:
        """One row per audit, newest first; ``parameters`` and ``versions`` as JSON text, ``warnings`` as lists."""
        with self._reading() as connection:
            return findings.audits(connection)

    def latest_id(self) -> str:
        """The audit that finished last.

        Raises:
            StoreError: where no audit has finished yet.
        """
        finished = self.all()["audit_id"]
        if finished.empty:
            raise StoreError(
                f"no audit has finished in {self.directory} yet; "
                f"`gradattn audit DATASET --out {self.directory}` makes one"
            )
        return str(finished[0])

    def previous_id(self, audit_id: str) -> str:
        """The audit of the same dataset (root, manifest and split) that finished before this one.

        Raises:
            StoreError: where there is none.
        """
        with self._reading(audit_id) as connection:
            found = changes.previous(connection, audit_id)
            dataset = value(connection.execute("SELECT dataset FROM audits WHERE audit_id = ?", [audit_id]))
        if found is None:
            raise StoreError(
                f"{self.directory} has no audit of {dataset} before {audit_id}; "
                "audit it again after a change, or name two audits"
            )
        return found

    def summary(self, audit_id: str) -> dict[str, Any]:
        """The audit's row of :meth:`all` as a dict, and how far the review is.

        Added keys: ``decided`` (suspects with a standing decision), ``undecided`` (suspects without), and
        ``decisions``, a dict from each decision to its number of images, suspects or not.
        """
        with self._reading(audit_id) as connection:
            audits = findings.audits(connection)
            review = progress.review(connection, audit_id)
        row = audits[audits["audit_id"] == audit_id].iloc[0]
        return {str(name): cell.item() if isinstance(cell, np.generic) else cell for name, cell in row.items()} | review

    def news(self, audit_id: str) -> News | None:
        """What the audit found that the one of the same dataset before it had not; None where it is the first."""
        with self._reading(audit_id) as connection:
            before = changes.previous(connection, audit_id)
            return None if before is None else News(before, **changes.difference(connection, before, audit_id))

    def difference(self, before: str, after: str) -> dict[str, int]:
        """What the audit ``after`` has that ``before`` had not, and the reverse, by image content and given label.

        Keys: ``new_suspects`` (suspects that were none before, the image being new or not), ``gone_suspects``;
        ``new_images``, ``gone_images``, and how many of both are ``changed_images`` (the same path, another content) or
        ``relabelled_images`` (the same content, another given label); ``moved_images``, which lie at other paths and
        are otherwise the same. Copies of one picture under one label count once.
        """
        with self._reading(before, after) as connection:
            return changes.difference(connection, before, after)

    def changes(self, before: str, after: str, *, top: int | None = None) -> dict[str, pd.DataFrame]:
        """The images that :meth:`difference` counts, at most ``top`` of each kind, each in one list.

        ``new_suspects``: ``rank, path, given_label, suggested_label, suspicion, why`` of the audit ``after``, the most
        suspect first; ``why`` is ``new image``, ``relabelled``, ``changed`` or ``judged anew``. ``gone_suspects``: the
        same of ``before``, where ``why`` is ``removed``, ``relabelled``, ``changed`` or ``judged anew``, and
        ``label_now`` (of what replaced it, or is no longer suspect), ``decision, new_label`` (what stands about it).

        ``new_images`` and ``gone_images`` (``path, given_label``) are those that are neither in ``changed_images``
        (``path, given_label, old_label``) nor in ``relabelled_images`` (``path, given_label, old_path, old_label``).
        ``moved_images``: ``path, given_label, old_path``. Of copies of one picture the first path is named.
        """
        with self._reading(before, after) as connection:
            return changes.changes(connection, before, after, top=top)

    def failures(self, audit_id: str) -> pd.DataFrame:
        """The inputs that could not be used: ``path, stage, reason``, ordered by path."""
        with self._reading(audit_id) as connection:
            return findings.failures(connection, audit_id)

    def classes(self, audit_id: str) -> list[str]:
        """The dataset's classes in sorted order."""
        with self._reading(audit_id) as connection:
            return findings.classes(connection, audit_id)

    def class_pairs(self, audit_id: str) -> pd.DataFrame:
        """The (given, suggested) pairs with suspects, most expected errors first.

        Columns: ``given_label, suggested_label, suspects, class_size, share, mean_suspicion, expected, lift,
        decided``; ``decided`` counts the pair's suspects with a standing decision.
        """
        with self._reading(audit_id) as connection:
            return findings.class_pairs(connection, audit_id)

    def class_health(self, audit_id: str) -> pd.DataFrame:
        """How many labels of each class are wrong by estimate, most first, and how many suspects are decided.

        Columns: ``given_label, images, suspects, wrong, low, high, decided``; ``wrong`` is the sum of the suspicions of
        the class's images, ``low`` and ``high`` are its interval of about 95 % as in ``ranking.noise_estimate``.
        """
        with self._reading(audit_id) as connection:
            return findings.class_health(connection, audit_id)

    def kinds(self, audit_id: str) -> dict[str, int]:
        """How many suspects there are of each kind of doubt, the commonest first."""
        with self._reading(audit_id) as connection:
            return findings.kinds(connection, audit_id)

    def expected_found(self, audit_id: str, first: int) -> float:
        """Share, 0 to 1, of all expected wrong labels that is among the ``first`` most suspect images."""
        with self._reading(audit_id) as connection:
            return progress.expected_found(connection, audit_id, first)

    def pair_map(self, audit_id: str, given: str, suggested: str) -> FloatArray | None:
        """The mean map [grid height, grid width] of a pair's suspects, -1 (for ``suggested``) to 1 (for ``given``).

        Each map is divided by its largest absolute score first. Where the grids differ, those of the commonest shape
        are taken. None where no suspect of the pair was interpreted.
        """
        with self._reading(audit_id) as connection:
            return findings.pair_map(connection, audit_id, given, suggested)


class Candidates(Part):
    """The list of suspects, page by page."""

    def page(
        self, audit_id: str, *, order: str = "rank", top: int | None = None, offset: int = 0, **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """A page of suspects.

        Args:
            order: ``rank``; ``pair`` (given label, suggested label, rank); ``similar`` (cluster, rank); ``path``;
                ``decided`` (newest decision first, the undecided at the end).
            top: at most so many rows, after ``offset`` rows were passed over.
            filters: see :class:`~gradattn_core.store.candidates.Filters`.

        Returns:
            The columns of candidates.csv, then ``new_label, content_hash, width, height, is_suspect, runner_up_label,
            predicted_label, outside_label, outside_probability, runner_up_probability, kind, cluster, hidden_label,
            hidden_probability, conflict``. ``margin`` is the logit of the given label minus that of the other class, in
            the explained head; ``predicted_label`` is the class that this head names; ``cluster`` is -1 where there is
            none; ``conflict`` says that the last words of two reviewers about the image differ.
        """
        chosen = CandidateFilter(**filters)
        with self._reading(audit_id) as connection:
            return candidates.page(connection, audit_id, chosen, order=order, top=top, offset=offset)

    def count(self, audit_id: str, **filters: Unpack[Filters]) -> int:
        """How many rows :meth:`page` has for the same filters on all its pages together."""
        chosen = CandidateFilter(**filters)
        with self._reading(audit_id) as connection:
            return candidates.count(connection, audit_id, chosen)

    def one(self, audit_id: str, path: str) -> dict[str, Any] | None:
        """One image, suspect or not, as a row of :meth:`page`; None where the audit has no such image.

        ``kind_numbers``, a dict of what the kind of doubt was told from, is added; it is empty where there is no kind.
        """
        with self._reading(audit_id) as connection:
            return candidates.candidate(connection, audit_id, path)


class Images(Part):
    """Everything that is stored about single images, and where their files lie."""

    def evidence(self, audit_id: str, path: str) -> Evidence | None:
        """The stored detail interpretation of one image with its regions; None where it was not interpreted."""
        with self._reading(audit_id) as connection:
            return evidence.evidence(connection, audit_id, path)

    def evidences(self, audit_id: str, paths: Sequence[str]) -> dict[str, Evidence]:
        """The maps of many images at the price of one, by path, without their regions and without the uninterpreted."""
        with self._reading(audit_id) as connection:
            return evidence.evidences(connection, audit_id, paths)

    def prediction(self, audit_id: str, path: str) -> dict[str, Any] | None:
        """Everything stored about one image's prediction and score; None where the audit has no such image.

        Keys are the columns of ``images``, ``predictions`` and ``scores``; absent values are None, ``components`` a
        dict. ``given_probability`` is that of the ranking; the head's own comes back as ``head_given_probability``.
        """
        with self._reading(audit_id) as connection:
            return candidates.prediction(connection, audit_id, path)

    def neighbours(self, audit_id: str, path: str) -> pd.DataFrame:
        """The images that look most like a suspect, nearest first: ``position, path, given_label, similarity``.

        ``similarity`` is the cosine of the features, -1 to 1. Empty where none are stored.
        """
        with self._reading(audit_id) as connection:
            return findings.neighbours(connection, audit_id, path)

    def exemplars(self, audit_id: str, label: str) -> pd.DataFrame:
        """Sure and typical images of a class, best first: ``position, path, suspicion``."""
        with self._reading(audit_id) as connection:
            return findings.exemplars(connection, audit_id, label)

    def file(self, audit_id: str, path: str) -> Path:
        """The absolute place of an image that belongs to the audit; the file itself may have moved since.

        Raises:
            StoreError: where the audit lists no such path, the listed path leaves the dataset's root, or the image is
                no file of its own on this machine; :meth:`places` has it.
        """
        return self.files(audit_id, [path])[0]

    def files(self, audit_id: str, paths: Sequence[str]) -> list[Path]:
        """:meth:`file` for many paths at the price of one, in their order."""
        return [images.local_file(place) for place in self.places(audit_id, paths)]

    def places(self, audit_id: str, paths: Sequence[str]) -> list[images.Place]:
        """Where each image can be read, on this machine or elsewhere, in the order of ``paths``.

        Raises:
            StoreError: where the audit lists no such path, or the listed path leaves the dataset's root.
        """
        with self._reading(audit_id) as connection:
            return images.places(connection, audit_id, paths, self.directory, self.data_root)


class Decisions(Part):
    """What reviewers said: an append-only log."""

    def append(
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
        return self._append(audit_id, [path], decision, new_label, reviewer, note)[0]

    def append_many(
        self,
        audit_id: str,
        paths: Sequence[str],
        decision: str,
        *,
        new_label: str | None = None,
        reviewer: str,
        note: str = "",
    ) -> int:
        """:meth:`append` for many images in one transaction, all or none, one row each; returns how many."""
        return len(self._append(audit_id, paths, decision, new_label, reviewer, note))

    def undo(self, audit_id: str, path: str, *, reviewer: str) -> str | None:
        """Take back the decision that stands, whoever made it; the one before it stands again.

        Returns:
            The id of the undo's own row, or None where no decision stood and nothing was written.
        """
        return next(iter(self._undo(audit_id, [path], reviewer)), None)

    def undo_many(self, audit_id: str, paths: Sequence[str], *, reviewer: str) -> int:
        """:meth:`undo` for many images in one transaction; returns how many decisions were taken back."""
        return len(self._undo(audit_id, paths, reviewer))

    def page(self, *, top: int | None = None, offset: int = 0, **filters: Unpack[LogFilters]) -> pd.DataFrame:
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

    def count(self, **filters: Unpack[LogFilters]) -> int:
        """How many rows :meth:`page` has for the same filters on all its pages together."""
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

    def _append(
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


class Review(Part):
    """How far the review of an audit is, and what comes out of it."""

    def progress(self, audit_id: str) -> dict[str, Any]:
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

    def suspects(self, audit_id: str, similarity: float) -> tuple[pd.DataFrame, pd.DataFrame]:
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
        Every reader sees the new order at once; :meth:`reset` takes it back.

        Args:
            paths, suspicion: the suspects that may move, and the probability in [0, 1] that each one's label is wrong.
            decisions: how many the suspicions were learnt from.

        Raises:
            StoreError: where one of the paths is no suspect of the audit; nothing is written then.
        """
        with self._writing(audit_id) as connection:
            relearning.rerank(connection, audit_id, paths, suspicion, decisions)

    def reset(self, audit_id: str) -> bool:
        """Take back :meth:`rerank`: the audit's own ranks and suspicions. Returns whether there was one."""
        with self._writing(audit_id) as connection:
            return relearning.reset(connection, audit_id)

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


class Store(Database):
    """The database of one output folder. Holds no connection: each call is one transaction, closed when it returns.

    Frames that come back have plain columns: text (absent text is ``""``), float64 (absent numbers are NaN), int64,
    bool; times are ISO 8601 text in UTC.

    Args:
        directory: the output folder; the database in it is made by the first :meth:`prepare` or ``audits.merge``.
        patience: seconds a call waits while other threads or processes hold the database.
        read_only: refuse everything that writes.
        data_root: where the images are now, if not below the root that their audit stored (default: the environment
            variable ``GRADATTN_DATA_ROOT``, if it is set).

    Attributes:
        audits, candidates, images, decisions, review: what can be asked and written, by subject.

    Every method raises :class:`StoreError` where the database is absent, unusable, of a newer schema, or locked for
    longer than ``patience``, and where ``audit_id`` is not in it.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        patience: float = 30.0,
        read_only: bool = False,
        data_root: Path | str | None = None,
    ) -> None:
        super().__init__(directory, patience=patience, read_only=read_only, data_root=data_root)
        self.audits = Audits(self)
        self.candidates = Candidates(self)
        self.images = Images(self)
        self.decisions = Decisions(self)
        self.review = Review(self)
