"""What audits found, as it lies in the database: the half of the store that only a finished audit changes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.records import Evidence, FloatArray, News
from gradattn_core.store import candidates, changes, evidence, findings, images, merge, progress
from gradattn_core.store.candidates import CandidateFilter, Filters
from gradattn_core.store.database import Database
from gradattn_core.store.rows import value

DATA_ROOT = "GRADATTN_DATA_ROOT"


class Audits(Database):
    """Finished audits; see ``Store``, which adds the review."""

    def __init__(
        self,
        directory: Path | str,
        *,
        patience: float = 30.0,
        read_only: bool = False,
        data_root: Path | str | None = None,
    ) -> None:
        super().__init__(directory, patience=patience, read_only=read_only)
        root = data_root or os.environ.get(DATA_ROOT)
        self.data_root = Path(root).absolute() if root else None

    def merge(self, audit: Mapping[str, Any], tables: Mapping[str, merge.Source]) -> None:
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
        merge.check_sources(tables)
        with self._writing() as connection:
            merge.merge(connection, audit, tables)

    def audits(self) -> pd.DataFrame:
        """One row per audit, newest first; ``parameters`` and ``versions`` as JSON text, ``warnings`` as lists."""
        with self._reading() as connection:
            return findings.audits(connection)

    def latest_audit_id(self) -> str:
        """The audit that finished last.

        Raises:
            StoreError: where no audit has finished yet.
        """
        finished = self.audits()["audit_id"]
        if finished.empty:
            raise StoreError(
                f"no audit has finished in {self.directory} yet; "
                f"`gradattn audit DATASET --out {self.directory}` makes one"
            )
        return str(finished[0])

    def candidates(
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

    def count_candidates(self, audit_id: str, **filters: Unpack[Filters]) -> int:
        """How many rows :meth:`candidates` has for the same filters on all its pages together."""
        chosen = CandidateFilter(**filters)
        with self._reading(audit_id) as connection:
            return candidates.count(connection, audit_id, chosen)

    def candidate(self, audit_id: str, path: str) -> dict[str, Any] | None:
        """One image, suspect or not, as a row of :meth:`candidates`; None where the audit has no such image.

        ``kind_numbers``, a dict of what the kind of doubt was told from, is added; it is empty where there is no kind.
        """
        with self._reading(audit_id) as connection:
            return candidates.candidate(connection, audit_id, path)

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

    def pair_map(self, audit_id: str, given: str, suggested: str) -> FloatArray | None:
        """The mean map [grid height, grid width] of a pair's suspects, -1 (for ``suggested``) to 1 (for ``given``).

        Each map is divided by its largest absolute score first. Where the grids differ, those of the commonest shape
        are taken. None where no suspect of the pair was interpreted.
        """
        with self._reading(audit_id) as connection:
            return findings.pair_map(connection, audit_id, given, suggested)

    def failures(self, audit_id: str) -> pd.DataFrame:
        """The inputs that could not be used: ``path, stage, reason``, ordered by path."""
        with self._reading(audit_id) as connection:
            return findings.failures(connection, audit_id)

    def classes(self, audit_id: str) -> list[str]:
        """The dataset's classes in sorted order."""
        with self._reading(audit_id) as connection:
            return findings.classes(connection, audit_id)

    def expected_found(self, audit_id: str, first: int) -> float:
        """Share, 0 to 1, of all expected wrong labels that is among the ``first`` most suspect images."""
        with self._reading(audit_id) as connection:
            return progress.expected_found(connection, audit_id, first)

    def previous_audit_id(self, audit_id: str) -> str:
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

    def image_file(self, audit_id: str, path: str) -> Path:
        """The absolute place of an image that belongs to the audit; the file itself may have moved since.

        Raises:
            StoreError: where the audit lists no such path, the listed path leaves the dataset's root, or the image is
                no file of its own on this machine; :meth:`image_places` has it.
        """
        return self.image_files(audit_id, [path])[0]

    def image_files(self, audit_id: str, paths: Sequence[str]) -> list[Path]:
        """:meth:`image_file` for many paths at the price of one, in their order."""
        return [images.local_file(place) for place in self.image_places(audit_id, paths)]

    def image_places(self, audit_id: str, paths: Sequence[str]) -> list[images.Place]:
        """Where each image can be read, on this machine or elsewhere, in the order of ``paths``.

        Raises:
            StoreError: where the audit lists no such path, or the listed path leaves the dataset's root.
        """
        with self._reading(audit_id) as connection:
            return images.places(connection, audit_id, paths, self.directory, self.data_root)
