"""What an audit found, in a program's hands: frames, pictures, decisions, and the labels that hold then."""

from __future__ import annotations

import getpass
import html
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.export import update_candidates
from gradattn_core.notebook.live import with_index
from gradattn_core.notebook.showcase import Showcase, showcase
from gradattn_core.records import AuditSummary
from gradattn_core.store.store import Store

_COLUMNS = ("rank", "path", "given_label", "suggested_label", "suspicion", "kind", "decision", "new_label", "reviewer")


@dataclass(frozen=True)
class AuditResult:
    """A finished audit. It lies in its output folder: frames are read anew whenever they are asked for.

    Attributes:
        summary: counts, estimate, worst pairs and warnings.
        out: the output folder, which ``gradattn ui --out`` opens as a page.
    """

    summary: AuditSummary
    out: str

    @property
    def audit_id(self) -> str:
        """Its name in the output folder."""
        return self.summary.audit_id

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know about how it was made, a sentence each."""
        return self.summary.warnings

    @property
    def store(self) -> Store:
        """The database, for every question that a frame does not answer."""
        return Store(Path(self.out))

    @property
    def candidates(self) -> pd.DataFrame:
        """The suspects, the most suspect first: ``rank, path, given_label, suggested_label, suspicion, kind``, what was
        decided about each, and of a dataset in memory ``index`` (and ``id``); ``suspicion`` is the probability that the
        label is wrong, in [0, 1]."""
        return with_index(self._page(None)[list(_COLUMNS)], self._dataset)

    @property
    def images(self) -> pd.DataFrame:
        """The same of every image that was judged."""
        return with_index(self._page(0.0)[list(_COLUMNS)], self._dataset)

    @property
    def class_pairs(self) -> pd.DataFrame:
        """Which classes are taken for which: ``given_label, suggested_label, suspects, class_size, share …``."""
        return self.store.audits.class_pairs(self.audit_id)

    def show(self, first: int = 5, *, paths: list[str] | None = None) -> Showcase:
        """Suspects as a notebook shows them: picture, map, and the sentence that the page says of each.

        Args:
            first: so many, from the most suspect one.
            paths: these instead, in this order.

        Raises:
            StoreError: an image is none of the audit's.
        """
        page = self._page(None).head(max(first, 0)) if paths is None else self._page(0.0)
        if paths is not None:
            strange = [path for path in paths if path not in set(page["path"])]
            if strange:
                raise StoreError(f"{strange[0]!r} is no image of this audit; its images are in result.images")
            page = page.set_index("path", drop=False).loc[paths]
        return showcase(self.store, self.audit_id, page)

    def decide(
        self, path: str, decision: str, label: str | None = None, *, reviewer: str | None = None, note: str = ""
    ) -> None:
        """Say what is right, as on the page: it is kept there, in ``candidates.csv``, and by later audits.

        Args:
            path: of the image.
            decision: ``keep`` (the label is right), ``relabel``, ``remove`` or ``unsure``.
            label: the right class, with ``relabel``.
            reviewer: your login name by default.

        Raises:
            StoreError: there is no such image, or the decision cannot be.
        """
        name = reviewer or _login()
        self.store.decisions.append(self.audit_id, path, decision, new_label=label, reviewer=name, note=note)
        update_candidates(self.store, self.audit_id)

    def relabelled(self, min_suspicion: float | None = None) -> pd.DataFrame:
        """Every judged image with the label that now holds: ``path, given_label, label``; removed ones are left out.

        Args:
            min_suspicion: images of at least this suspicion that nobody has decided about get the class that is
                suggested, unreviewed; by default only decisions change labels.
        """
        frame = self.store.review.corrections(self.audit_id, everything=True)
        if min_suspicion is not None:
            if not 0 <= min_suspicion <= 1:
                raise StoreError(f"min_suspicion {min_suspicion} is no probability; give one between 0 and 1")
            page = self._page(min_suspicion)
            suggested = dict(zip(page["path"], page["suggested_label"], strict=True))
            taken = [
                suggested.get(path) or label if decision == "" else label
                for path, decision, label in zip(frame["path"], frame["decision"], frame["label"], strict=True)
            ]
            frame = frame.assign(label=taken)
        frame = frame[frame["decision"] != "remove"]
        return with_index(frame[["path", "given_label", "label"]].reset_index(drop=True), self._dataset)

    @property
    def _dataset(self) -> Path:
        return Path(self.store.audits.one(self.audit_id).dataset)

    def _page(self, min_suspicion: float | None) -> pd.DataFrame:
        if min_suspicion is None:
            return self.store.candidates.page(self.audit_id)
        return self.store.candidates.page(self.audit_id, min_suspicion=min_suspicion)

    def _sentences(self) -> list[str]:
        found = self.summary
        believed = round(found.estimated_errors)
        return [
            f"{found.images:,} images, {found.suspects:,} suspects, about {believed:,} wrong labels believed",
            *found.warnings,
        ]

    @property
    def _place(self) -> str:
        """Where it lies, from here on where that is below."""
        out, here = Path(self.out), Path.cwd()
        return f"{self.audit_id} in {out.relative_to(here) if out.is_relative_to(here) else out}"

    def __repr__(self) -> str:
        return "\n".join([f"AuditResult {self._place}", *self._sentences()])

    def _repr_html_(self) -> str:
        first, *others = self._sentences()
        notes = "".join(f"<li>{html.escape(each)}</li>" for each in others)
        place = html.escape(self._place)
        return f"<div><b>{html.escape(first)}</b> <small>{place}</small><ul>{notes}</ul></div>"


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "notebook"
