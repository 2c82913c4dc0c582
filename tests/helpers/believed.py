"""The audit with pictures, believed of as a test needs it: how likely each label is right, and each suggestion."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from gradattn_core import outfolder
from gradattn_core.store.store import Store
from tests.helpers.pictured_audit import AUDIT_ID


def believed(store: Store, chances: Sequence[tuple[float, float]]) -> Store:
    """Give the first pictures by rank these probabilities of (the given label, the suggested one).

    What is left of 1 is of the runner-up. Above 0.5 in the given label, the voters were of another mind before.
    """
    with duckdb.connect(str(outfolder.database(store.directory))) as connection:
        for rank, (given, suggested) in enumerate(chances, start=1):
            share = suggested / (1 - given)
            connection.execute(
                """UPDATE scores SET suspicion = $suspicion, given_probability = 0, suggested_probability = $share,
                       runner_up_probability = 1 - $share, outside_suspicion = NULL, likely_labels = NULL,
                       likely_probabilities = NULL
                   WHERE audit_id = $audit AND rank = $rank""",
                {"suspicion": 1 - given, "share": share, "audit": AUDIT_ID, "rank": rank},
            )
    return store
