"""The store: all finished audits and decisions in one DuckDB file, shared by audit, command line and page."""

from __future__ import annotations

from pathlib import Path

from gradattn_core.store.audits import Audits
from gradattn_core.store.candidates import Candidates
from gradattn_core.store.chances import Proposals
from gradattn_core.store.claims import Claims
from gradattn_core.store.database import Database
from gradattn_core.store.decisions import Decisions
from gradattn_core.store.draws import Draws
from gradattn_core.store.embeddings import Embeddings
from gradattn_core.store.images import Images
from gradattn_core.store.kept import FinishedMarks, Selections, Tags, Views
from gradattn_core.store.review import Review
from gradattn_core.store.showing import Showing
from gradattn_core.store.tally import Tallies


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
        audits: what can be asked and written of audits; so do ``candidates``, ``claims``, ``decisions``, ``draws``,
            ``embeddings``, ``finished``, ``images``, ``proposals``, ``review``, ``selections``, ``showing``, ``tags``,
            ``tally`` and ``views`` of theirs.

    Every method raises :class:`~gradattn_core.errors.StoreError` where the database is absent, unusable, of a newer
    schema, or locked for longer than ``patience``, and where ``audit_id`` is not in it.
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
        self.proposals = Proposals(self)
        self.draws = Draws(self)
        self.images = Images(self)
        self.embeddings = Embeddings(self)
        self.decisions = Decisions(self)
        self.claims = Claims(self)
        self.review = Review(self)
        self.showing = Showing(self)
        self.tags = Tags(self)
        self.views = Views(self)
        self.selections = Selections(self)
        self.finished = FinishedMarks(self)
        self.tally = Tallies(self)
