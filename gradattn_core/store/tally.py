"""What is found and what is believed left, class by class: the numbers of an audit as they follow the decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cached_property

import pandas as pd

from gradattn_core.estimates import assumed_range
from gradattn_core.store.database import BELIEFS, Part, rows, value
from gradattn_core.store.order import OF_SAME

BREAK = 300
"""Seconds between two decisions of a reviewer from which on the time between them was no work."""
_LEAST, _LEAST_SECONDS = 10, 60  # Decisions, and the time they took together, that have a pace worth naming.

_DECIDED = f"""decided AS MATERIALIZED (
    SELECT i.image_rank AS rank, i.given_label, d.decision, coalesce(d.new_label, '') AS new_label
    FROM images i JOIN current_decisions d {OF_SAME} WHERE i.audit_id = $audit_id)"""

_CLASSES = f"""
WITH {_DECIDED},
    said AS (
        SELECT given_label, count(*) AS decided, count(*) FILTER (decision IN ('relabel', 'remove')) AS found,
            count(*) FILTER (decision = 'unsure') AS unsure
        FROM decided GROUP BY given_label),
    classes AS (
        SELECT i.given_label, count(*) AS images, count(*) FILTER (s.is_suspect AND d.rank IS NULL) AS undecided,
            sum(s.suspicion) FILTER (s.is_suspect AND d.rank IS NULL) AS expected,
            sum(s.suspicion) FILTER (NOT s.is_suspect AND d.rank IS NULL) AS elsewhere,
            sum(s.class_noise_suspicion) FILTER (d.rank IS NULL) AS class_noise,
            sum(s.instance_noise_suspicion) FILTER (d.rank IS NULL) AS instance_noise
        FROM images i JOIN {BELIEFS} s ON s.rank = i.image_rank AND s.audit_id = $audit_id
        LEFT JOIN (SELECT rank FROM decided) d ON d.rank = i.image_rank
        WHERE i.audit_id = $audit_id GROUP BY i.given_label)
SELECT c.given_label, images, coalesce(said.decided, 0) AS decided, coalesce(found, 0) AS found,
    coalesce(unsure, 0) AS unsure, undecided, coalesce(expected, 0) AS expected, coalesce(elsewhere, 0) AS elsewhere,
    coalesce(class_noise, 0) AS class_noise, coalesce(instance_noise, 0) AS instance_noise
FROM classes c LEFT JOIN said USING (given_label) ORDER BY expected DESC, c.given_label"""

_PAIRS = f"""
WITH {_DECIDED},
    found AS (
        SELECT given_label, new_label AS other_label, count(*) AS found
        FROM decided WHERE decision IN ('relabel', 'remove') GROUP BY ALL),
    undecided AS (
        SELECT i.given_label, s.suggested_label AS other_label, count(*) AS undecided, sum(s.suspicion) AS expected
        FROM scores s JOIN images i ON i.audit_id = $audit_id AND i.image_rank = s.rank
        ANTI JOIN decided d ON d.rank = s.rank
        WHERE s.audit_id = $audit_id AND s.is_suspect GROUP BY ALL)
SELECT given_label, other_label, coalesce(found, 0) AS found, coalesce(undecided, 0) AS undecided,
    coalesce(expected, 0) AS expected
FROM found FULL JOIN undecided USING (given_label, other_label)
ORDER BY coalesce(found, 0) + coalesce(undecided, 0) DESC, expected DESC, given_label, other_label"""

_KINDS = f"""
WITH {_DECIDED}
SELECT kind, count(*) AS suspects FROM scores s ANTI JOIN decided d ON d.rank = s.rank
WHERE audit_id = $audit_id AND is_suspect AND kind IS NOT NULL GROUP BY kind ORDER BY suspects DESC, kind"""

# Each decision with the seconds since the one before by the same reviewer; what was decided as a bulk took one look.
_PACE = """
WITH said AS (
        SELECT decision_id, reviewer, decided_at, coalesce(batch, decision_id) AS batch FROM decisions
        WHERE decision <> 'undo'),
    steps AS (
        SELECT *, epoch(decided_at - lag(decided_at) OVER (PARTITION BY reviewer ORDER BY decided_at)) AS waited,
            row_number() OVER (PARTITION BY reviewer ORDER BY decided_at DESC) AS newest
        FROM (SELECT reviewer, batch, min(decided_at) AS decided_at, count(*) AS pictures FROM said GROUP BY ALL))
SELECT reviewer, sum(pictures)::BIGINT AS decisions,
    coalesce(sum(pictures) FILTER (decided_at >= $midnight), 0)::BIGINT AS today,
    count(*) FILTER (waited <= $break AND newest <= $recent) AS steps,
    coalesce(sum(waited) FILTER (waited <= $break AND newest <= $recent), 0) AS seconds
