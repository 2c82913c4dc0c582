"""Single images: what is stored about them, by path, and where their files lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import duckdb
import pandas as pd

from gradattn_core import outfolder
from gradattn_core.dataset.address import is_url, join, relocate, whole_picture
from gradattn_core.dataset.pixels import FULL_WHITE
from gradattn_core.errors import StoreError, UnreadableImageError
from gradattn_core.evidence import STATISTICS, SUMS, from_rows, interpretation_row, region_rows
from gradattn_core.records import Evidence
from gradattn_core.store.database import PATHS, Part, rows, value

_NUMBERS = "(SELECT unnest(CAST(? AS BIGINT[])))"


@dataclass(frozen=True, slots=True)
class ListedImage:
    """What an image is found by: its rank (None: it was not ranked), its content and its given label; and its size.

    ``size`` is that of its file in bytes; None where it is not known.
    """

    rank: int | None
    content_hash: str
    given_label: str
    width: int
    height: int
    size: int | None

    @property
    def key(self) -> tuple[str, str]:
        """What decisions about the image are kept under."""
        return self.content_hash, self.given_label


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture can be read.

    Attributes:
        address: what ``gradattn_core.dataset.read_image`` takes: a path of this machine, or a URL.
        content_hash: of the picture that the audit saw.
        preview: a smaller copy on this machine, where one was kept because the picture is not a plain file of it.
        width, height: of the original in pixels.
        white: the value of 16 bits that is white in the audit's pictures.
        since: when the audit began to look, seconds since 1970; 0 where that is not known.
        size: of the file that the audit saw, in bytes; None where that is not known.
    """

    address: str
    content_hash: str
    preview: Path | None
    width: int
    height: int
    white: int = FULL_WHITE
    since: float = 0.0
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model and the ranking said about one image; None is what was not stored.

    Attributes:
        size: of the file in bytes; ``width`` and ``height`` in pixels.
        fold: of the cross-validation that kept the image from the head that judged it.
        given_logit, predicted_logit, head_given_probability, predicted_probability, margin, entropy: of the head; the
            margin is that of the given label over the likeliest other class.
        top_labels, top_probabilities: the head's likeliest classes, the likeliest first.
        outside_label, outside_probability: the model's best class where the dataset does not have it, or where no class
            of the dataset is suggested; ``suggested_label`` is ``""`` then.
        outside_suspicion: probability that the picture is of no class of the dataset.
        rank, suspicion: as they are in force; ``audit_rank``, ``audit_suspicion`` and ``audit_is_suspect`` are the
            audit's own where a re-ranking has moved the image.
        class_noise_suspicion, instance_noise_suspicion: the audit's suspicion under either assumption about the noise.
        suggested_probability, given_probability, runner_up_probability: of the ranking.
        likely_labels, likely_probabilities: the likeliest classes and the given one, likeliest first, and the voters'
            probabilities of them; they know nothing of the given label.
        components: the scores that the suspicion was made of, by name.
        kind, kind_numbers, cluster: of a suspect, see :class:`gradattn_core.store.candidates.Candidate`.
    """

    path: str
    content_hash: str
    given_label: str
    size: int | None
    width: int | None
    height: int | None
    fold: int | None
    predicted_label: str | None
    given_logit: float | None
    predicted_logit: float | None
    predicted_probability: float | None
    margin: float | None
    entropy: float | None
    top_labels: Sequence[str] | None
    top_probabilities: Sequence[float] | None
    outside_label: str | None
    outside_probability: float | None
    head_given_probability: float | None
    rank: int | None
    suspicion: float | None
    is_suspect: bool | None
    suggested_label: str | None
    suggested_probability: float | None
    given_probability: float | None
    runner_up_label: str | None
    components: Mapping[str, float] | None
    runner_up_probability: float | None
    kind: str | None
    kind_numbers: Mapping[str, float] | None
    cluster: int | None
    audit_rank: int | None
    audit_suspicion: float | None
    audit_is_suspect: bool | None
    class_noise_suspicion: float | None
    instance_noise_suspicion: float | None
    outside_suspicion: float | None
    likely_labels: Sequence[str] | None
    likely_probabilities: Sequence[float] | None


class Images(Part):
    """Everything that is stored about single images, and where their files lie."""

    def evidence(self, audit_id: str, path: str) -> Evidence | None:
        """The stored detail interpretation of one image with its regions; None where it was not interpreted."""
        where = "WHERE audit_id = ? AND path = ?"
        with self._reading(audit_id) as connection:
            maps = rows(connection.execute(f"SELECT * FROM interpretations {where}", [audit_id, path]))
            regions = connection.execute(f"SELECT * FROM regions {where} ORDER BY sign DESC, rank", [audit_id, path])
            return from_rows(maps[0], rows(regions)) if maps else None

    def keep_measured(self, audit_id: str, path: str, evidence: Evidence) -> None:
        """Put the numbers that were measured of one image in the place of its map's: map, sums and regions.

        Whoever measures the same image at the same time stores the same, so the last word harms nobody.

        Raises:
            StoreError: where the audit has no evidence of the image, or the map has another grid than the stored one.
        """
        row = interpretation_row(path, evidence)
        grid = (row["grid_height"], row["grid_width"])
        where = "WHERE audit_id = ? AND path = ?"
        with self._writing(audit_id) as connection:
            found = rows(connection.execute(f"SELECT * FROM interpretations {where}", [audit_id, path]))
            if not found or (found[0]["grid_height"], found[0]["grid_width"]) != grid:
                raise StoreError(f"audit {audit_id} has no map of {path!r} with {grid[0]} x {grid[1]} patches")
            columns = ("map", *STATISTICS, *SUMS, "numbers")
            changes = ", ".join(f"{name} = ?" for name in columns)
            connection.execute(
                f"UPDATE interpretations SET {changes} {where}", [*(row[name] for name in columns), audit_id, path]
            )
            connection.execute(f"DELETE FROM regions {where}", [audit_id, path])
            for region in region_rows(path, evidence):
                names = ("audit_id", "image_rank", *region)
                places = ", ".join("?" * len(names))
                connection.execute(
                    f"INSERT INTO regions ({', '.join(names)}) VALUES ({places})",
                    [audit_id, found[0]["image_rank"], *region.values()],
                )

    def prediction(self, audit_id: str, path: str) -> Prediction | None:
        """Everything stored about one image's prediction and score; None where the audit has no such image."""
        with self._reading(audit_id) as connection:
            image = find(connection, audit_id, [path]).get(path)
            if image is None:
                return None
            facts = connection.execute(
                """SELECT i.* EXCLUDE (audit_id, image_rank),
                       p.* EXCLUDE (audit_id, image_rank, path, given_probability),
                       p.given_probability AS head_given_probability, s.* EXCLUDE (audit_id, path)
                   FROM (SELECT * FROM images
                       WHERE audit_id = $audit_id AND path = $path AND (image_rank = $rank OR $rank IS NULL)) i
                   LEFT JOIN predictions p ON p.audit_id = $audit_id AND p.image_rank = i.image_rank
                   LEFT JOIN scores s ON s.audit_id = $audit_id AND s.rank = i.image_rank""",
                {"audit_id": audit_id, "path": path, "rank": image.rank},
            )
            [row] = rows(facts)
            return Prediction(**row)

    def neighbours(self, audit_id: str, path: str) -> pd.DataFrame:
        """The images that look most like a suspect, nearest first: ``position, path, given_label, similarity``.

        ``similarity`` is the cosine of the features, -1 to 1. Empty where none are stored.
        """
        with self._reading(audit_id) as connection:
            return connection.execute(
                """SELECT position::BIGINT AS position, neighbour_path AS path, neighbour_label AS given_label,
                       similarity
                   FROM neighbours n WHERE audit_id = ? AND n.path = ? ORDER BY n.position""",
                [audit_id, path],
            ).df()

    def all_neighbours(self, audit_id: str) -> pd.DataFrame:
        """:meth:`neighbours` of every suspect, the most suspect first.

        Columns: ``path, position, neighbour_path, neighbour_label, similarity``.
        """
        with self._reading(audit_id) as connection:
            return connection.execute(
                """SELECT path, position::BIGINT AS position, neighbour_path, neighbour_label, similarity
                   FROM neighbours WHERE audit_id = ? ORDER BY image_rank, position""",
                [audit_id],
            ).df()

    def exemplars(self, audit_id: str, label: str) -> pd.DataFrame:
        """Sure and typical images of a class, best first: ``position, path, suspicion``."""
        with self._reading(audit_id) as connection:
            return connection.execute(
                """SELECT position::BIGINT AS position, path, suspicion FROM exemplars e
                   WHERE audit_id = ? AND label = ? ORDER BY e.position""",
                [audit_id, label],
            ).df()

    def known(self, audit_id: str, paths: Sequence[str]) -> list[str]:
        """Those of the paths that the audit lists, in their order."""
        with self._reading(audit_id) as connection:
            listed = find(connection, audit_id, paths)
        return [path for path in paths if path in listed]

    def file(self, audit_id: str, path: str) -> Path:
        """The absolute place of an image that belongs to the audit; the file itself may have moved since.

        Raises:
            StoreError: where the audit lists no such path, the listed path leaves the dataset's root, or the image is
                no file of its own on this machine; :meth:`places` has it.
        """
        return self.files(audit_id, [path])[0]

    def files(self, audit_id: str, paths: Sequence[str]) -> list[Path]:
        """:meth:`file` for many paths at the price of one, in their order."""
        return [_local_file(place) for place in self.places(audit_id, paths)]

    def places(self, audit_id: str, paths: Sequence[str]) -> list[Place]:
        """Where each image can be read, on this machine or elsewhere, in the order of ``paths``.

        Raises:
            StoreError: where the audit lists no such path, or the listed path leaves the dataset's root.
        """
        with self._reading(audit_id) as connection:
            folder = seen_in(connection, audit_id, self.directory, self.data_root)
            listed = find(connection, audit_id, paths)
        for path in paths:
            if path not in listed:
                raise StoreError(f"audit {audit_id} has no image {path!r}")
        return [folder.place(path, listed[path]) for path in paths]


