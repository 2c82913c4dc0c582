"""All that is stored about a stretch of a list, at the price of one picture: maps, similar pictures, what was said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from gradattn_core.errors import StoreError
from gradattn_core.evidence import from_rows
from gradattn_core.records import Box, Evidence
from gradattn_core.store import images
from gradattn_core.store.database import PATHS, Part, rows
from gradattn_core.store.images import Place
from gradattn_core.store.kept import tags_of
from gradattn_core.store.log import Entry, Key, Stack, stacks_about

_RANKS = "(SELECT unnest(CAST($ranks AS BIGINT[])))"


@dataclass(frozen=True, slots=True)
class Near:
    """One of the most similar pictures: where it is, what it is filed as, and what stands about it.

    Attributes:
        decision, new_label: that stand, ``""`` for nothing.
        similarity: cosine of the features, -1 to 1.
    """

    path: str
    content_hash: str
    given_label: str
    similarity: float
    is_suspect: bool
    decision: str = ""
    new_label: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """An exact copy of a picture, what it is filed as, and the newest entry of the log about it, ``""`` for none."""

    path: str
    given_label: str
    seen: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is stored about one picture beside its row of the list.

    Attributes:
        evidence: its map with its regions; None where it was not interpreted, and ``no_map`` says why if that is known.
        kind_numbers: what its kind of doubt was told from.
        head: probabilities of the explained head, of its likeliest classes and of the given one.
        near: the most similar pictures, nearest first.
        stands: the decision that stands; ``seen``: id of the newest entry of the log, ``""`` for none.
        dispute: the last words of reviewers who differ, newest first; empty where they do not.
        tags: in sorted order.
        mixed: how many suspects are filed as its label and look like its suggested one, and the other way round.
        filed: the labels of all copies of the picture, its own first; empty where none is filed under another.
        copies: the picture's other exact copies, where one of all is filed under another label; by path.
        place: where it can be read; None where its path leads out of the dataset.
    """

    evidence: Evidence | None
    no_map: str
    kind_numbers: Mapping[str, float]
    head: Mapping[str, float]
    near: tuple[Near, ...]
    stands: Entry | None
    seen: str
    dispute: tuple[Entry, ...]
    tags: tuple[str, ...]
    mixed: tuple[int, int]
    filed: tuple[str, ...]
    copies: tuple[Copy, ...]
    place: Place | None


class Showing(Part):
    """What is shown of pictures beside their rows."""

    def surroundings(self, audit_id: str, paths: Sequence[str], ranks: Sequence[int] = ()) -> dict[str, Surroundings]:
        """Everything about these images of the audit, by path; a path that the audit did not rank is absent.

        Args:
            ranks: of the images, as far as they are known: they are found sooner.
        """
        with self._reading(audit_id) as connection:
            found = images.find(connection, audit_id, paths, ranks)
            listed = {path: image for path, image in found.items() if image.rank}
            asked = {"audit_id": audit_id, "ranks": [image.rank for image in listed.values()]}
            folder = images.seen_in(connection, audit_id, self.directory, self.data_root)
            maps, reasons = _maps(connection, asked), _reasons(connection, audit_id, list(listed))
            near, head = _near(connection, audit_id, asked), _head(connection, asked)
            told = connection.execute(
                f"""SELECT path, kind_numbers, suggested_label FROM scores
                    WHERE audit_id = $audit_id AND rank IN {_RANKS}""",
                asked,
            ).fetchall()
            scores = {path: facts for path, *facts in told}
            # To look for copies costs as much as all else, and the audit knows which pictures have some.
            wanted = {listed[path].content_hash for path, facts in scores.items() if (facts[0] or {}).get("identical")}
            filed = _filed(connection, audit_id, sorted(wanted)) if wanted else {}
            others = {(each.content_hash, each.given_label) for some in near.values() for each in some}
            others |= {(content, label) for content, copies in filed.items() for _, label in copies}
            said = stacks_about(connection, others.union(image.key for image in listed.values()))
            mixed = _mixed(connection, audit_id, {image.given_label for image in listed.values()})
            tags = tags_of(connection, [image.content_hash for image in listed.values()])
        result = {}
        for path, image in listed.items():
            stack = said[image.key]
            numbers, other = scores[path]
            copies = filed.get(image.content_hash, ())
            result[path] = Surroundings(
                evidence=maps.get(path),
                no_map=reasons.get(path, ""),
                kind_numbers=numbers or {},
                head=head.get(path, {}),
                near=tuple(_said_of(each, said) for each in near.get(path, ())),
                stands=stack.stands,
                seen=_newest(stack),
                dispute=stack.dispute,
                tags=tuple(tags.get(image.key, ())),
                mixed=(mixed.get((image.given_label, other), 0), mixed.get((other, image.given_label), 0)),
                filed=_first(image.given_label, [label for _, label in copies]),
                copies=tuple(
                    Copy(copy, label, _newest(said[image.content_hash, label]))
                    for copy, label in copies
                    if copy != path
                ),
                place=_place(folder, path, image),
            )
        return result

    def strongest(self, audit_id: str, paths: Sequence[str]) -> dict[str, list[tuple[int, Box]]]:
        """Of each image with a map, the strongest region of either sign, as (sign, box).

        Signs as in ``regions``: 1 speaks for the given label, -1 for the other class; boxes in pixels of the upright
        original. An image without a region is absent.
        """
        with self._reading(audit_id) as connection:
            ranks = [image.rank for image in images.find(connection, audit_id, paths).values()]
            found = connection.execute(
                f"""SELECT path, sign, box_left, box_top, box_right, box_bottom FROM regions
                    WHERE audit_id = $audit_id AND rank = 1 AND image_rank IN {_RANKS} ORDER BY path, sign DESC""",
                {"audit_id": audit_id, "ranks": ranks},
            ).fetchall()
        strongest: dict[str, list[tuple[int, Box]]] = defaultdict(list)
        for path, sign, *box in found:
            strongest[path].append((sign, Box(*box)))
        return dict(strongest)

    def exemplars(self, audit_id: str, most: int) -> dict[str, list[tuple[str, str]]]:
        """(path, content hash) of sure and typical images by class, best first and so many at most; they never change.

        A class without any is absent. Those of all classes take no longer than those of one.
        """
        with self._reading(audit_id) as connection:
            found = connection.execute(
                """SELECT e.label, e.path, i.content_hash
                   FROM exemplars e JOIN images i ON i.audit_id = $audit_id AND i.path = e.path
                   WHERE e.audit_id = $audit_id AND e.position <= $most ORDER BY e.label, e.position""",
                {"audit_id": audit_id, "most": most},
            ).fetchall()
        typical: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for label, path, content_hash in found:
            typical[label].append((path, content_hash))
        return dict(typical)

    def class_sizes(self, audit_id: str) -> dict[str, int]:
        """How many pictures are filed under each label; they never change."""
        with self._reading(audit_id) as connection:
            return dict(
                connection.execute(
                    "SELECT given_label, count(*) FROM images WHERE audit_id = ? GROUP BY ALL", [audit_id]
                ).fetchall()
            )


