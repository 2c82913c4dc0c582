"""Decisions that come from elsewhere than the page: each is kept once, and either all of a file's or none.

Nobody who edits a file sees what others decide meanwhile. A row that only repeats what its reviewer once said is
therefore no new word, however old the file is; any other one is. Where it differs from what another reviewer said last,
both stay, and there is a conflict as on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import duckdb

from gradattn_core.dataset.labels import spelling
from gradattn_core.dataset.text import did_you_mean, is_text, shown
from gradattn_core.errors import StoreError
from gradattn_core.store import images
from gradattn_core.store.database import Part
from gradattn_core.store.images import ListedImage
from gradattn_core.store.log import DECISIONS, Decision, Entry, Key, Row, entry_of, insert, stacks_about

_MEANT = {
    **dict.fromkeys(("ok", "okay", "right", "correct", "confirm", "yes"), "keep"),
    **dict.fromkeys(("change", "fix", "wrong", "no", "correct to", "rename"), "relabel:CLASS"),
    **dict.fromkeys(("delete", "drop", "exclude", "reject"), "remove"),
    **dict.fromkeys(("skip", "?", "maybe", "unknown", "not sure"), "unsure"),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says about one image.

    Attributes:
        where: the place in the file, as ``row 7``.
        path: as the audit lists it.
        decision: of :data:`gradattn_core.store.log.DECISIONS`, as it stands there.
        new_label: for ``relabel``.
        reviewer: whom the file names for it; ``""`` for nobody.
        note: None where the file has no notes.
        given_label: what the file says the label is; None where it does not.
    """

    where: str
    path: str
    decision: str
    new_label: str = ""
    reviewer: str = ""
    note: str | None = None
    given_label: str | None = None


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What became of claims.

    Attributes:
        stored: how many were new; ``known`` were said before.
        differing: paths of the stored ones about which another reviewer's last word says something else.
    """

    stored: int
    known: int
    differing: tuple[str, ...]


class Claims(Part):
    """What files and commands say of images."""

    def take_over(
        self,
        audit_id: str,
        claims: Sequence[Claim],
        *,
        reviewer: str | None = None,
        new_classes: bool = False,
        dry_run: bool = False,
    ) -> TakenOver:
        """Store what is new among the claims, in their order, in one transaction; one undo on the page takes it back.

        Args:
            reviewer: who says all of it that is new; None: whom each claim names.
            new_classes: take labels that the dataset does not have.
            dry_run: only check and count.

        Raises:
            StoreError: where a claim is unusable; the first is named by its place, and nothing is stored.
        """
        with self._reading(audit_id) if dry_run else self._writing(audit_id) as connection:
            for claim in claims:
                if not is_text(
                    "".join((claim.path, claim.new_label, claim.reviewer, claim.note or "", reviewer or ""))
                ):
                    raise StoreError(f"{claim.where} holds half a character, which cannot be stored")
            listed = images.find(connection, audit_id, [claim.path for claim in claims])
            stacks = stacks_about(connection, [image.key for image in listed.values()])
            [(classes,)] = connection.execute("SELECT classes FROM audits WHERE audit_id = ?", [audit_id]).fetchall()
            used = connection.execute("SELECT DISTINCT new_label FROM decisions WHERE new_label IS NOT NULL").fetchall()
            labels = {*classes, *(label for (label,) in used)}
            batch, rows, known, differing = str(uuid4()), list[Row](), 0, list[str]()
            said: dict[tuple[Key, str], tuple[str, str, str]] = {}
            for claim in claims:
                image = listed.get(claim.path)
                if image is None:
                    near = did_you_mean(claim.path, _paths_like(connection, audit_id, claim.path))
                    raise StoreError(f"{claim.where}: audit {audit_id} has no image {shown(claim.path)}.{near}")
                word = _checked(claim, image, reviewer, labels, new_classes)
                stack = stacks[image.key]
                if claim.reviewer and any(
                    _says(entry, claim, word) for entry in stack.log if entry.reviewer == claim.reviewer
                ):
                    known += 1
                    continue
                before = said.setdefault((image.key, word.reviewer), (claim.where, *_words(word)))
                if before[1:] != _words(word):
                    raise StoreError(
                        f"{claim.where} contradicts {before[0]}: both are about one picture under the label "
                        f"{shown(image.given_label)}; leave one of them"
                    )
                own = next((entry for entry in reversed(stack.words) if entry.reviewer == word.reviewer), None)
                if own is not None and _says(own, claim, word):
                    known += 1
                    continue
                row = Row(claim.path, image.key, image.rank, word, str(uuid4()), batch=batch)
                rows.append(row)
                stack.add(entry_of(row))
                if any(entry.reviewer != word.reviewer for entry in stack.dispute):
                    differing.append(claim.path)
            if rows and not dry_run:
                insert(connection, audit_id, rows)
        return TakenOver(len(rows), known, tuple(differing))


def _paths_like(connection: duckdb.DuckDBPyConnection, audit_id: str, path: str) -> list[str]:
    """Paths of the audit whose last name is that of this one."""
    found = connection.execute(
        "SELECT path FROM images WHERE audit_id = ? AND suffix(path, ?) ORDER BY path LIMIT 100",
        [audit_id, path.replace("\\", "/").rsplit("/", 1)[-1]],
    ).fetchall()
    return [each for (each,) in found]


def _checked(claim: Claim, image: ListedImage, reviewer: str | None, labels: set[str], new_classes: bool) -> Decision:
    """The claim as a decision.

    Raises:
        StoreError: where it cannot be one.
    """
    where, decision, new = claim.where, claim.decision.strip().lower(), claim.new_label
    if new not in labels and new.strip() in labels:
        # `relabel: owl`, as people write it.
        new = new.strip()
    if claim.given_label is not None and claim.given_label != image.given_label:
        raise StoreError(
            f"{where}: {shown(claim.path)} has the label {shown(image.given_label)} here, not "
            f"{shown(claim.given_label)}; the file is of another state of the dataset"
        )
    if decision not in DECISIONS:
        meant = _MEANT.get(decision)
        guess = f" Did you mean {meant}?" if meant else did_you_mean(decision, DECISIONS)
        raise StoreError(
            f"{where}: {shown(claim.decision)} is no decision; write keep, relabel:CLASS, remove or unsure.{guess}"
        )
    if decision == "relabel" and not new:
        raise StoreError(f"{where}: relabel needs the new label; write relabel:CLASS")
    if decision != "relabel" and new:
        raise StoreError(f"{where}: a new label needs the decision relabel beside it, not {decision}")
    if new == image.given_label:
        raise StoreError(f"{where}: {shown(claim.path)} has the label {shown(new)} already; keep says that it is right")
    if new and new not in labels:
        same = next((label for label in sorted(labels) if spelling(label) == spelling(new)), None)
        if same is not None:
            raise StoreError(f"{where}: the class {shown(new)} is written {shown(same)} in this dataset")
        if not new_classes:
            raise StoreError(
                f"{where}: the dataset has no class {shown(new)}; --new-classes takes it as a new one."
                f"{did_you_mean(new, sorted(labels))}"
            )
    author = claim.reviewer if reviewer is None else reviewer
    if not author.strip():
        raise StoreError(f"{where} names nobody as its reviewer; --reviewer NAME says whose decisions these are")
    return Decision(decision, author, new or None, claim.note or "")


def _words(word: Decision) -> tuple[str, str]:
    return word.decision, word.new_label or ""


def _says(entry: Entry, claim: Claim, word: Decision) -> bool:
    """Whether an entry of the log says what a claim says, its note included where it has one."""
    return (entry.decision, entry.new_label) == _words(word) and claim.note in (None, "", entry.note)
