"""What people keep beside their decisions: tags of pictures, named views, selections, and what they call finished."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.store.choice import selected
from gradattn_core.store.database import TIME, Part, value
from gradattn_core.store.log import Key, about, find_all

LONGEST = 80
"""Characters of a tag and of a view's name, at most."""
LONGEST_QUERY = 10_000
"""Characters of what follows a view's address, at most."""


@dataclass(frozen=True, slots=True)
class View:
    """A list of a page under a name: ``query`` is what follows its address."""

    page: str
    name: str
    query: str
    reviewer: str
    saved_at: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A class that somebody called finished, or of it the pictures that look like another: ``""`` for all."""

    given_label: str
    suggested_label: str
    reviewer: str
    finished_at: str


class Tags(Part):
    """Words that people give to pictures: as decisions they hold for all images of that content and given label."""

    def change(
        self, audit_id: str, paths: Sequence[str], *, add: Iterable[str] = (), remove: Iterable[str] = (), reviewer: str
    ) -> dict[str, list[str]]:
        """Give tags to images and take tags away, in one transaction; returns the tags that each has then.

        Doing it again changes nothing. White space around a tag is no part of it.

        Raises:
            StoreError: for an empty or long tag, a nameless reviewer or an image that the audit lacks; nothing is
                changed then.
        """
        added, removed = [_named("tag", tag) for tag in add], [_named("tag", tag) for tag in remove]
        with self._writing(audit_id) as connection:
            listed = find_all(connection, audit_id, paths)
            keys = {
                "contents": [image.content_hash for image in listed.values()],
                "labels": [image.given_label for image in listed.values()],
            }
            pictures = """(SELECT DISTINCT unnest(CAST($contents AS TEXT[])) AS content_hash,
                unnest(CAST($labels AS TEXT[])) AS given_label)"""
            connection.execute(
                f"""DELETE FROM tags USING {pictures} p WHERE tags.content_hash = p.content_hash
                    AND tags.given_label = p.given_label AND list_contains(CAST($removed AS TEXT[]), tag)""",
                keys | {"removed": removed},
            )
            connection.execute(
                f"""INSERT INTO tags BY NAME SELECT DISTINCT p.*, t.tag, $reviewer AS reviewer, $now AS tagged_at
                    FROM {pictures} p, (SELECT unnest(CAST($added AS TEXT[])) AS tag) t
                    ANTI JOIN tags old ON old.content_hash = p.content_hash AND old.given_label = p.given_label
                        AND old.tag = t.tag""",
                keys | {"added": added, "reviewer": _author(reviewer), "now": datetime.now(UTC)},
            )
            tags = tags_of(connection, keys["contents"])
        return {path: tags.get(image.key, []) for path, image in listed.items()}

    def counts(self, audit_id: str) -> dict[str, int]:
        """Every tag, in sorted order, with how many images of the audit have it: 0 where only others do."""
        with self._reading(audit_id) as connection:
            found = connection.execute(
                """SELECT tag, count(i.path) FROM tags t LEFT JOIN images i ON i.audit_id = ?
                       AND i.content_hash = t.content_hash AND i.given_label = t.given_label
                   GROUP BY tag ORDER BY tag""",
                [audit_id],
            )
            return dict(found.fetchall())

    def page(self, audit_id: str) -> pd.DataFrame:
        """Every tag of every image of the audit: ``path, given_label, tag, reviewer, tagged_at``, by path and tag."""
        with self._reading(audit_id) as connection:
            return connection.execute(
                f"""SELECT i.path, i.given_label, t.tag, t.reviewer, {TIME.format("tagged_at")}
                    FROM images i JOIN tags t USING (content_hash, given_label)
                    WHERE i.audit_id = ? ORDER BY i.path, t.tag""",
                [audit_id],
            ).df()


class Views(Part):
    """Lists under a name, for everybody."""

    def save(self, page: str, name: str, query: str, *, reviewer: str) -> None:
        """Keep a view; what the reviewer kept under the same name on the same page is replaced.

        Raises:
            StoreError: for an empty or long name, a query beyond ``LONGEST_QUERY`` or a nameless reviewer.
        """
        if len(query) > LONGEST_QUERY:
            raise StoreError(f"a view of more than {LONGEST_QUERY:,} characters cannot be saved; filter by less")
        view = {"page": page, "name": _named("view", name), "reviewer": _author(reviewer)}
        with self._writing() as connection:
            connection.execute(_REMOVE_VIEW, view)
            connection.execute(
                "INSERT INTO saved_views BY NAME SELECT $page AS page, $name AS name, $query AS query, "
                "$reviewer AS reviewer, $now AS saved_at",
                view | {"query": query, "now": datetime.now(UTC)},
            )

    def remove(self, page: str, name: str, *, reviewer: str) -> bool:
        """Take a reviewer's view away; returns whether there was one."""
        with self._writing() as connection:
            view = {"page": page, "name": name.strip(), "reviewer": reviewer}
            return bool(connection.execute(f"{_REMOVE_VIEW} RETURNING name", view).fetchall())

    def all(self, page: str | None = None) -> tuple[View, ...]:
        """The views of a page, or of all, by name."""
        with self._reading() as connection:
            found = connection.execute(
                f"""SELECT page, name, query, reviewer, {TIME.format("saved_at")} FROM saved_views
                    WHERE $page IS NULL OR page = $page ORDER BY lower(name), name, reviewer, page""",
                {"page": page},
            )
            return tuple(View(*each) for each in found.fetchall())