@dataclass(frozen=True, slots=True)
class SeenIn:
    """The dataset of an audit: where its pictures lie now, and when it was looked at."""

    audit_id: str
    root: str
    white: int
    since: float
    directory: Path
    data_root: Path | None

    def place(self, path: str, image: ListedImage) -> Place:
        """Where one picture can be read.

        Raises:
            StoreError: the listed path leaves the dataset's root.
        """
        address = _address(self.root, path, self.audit_id)
        # A folder that somebody named wins over what was kept of the pictures that may lie in it.
        far = is_url(whole_picture(address)) and (self.data_root is None or is_url(path))
        kept = outfolder.preview(self.directory, image.content_hash)
        preview = kept if far and kept.is_file() else None
        size = (image.width, image.height)
        return Place(address, image.content_hash, preview, *size, self.white, self.since, image.size)


def seen_in(connection: duckdb.DuckDBPyConnection, audit_id: str, directory: Path, data_root: Path | None) -> SeenIn:
    """The dataset of an audit, below ``data_root`` where there is one."""
    stored, white, since = connection.execute(
        "SELECT root, white, epoch(started_at) FROM audits WHERE audit_id = ?", [audit_id]
    ).fetchall()[0]
    root = stored if data_root is None else relocate(stored, data_root)
    return SeenIn(audit_id, root, white or FULL_WHITE, since or 0.0, directory, data_root)