FROM steps GROUP BY reviewer ORDER BY decisions DESC, reviewer"""


_RULE = """
SELECT count(*) > 0 FROM draws
WHERE purpose = 'until' AND population = (SELECT population FROM audits WHERE audit_id = $audit_id)"""


@dataclass(frozen=True, slots=True)
class ClassTally:
    """Of one class of the dataset, by given label.

    Attributes:
        images: filed in it; ``decided`` of them have a standing decision, ``found`` of these say that the label is
            wrong, and about ``unsure`` nobody knows.
        undecided: suspects that nobody has decided; ``expected`` of their labels are wrong, the sum of their
            suspicions, and ``elsewhere`` is the same of all other images that nobody has decided.
    """

    label: str
    images: int
    decided: int
    found: int
    unsure: int
    undecided: int
    expected: float
    elsewhere: float


@dataclass(frozen=True, slots=True)
class PairTally:
    """Of the images filed as ``given`` that are, or look like, ``other``; ``""`` is none of the dataset's classes.

    Attributes:
        found: decided to be relabelled to ``other``, or removed where it is ``""``.
        undecided: suspects for which ``other`` is suggested and that nobody has decided; ``expected`` are wrong.
    """

    given: str
    other: str
    found: int
    undecided: int
    expected: float


@dataclass(frozen=True)
class Tally:
    """Of one audit.

    Attributes:
        classes: those with images, most wrong labels expected among the undecided suspects first.
        pairs: (given, other) with anything found or undecided, most of both first.
        kinds: how many undecided suspects there are of each kind of doubt, the commonest first.
        low, high: how many labels are believed wrong in all, from the least to the greatest that
            :func:`gradattn_core.estimates.assumed_range` allows; NaN in audits of older versions.
    """

    classes: tuple[ClassTally, ...]
    pairs: tuple[PairTally, ...]
    kinds: Mapping[str, int]
    low: float
    high: float

    @cached_property
    def images(self) -> int:
        return sum(each.images for each in self.classes)

    @cached_property
    def decided(self) -> int:
        return sum(each.decided for each in self.classes)

    @cached_property
    def found(self) -> int:
        return sum(each.found for each in self.classes)

    @cached_property
    def unsure(self) -> int:
        return sum(each.unsure for each in self.classes)

    @cached_property
    def undecided(self) -> int:
        return sum(each.undecided for each in self.classes)

    @cached_property
    def expected(self) -> float:
        """Wrong labels expected among the undecided suspects."""
        return sum(each.expected for each in self.classes)

    @cached_property
    def elsewhere(self) -> float:
        """Wrong labels expected among all other images that nobody has decided."""
        return sum(each.elsewhere for each in self.classes)

    @property
    def believed(self) -> float:
        """Wrong labels in all: those found, and those expected among the undecided."""
        return self.found + self.expected + self.elsewhere


@dataclass(frozen=True, slots=True)
class Pace:
    """How a reviewer gets on.

    Attributes:
        decisions: of all days, ``today`` since midnight; what was undone counts, as it was work.
        a_minute: of the newest looks; None where too few came one soon after another.
    """

    reviewer: str
    decisions: int
    today: int
    a_minute: float | None


class Tallies(Part):
    """Counts that follow the decisions."""

    def of(self, audit_id: str) -> Tally:
        """What was found in an audit, and what is believed left."""
        asked = {"audit_id": audit_id}
        with self._reading(audit_id) as connection:
            classes = rows(connection.execute(_CLASSES, asked))
            pairs = connection.execute(_PAIRS, asked).fetchall()
            kinds = connection.execute(_KINDS, asked).fetchall()
        sums = pd.DataFrame(classes, columns=["found", "expected", "elsewhere", "class_noise", "instance_noise"]).sum()
        left = assumed_range(sums["expected"] + sums["elsewhere"], sums["class_noise"], sums["instance_noise"])
        for row in classes:
            del row["class_noise"], row["instance_noise"]
        return Tally(
            tuple(ClassTally(row.pop("given_label"), **row) for row in classes),
            tuple(PairTally(*pair) for pair in pairs),
            dict(kinds),
            *(sums["found"] + end for end in left),
        )

    def rule_runs(self, audit_id: str) -> bool:
        """Whether pictures were drawn for a review with an end: from then on only bounds that hold at all times do."""
        with self._reading(audit_id) as connection:
            return bool(value(connection.execute(_RULE, {"audit_id": audit_id})))

    def pace(self, *, zone: tzinfo = UTC, recent: int = 100) -> list[Pace]:
        """How fast everybody decides, who decided most first; a bulk is one look.

        Args:
            zone: where a day begins at midnight.
            recent: the newest decisions of each that tell their pace.
        """
        midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        with self._reading() as connection:
            found = rows(connection.execute(_PACE, {"midnight": midnight, "break": BREAK, "recent": recent}))
        return [
            Pace(
                row["reviewer"],
                row["decisions"],
                row["today"],
                60 * row["steps"] / row["seconds"]
                if row["steps"] >= _LEAST and row["seconds"] >= _LEAST_SECONDS
                else None,
            )
            for row in found
        ]
