"""Pictures drawn at random, what they prove about all the others, and when a review may stop.

A *picture* here is what decisions are kept by: one content under one given label, however many copies of it there are.
A draw is a picture taken at random from all that nobody had decided, suspects and others alike. It is stored before it
is shown, is valid for whoever answers it, and is never taken back or drawn again: after an undo it waits for another
verdict. Decisions about pictures that were not drawn before are *chosen* ones; they are known, and prove nothing about
the rest. The mathematics stand in :mod:`gradattn_core.ranking.certainty`.

Draws belong to the set of pictures they were taken from. An audit of the very same pictures, by whichever model,
inherits them; in an audit of a changed dataset what was decided is known, and drawing begins anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import duckdb
import numpy as np
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.ranking.certainty import PAGE, Doubles
from gradattn_core.store.database import Part, value
from gradattn_core.store.known import Drawn, Known, Purpose, replay
from gradattn_core.store.log import Key
from gradattn_core.store.proof import Bound, Next, SpotCheck, Until, spot_check

# A picture, by the copy of it that is ranked first, wherever nobody has decided about it.
_UNSEEN = """
    SELECT content_hash, given_label, min(image_rank) AS rank,
        arg_min(rowid, coalesce(image_rank, 9223372036854775807)) AS place
    FROM (SELECT *, rowid FROM images WHERE audit_id = $audit_id)
    ANTI JOIN current_decisions USING (content_hash, given_label) GROUP BY ALL"""

# What was told last, and of which state of the database: pages ask the same again and again, and both read the whole
# log. An answer for each audit and each share that somebody asked for.
_State: TypeAlias = tuple[object, ...]
_checked: dict[tuple[object, ...], tuple[_State, SpotCheck]] = {}
_until: dict[tuple[object, ...], tuple[_State, Until]] = {}
_MOST_ANSWERS = 32


@dataclass(frozen=True, slots=True)
class Draw:
    """Pictures that were drawn together.

    Attributes:
        first: the number of the first of them; numbers go on by one, over all draws from these pictures.
        pool: how many pictures nobody had decided or drawn before: what was drawn from.
        paths: one path per picture, in the mixed order to review them in.
    """

    purpose: Purpose
    first: int
    pool: int
    paths: tuple[str, ...]


class Draws(Part):
    """What is drawn at random, and what follows from it."""

    def spot_check(self, audit_id: str, count: int, *, seed: int | None = None) -> Draw:
        """Draw ``count`` pictures at random from all that nobody has decided or drawn; they are stored on return.

        Args:
            seed: draws the same again from the same pictures, for tests; random where None.

        Raises:
            StoreError: for a count below 1 or beyond what is left; nothing is drawn then.
        """
        if count < 1:
            raise StoreError(f"a spot check of {count:,} pictures checks nothing; ask for 1 or more")
        with self._writing(audit_id) as connection:
            return _draw(connection, audit_id, "spot check", count, seed)

    def waiting(self, audit_id: str, purpose: Purpose | None = None) -> list[str]:
        """Drawn pictures (for ``purpose``, or for any) without a verdict, in the mixed order they were drawn in."""
        with self._reading(audit_id) as connection:
            waiting = _known(connection, audit_id).waiting
            return _paths(connection, audit_id, [draw.key for draw in waiting if purpose in (None, draw.purpose)])

    def checklist(self, audit_id: str) -> pd.DataFrame:
        """What waits of the spot checks, to be filled: ``path, given_label``, and empty ``decision, new_label, note``.

        In the order of :meth:`waiting`, and blind: nothing in it tells a suspect from any other picture.
        """
        with self._reading(audit_id) as connection:
            keys = [draw.key for draw in _known(connection, audit_id).waiting if draw.purpose == "spot check"]
            paths = _paths(connection, audit_id, keys)
        frame = pd.DataFrame({"path": paths, "given_label": [label for _, label in keys]}, dtype=str)
        return frame.assign(decision="", new_label="", note="")

    def drawn(self, audit_id: str, purpose: Purpose | None = None) -> list[str]:
        """Every picture that was ever drawn (for ``purpose``, or for any), in the order of the numbers."""
        with self._reading(audit_id) as connection:
            keys = connection.execute(
                """SELECT content_hash, given_label FROM draws
                   WHERE population = ? AND purpose = coalesce(?, purpose) ORDER BY number""",
                [_population(connection, audit_id), purpose],
            ).fetchall()
            return _paths(connection, audit_id, keys)

    def count(self, audit_id: str) -> int:
        """How many pictures :meth:`drawn` has."""
        with self._reading(audit_id) as connection:
            query = "SELECT count(*) FROM draws WHERE population = ?"
            return int(value(connection.execute(query, [_population(connection, audit_id)])))

    def checked(self, audit_id: str, *, confidence: float = 0.95) -> SpotCheck | None:
        """What the spot checks say so far; None where none was drawn from the pictures of this audit.

        Batches between which nothing was decided but what was drawn are one sample. Where something was, they are not;
        then the sample with the most verdicts speaks, the newest of several.

        Raises:
            RankingError: for a confidence that is not between 0 and 1.
        """
        question = (self.directory, audit_id, confidence)
        with self._reading(audit_id) as connection:
            # Mostly there is none, and then nothing has to be read.
            drawn = "SELECT count(*) FROM draws WHERE population = ? AND purpose = 'spot check'"
            if not value(connection.execute(drawn, [_population(connection, audit_id)])):
                return None
            state = _state(connection, audit_id)
            if question in _checked and _checked[question][0] == state:
                return _checked[question][1]
            known = _known(connection, audit_id)
            sizes = connection.execute(
                "SELECT given_label, count(DISTINCT content_hash) FROM images WHERE audit_id = ? GROUP BY ALL",
                [audit_id],
            ).fetchall()
        check = spot_check(known, dict(sizes), confidence)
        _checked[question] = (state, check)
        return check

    def until(self, audit_id: str, share: float, *, confidence: float = 0.95) -> Until:
        """How far the review is that stops when at most ``share`` of the labels is wrong; changes nothing.

        Raises:
            RankingError: for a share or confidence that is not between 0 and 1.
        """
        question = (self.directory, audit_id, share, confidence)
        with self._reading(audit_id) as connection:
            state = _state(connection, audit_id)
            if question in _until and _until[question][0] == state:
                return _until[question][1]
            suspicion = _suspicions(connection, audit_id)
            known = _known(connection, audit_id)
            bound = Bound(known, len(suspicion) + len(known.standing), share, confidence)
            kind, paths = _page(connection, audit_id, bound)
        until = bound.told(kind, paths, suspicion)
        if len(_until) >= _MOST_ANSWERS:
            # A share is any number that somebody asks for.
            _until.clear()
        _until[question] = (state, until)
        return until

    def next_page(
        self, audit_id: str, share: float, *, confidence: float = 0.95, seed: int | None = None
    ) -> tuple[Next, tuple[str, ...]]:
        """``kind`` and ``paths`` of :meth:`until`, with random pictures drawn and stored where they come next.

        Draws that wait are given out first, to whoever asks, so that no drawn picture is passed over.

        Raises:
            RankingError: as :meth:`until`.
        """
        with self._reading(audit_id) as connection:
            kind, paths = _page(connection, audit_id, _bound(connection, audit_id, share, confidence))
        if kind != "random" or paths:
            return kind, paths
        with self._writing(audit_id) as connection:
            # Another process may have drawn, or decided, in between.
            kind, paths = _page(connection, audit_id, _bound(connection, audit_id, share, confidence))
            if kind == "random" and not paths:
                paths = _draw(connection, audit_id, "until", PAGE, seed).paths
        return kind, paths


def _population(connection: duckdb.DuckDBPyConnection, audit_id: str) -> str:
    """Which set of pictures the audit has, the same for every audit of the same pictures."""
    return str(value(connection.execute("SELECT population FROM audits WHERE audit_id = ?", [audit_id])))


def _state(connection: duckdb.DuckDBPyConnection, audit_id: str) -> _State:
    """What tells whether anything has changed that an answer depends on: log, draws, pictures, order in force."""
    state: _State = connection.execute(
        """SELECT (SELECT arg_max(decision_id, sequence) FROM decisions), (SELECT count(*) FROM draws),
               (SELECT max(drawn_at) FROM draws), population, finished_at,
               (SELECT bit_xor(hash(suspicion, rank)) FROM scores WHERE audit_id = $audit_id)
           FROM audits WHERE audit_id = $audit_id""",
        {"audit_id": audit_id},
    ).fetchall()[0]
    return state


def _known(connection: duckdb.DuckDBPyConnection, audit_id: str) -> Known:
    log = connection.execute(
        """SELECT content_hash, given_label, sequence, decision FROM decisions
           SEMI JOIN (SELECT content_hash, given_label FROM images WHERE audit_id = ?) USING (content_hash, given_label)
           ORDER BY sequence""",
        [audit_id],
    ).fetchall()
    draws = connection.execute(
        """SELECT content_hash, given_label, number, batch, purpose, pool, expected, after FROM draws
           WHERE population = ? ORDER BY number""",
        [_population(connection, audit_id)],
    ).fetchall()
    return Known(replay(log), [Drawn((content, label), *facts) for content, label, *facts in draws])


def _suspicions(connection: duckdb.DuckDBPyConnection, audit_id: str) -> Doubles:
    """[pictures] of those that nobody has decided, the most suspect first; of one that was not ranked, the mean."""
    found = connection.execute(
        f"""SELECT coalesce(suspicion, avg(suspicion) OVER (), 0.5) AS suspicion FROM ({_UNSEEN}) u
            LEFT JOIN (SELECT rank, suspicion FROM scores WHERE audit_id = $audit_id) USING (rank) ORDER BY u.rank""",
        {"audit_id": audit_id},
    ).fetchnumpy()
    return np.asarray(found["suspicion"], np.float64)


def _bound(connection: duckdb.DuckDBPyConnection, audit_id: str, share: float, confidence: float) -> Bound:
    known = _known(connection, audit_id)
    unseen = value(connection.execute(f"SELECT count(*) FROM ({_UNSEEN})", {"audit_id": audit_id}))
    return Bound(known, unseen + len(known.standing), share, confidence)


def _page(connection: duckdb.DuckDBPyConnection, audit_id: str, bound: Bound) -> tuple[Next, tuple[str, ...]]:
    """What is reviewed next, as far as it is known without drawing."""
    if bound.kind == "random":
        return "random", tuple(_paths(connection, audit_id, bound.owed[:PAGE]))
    if bound.kind == "done":
        return "done", ()
    suspects = connection.execute(
        f"""SELECT path FROM images i JOIN (SELECT rank, place FROM ({_UNSEEN}) ORDER BY rank LIMIT {PAGE}) u
            ON i.rowid = u.place ORDER BY rank""",
        {"audit_id": audit_id},
    )
    return "suspects", tuple(path for (path,) in suspects.fetchall())


def _draw(connection: duckdb.DuckDBPyConnection, audit_id: str, purpose: Purpose, count: int, seed: int | None) -> Draw:
    """Draw and store; pages of a review that stops by itself take what is left where that is less."""
    population = _population(connection, audit_id)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE pool AS SELECT * FROM ({_UNSEEN})
            ANTI JOIN (SELECT content_hash, given_label FROM draws WHERE population = $population)
            USING (content_hash, given_label)""",
        {"audit_id": audit_id, "population": population},
    )
    pool = int(value(connection.execute("SELECT count(*) FROM pool")))
    if pool < count and purpose == "spot check":
        left = f"only {pool:,} are left; ask for at most so many" if pool else "none is left"
        raise StoreError(f"{count:,} pictures that nobody has decided or drawn: of audit {audit_id} {left}")
    # The smallest hashes with a secret are a random sample in random order, the same on every machine for one seed.
    return _stored(
        connection,
        audit_id,
        population,
        purpose,
        min(count, pool),
        secrets.token_hex(16) if seed is None else str(seed),
    )