def find(
    connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Iterable[str], ranks: Sequence[int] = ()
) -> dict[str, ListedImage]:
    """The images of the audit that have these paths, by path; a path that it does not list is absent.

    Nearly all questions are about suspects, whose ranks are the first: those are looked through before all others.

    Args:
        ranks: where the images were a moment ago: looked through first of all.
    """
    asked = list(dict.fromkeys(paths))
    images: dict[str, ListedImage] = {}
    if ranks:
        images = _find(connection, f"image_rank IN {_NUMBERS}", [audit_id, list(ranks), asked])
    others = [path for path in asked if path not in images]
    if others:
        images |= _find(connection, "image_rank <= ?", [audit_id, last_suspect(connection, audit_id), others])
        others = [path for path in others if path not in images]
    if others:
        images |= _find(connection, "true", [audit_id, others])
    return images


def last_suspect(connection: duckdb.DuckDBPyConnection, audit_id: str) -> int:
    """The rank of the least suspect one; 0 where there is none."""
    query = "SELECT coalesce(max(rank), 0) FROM scores WHERE audit_id = ? AND is_suspect"
    return int(value(connection.execute(query, [audit_id])))


def _find(connection: duckdb.DuckDBPyConnection, where: str, parameters: list[object]) -> dict[str, ListedImage]:
    listed = connection.execute(
        f"""SELECT path, image_rank, content_hash, given_label, width, height, size FROM images
            WHERE audit_id = ? AND {where} AND path IN {PATHS}""",
        parameters,
    ).fetchall()
    return {path: ListedImage(*facts) for path, *facts in listed}


def _local_file(place: Place) -> Path:
    """Raises:
    StoreError: where the image is no file of its own on this machine.
    """
    if is_url(place.address):
        raise StoreError(f"the image {place.address!r} is no file of its own on this machine")
    return Path(place.address)


def _address(root: str, path: str, audit_id: str) -> str:
    if is_url(root) or is_url(path):
        try:
            return join(root, path)
        except UnreadableImageError as error:
            raise StoreError(f"audit {audit_id}: {error}") from None
    if PurePosixPath(path).is_absolute():
        return path
    # Normalised without looking at the disk: images behind a symbolic link inside the root stay reachable.
    inside = os.path.normpath(path)
    if inside.split(os.sep)[0] == os.pardir:
        raise StoreError(f"the image path {path!r} of audit {audit_id} leaves the dataset's root and is not opened")
    return os.path.join(root, inside)
