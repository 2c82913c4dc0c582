"""How likely suggestions are: those of a list, and those that people have followed or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradattn_core.store.choice import CandidateFilter, choose
from gradattn_core.store.database import Part

_FOLLOWED = """
SELECT d.proposed_probability AS chance,
    (d.decision = 'relabel' AND d.new_label = d.proposed_label) OR (d.decision = 'remove' AND d.proposed_label = '')
        AS followed
FROM current_decisions c JOIN decisions d USING (decision_id)
WHERE d.audit_id = ? AND d.batch IS NULL AND d.proposed_probability IS NOT NULL"""

_CHANCES = "c.key0::DOUBLE AS suggested, 1 - s.suspicion AS given"
_SCORES = "JOIN scores s ON s.audit_id = $audit_id AND s.rank = c.rank"


@dataclass(frozen=True)
class Chances:
    """Of each image of a list, the probability [images] of its suggested and of its given label, as in force."""

    suggested: NDArray[np.float64]
    given: NDArray[np.float64]


@dataclass(frozen=True)
class Followed:
    """Decisions that were made one by one: how likely the suggestion was then, and whether it was followed."""

    chances: NDArray[np.float64]
    followed: NDArray[np.bool_]


class Proposals(Part):
    """What is suggested, and what became of it."""

    def of(self, audit_id: str, **filters: Unpack[CandidateFilter]) -> Chances:
        """The chances of a list's images, in no order."""
        with self._reading(audit_id) as connection:
            choice = choose(connection, audit_id, filters, "surest")
            found = connection.execute(
                f"SELECT {_CHANCES} FROM ({choice.source}) c {_SCORES}", {**choice.parameters, "audit_id": audit_id}
            ).fetchnumpy()
        return Chances(np.asarray(found["suggested"], np.float64), np.asarray(found["given"], np.float64))

    def listed(self, audit_id: str, **filters: Unpack[CandidateFilter]) -> pd.DataFrame:
        """The same with the images they are of, and nothing else of these, the most suspect first.

        Columns: ``path, suggested, given`` and the ``decision`` that stands, ``""`` for none.
        """
        with self._reading(audit_id) as connection:
            choice = choose(connection, audit_id, filters, "surest", told=True)
            return connection.execute(
                f"SELECT c.path, {_CHANCES}, c.decision FROM ({choice.source}) c {_SCORES} ORDER BY c.rank",
                {**choice.parameters, "audit_id": audit_id},
            ).df()

    def followed(self, audit_id: str) -> Followed:
        """What stands and was decided one by one while the audit was reviewed, with what was suggested then.

        Another audit's probabilities are others, what was decided at one stroke says nothing of suggestions, and
        older decisions do not tell what these were.
        """
        with self._reading(audit_id) as connection:
            found = connection.execute(_FOLLOWED, [audit_id]).fetchnumpy()
        return Followed(np.asarray(found["chance"], np.float64), np.asarray(found["followed"], bool))