def _maps(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, object]) -> dict[str, Evidence]:
    where = f"WHERE audit_id = $audit_id AND image_rank IN {_RANKS}"
    regions = defaultdict(list)
    for region in rows(connection.execute(f"SELECT * FROM regions {where} ORDER BY sign DESC, rank", asked)):
        regions[region["path"]].append(region)
    maps = rows(connection.execute(f"SELECT * FROM interpretations {where}", asked))
    return {row["path"]: from_rows(row, regions[row["path"]]) for row in maps}


def _reasons(connection: duckdb.DuckDBPyConnection, audit_id: str, paths: list[str]) -> dict[str, str]:
    """Why there is no map."""
    return dict(
        connection.execute(
            f"SELECT path, reason FROM failures WHERE audit_id = ? AND stage = 'interpret' AND path IN {PATHS}",
            [audit_id, paths],
        ).fetchall()
    )


def _near(connection: duckdb.DuckDBPyConnection, audit_id: str, asked: Mapping[str, object]) -> dict[str, list[Near]]:
    found = connection.execute(
        f"""SELECT path, neighbour_path, similarity FROM neighbours
            WHERE audit_id = $audit_id AND image_rank IN {_RANKS} ORDER BY path, position""",
        asked,
    ).fetchall()
    listed = images.find(connection, audit_id, [path for _, path, _ in found])
    ranks = [image.rank for image in listed.values()]
    doubtful = connection.execute(
        f"SELECT rank FROM scores WHERE audit_id = $audit_id AND rank IN {_RANKS} AND is_suspect",
        {"audit_id": audit_id, "ranks": ranks},
    ).fetchall()
    suspects = {rank for (rank,) in doubtful}
    near = defaultdict(list)
    for path, other, similarity in found:
        if other in listed:
            image = listed[other]
            is_suspect = image.rank in suspects
            near[path].append(Near(other, image.content_hash, image.given_label, similarity, is_suspect))
    return near


def _head(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, object]) -> dict[str, dict[str, float]]:
    found = connection.execute(
        f"""SELECT p.path, i.given_label, p.given_probability, p.top_labels, p.top_probabilities
            FROM predictions p JOIN images i ON i.audit_id = $audit_id AND i.image_rank = p.image_rank
            WHERE p.audit_id = $audit_id AND p.image_rank IN {_RANKS}""",
        asked,
    ).fetchall()
    head = {}
    for path, given, probability, labels, probabilities in found:
        head[path] = dict(zip(labels or (), probabilities or (), strict=True))
        if probability is not None:
            head[path][given] = probability
    return head


def _mixed(connection: duckdb.DuckDBPyConnection, audit_id: str, labels: set[str]) -> dict[tuple[str, str], int]:
    """How many suspects there are of every pair of classes, one of which is among these."""
    pairs = connection.execute(
        """WITH few AS (SELECT unnest(CAST($labels AS TEXT[])) AS label)
           SELECT given_label, suggested_label, suspects FROM class_pairs
           WHERE audit_id = $audit_id AND (given_label IN (FROM few) OR suggested_label IN (FROM few))""",
        {"audit_id": audit_id, "labels": sorted(labels)},
    ).fetchall()
    return {(given, suggested): suspects for given, suggested, suspects in pairs}


def _newest(stack: Stack) -> str:
    return stack.newest.decision_id if stack.newest else ""


def _filed(
    connection: duckdb.DuckDBPyConnection, audit_id: str, contents: list[str]
) -> dict[str, list[tuple[str, str]]]:
    """(path, given label) of all images with these contents."""
    found = connection.execute(
        """SELECT content_hash, path, given_label FROM images
           WHERE audit_id = ? AND content_hash IN (SELECT unnest(CAST(? AS TEXT[]))) ORDER BY path""",
        [audit_id, contents],
    ).fetchall()
    filed = defaultdict(list)
    for content_hash, path, given_label in found:
        filed[content_hash].append((path, given_label))
    return filed


def _place(folder: images.SeenIn, path: str, image: images.ListedImage) -> Place | None:
    try:
        return folder.place(path, image)
    except StoreError:
        return None


def _first(given: str, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(labels, key=lambda label: label != given))


def _said_of(near: Near, said: Mapping[Key, Stack]) -> Near:
    stands = said[near.content_hash, near.given_label].stands
    return near if stands is None else replace(near, decision=stands.decision, new_label=stands.new_label)