def _stored(
    connection: duckdb.DuckDBPyConnection, audit_id: str, population: str, purpose: Purpose, count: int, secret: str
) -> Draw:
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE drawn AS
            SELECT *, row_number() OVER (ORDER BY mixed) AS turn FROM (
                SELECT *, md5(concat_ws(chr(31), $secret, content_hash, given_label)) AS mixed
                FROM pool ORDER BY mixed LIMIT $count)""",
        {"secret": secret, "count": count},
    )
    connection.execute(
        """INSERT INTO draws BY NAME SELECT $population AS population, first + turn AS number, first + 1 AS batch,
               $purpose AS purpose, content_hash, given_label, pool - turn + 1 AS pool, expected, after,
               $audit_id AS audit_id, $now AS drawn_at
           FROM drawn, (SELECT coalesce(max(number), 0) AS first FROM draws WHERE population = $population),
               (SELECT coalesce(max(sequence), 0) AS after FROM decisions),
               (SELECT count(*) AS pool, coalesce(avg(suspicion), 0.5) AS expected FROM pool
                   LEFT JOIN (SELECT rank, suspicion FROM scores WHERE audit_id = $audit_id) USING (rank))
           ORDER BY turn""",
        {"population": population, "purpose": purpose, "audit_id": audit_id, "now": datetime.now(UTC)},
    )
    paths = connection.execute("SELECT path FROM drawn JOIN images i ON i.rowid = place ORDER BY turn").fetchall()
    first, pool = connection.execute(
        "SELECT min(number), max(pool) FROM draws WHERE population = ? GROUP BY batch ORDER BY batch DESC LIMIT 1",
        [population],
    ).fetchall()[0]
    return Draw(purpose, first, pool, tuple(path for (path,) in paths))


def _paths(connection: duckdb.DuckDBPyConnection, audit_id: str, keys: Sequence[Key]) -> list[str]:
    """One path per picture, of the copy that is ranked first, in the order of the keys."""
    found = connection.execute(
        """SELECT arg_min(path, (coalesce(image_rank, 9223372036854775807), path)) AS path
           FROM images i JOIN (SELECT unnest(CAST($contents AS TEXT[])) AS content_hash,
               unnest(CAST($labels AS TEXT[])) AS given_label, unnest(range(len($contents))) AS turn) k
           USING (content_hash, given_label) WHERE audit_id = $audit_id GROUP BY turn ORDER BY turn""",
        {"audit_id": audit_id, "contents": [key[0] for key in keys], "labels": [key[1] for key in keys]},
    )
    return [path for (path,) in found.fetchall()]