class Selections(Part):
    """Pictures of an audit that somebody chose, under an id that an address can bear."""

    def keep(self, audit_id: str, paths: Iterable[str], *, reviewer: str) -> str:
        """Keep a selection; returns its id, the same for the same images in whatever order.

        Raises:
            StoreError: for an image that the audit lacks, or none at all.
        """
        chosen = sorted(set(paths))
        if not chosen:
            raise StoreError("a selection of no pictures cannot be kept")
        selection = hashlib.blake2b("\0".join(chosen).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        with self._writing(audit_id) as connection:
            find_all(connection, audit_id, chosen)
            same = "audit_id = ? AND selection_id = ?"
            if not value(connection.execute(f"SELECT count(*) FROM selections WHERE {same}", [audit_id, selection])):
                connection.execute(
                    "INSERT INTO selections BY NAME SELECT $audit_id AS audit_id, $selection AS selection_id, "
                    "CAST($paths AS TEXT[]) AS paths, $reviewer AS reviewer, $now AS selected_at",
                    {"audit_id": audit_id, "selection": selection, "paths": chosen}
                    | {"reviewer": _author(reviewer), "now": datetime.now(UTC)},
                )
        return selection

    def paths(self, audit_id: str, selection: str) -> list[str]:
        """The images of a selection, in sorted order.

        Raises:
            StoreError: where it is not kept.
        """
        with self._reading(audit_id) as connection:
            return list(selected(connection, audit_id, selection))


class FinishedMarks(Part):
    """What people called finished: classes of the dataset, whichever audit lists them, as long as its root stays."""

    def mark(self, audit_id: str, given: str, suggested: str = "", *, reviewer: str) -> None:
        """Call a class finished, or of it the pictures that look like ``suggested``; the newest word counts."""
        with self._writing(audit_id) as connection:
            what = _finished(connection, audit_id, given, suggested)
            connection.execute(_REMOVE_MARK, what)
            connection.execute(
                "INSERT INTO finished BY NAME SELECT $root AS root, $given AS given_label, "
                "nullif($suggested, '') AS suggested_label, $reviewer AS reviewer, $now AS finished_at",
                what | {"reviewer": _author(reviewer), "now": datetime.now(UTC)},
            )

    def take_back(self, audit_id: str, given: str, suggested: str = "") -> bool:
        """It is not finished after all; returns whether it had been called so."""
        with self._writing(audit_id) as connection:
            what = _finished(connection, audit_id, given, suggested)
            return bool(connection.execute(f"{_REMOVE_MARK} RETURNING root", what).fetchall())

    def all(self, audit_id: str) -> tuple[Finished, ...]:
        """What is called finished of the audit's dataset, by label."""
        with self._reading(audit_id) as connection:
            found = connection.execute(
                f"""SELECT given_label, coalesce(suggested_label, '') AS suggested, reviewer,
                        {TIME.format("finished_at")}
                    FROM finished WHERE root = (SELECT root FROM audits WHERE audit_id = ?)
                    ORDER BY given_label, suggested""",
                [audit_id],
            )
            return tuple(Finished(*each) for each in found.fetchall())


def tags_of(connection: duckdb.DuckDBPyConnection, contents: Sequence[str]) -> dict[Key, list[str]]:
    """The tags of images with these contents, in sorted order; keys without tags are absent, others may be there."""
    if not value(connection.execute("SELECT count(*) FROM tags")):
        return {}
    few, of_few = about(contents)
    found = connection.execute(
        f"""SELECT content_hash, given_label, list(tag ORDER BY tag) FROM tags WHERE {few}
            GROUP BY content_hash, given_label""",
        of_few,
    )
    return {(content_hash, label): tags for content_hash, label, tags in found.fetchall()}


_REMOVE_VIEW = "DELETE FROM saved_views WHERE page = $page AND name = $name AND reviewer = $reviewer"
_REMOVE_MARK = """DELETE FROM finished WHERE root = $root AND given_label = $given
    AND coalesce(suggested_label, '') = $suggested"""


def _finished(connection: duckdb.DuckDBPyConnection, audit_id: str, given: str, suggested: str) -> dict[str, str]:
    root, classes = connection.execute("SELECT root, classes FROM audits WHERE audit_id = ?", [audit_id]).fetchall()[0]
    if given not in classes:
        raise StoreError(f"the dataset has no class {given!r}")
    return {"root": root, "given": given, "suggested": suggested}


def _named(what: str, name: str) -> str:
    """Raises:
    StoreError: where the name is empty or long.
    """
    if not name.strip():
        raise StoreError(f"a {what} needs a name")
    if len(name.strip()) > LONGEST:
        raise StoreError(f"the name of a {what} has at most {LONGEST} characters")
    return name.strip()


def _author(reviewer: str) -> str:
    if not reviewer.strip():
        raise StoreError("what is kept needs the name of who keeps it")
    return reviewer
