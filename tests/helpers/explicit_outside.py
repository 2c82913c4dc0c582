"""What a model's outputs outside the dataset say, picture by picture, from all its logits: the slow twin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradattn_core.ranking.outside import CAP, FLOOR, HABIT, HABIT_ROUNDS, ROUNDS, SETTLED, START, TOLERANCE


def outside_by_hand(
    given: Sequence[object], logits: Sequence[Sequence[float]], inside: Sequence[int], kept: int
) -> list[float]:
    """o of each picture by plain loops; ``kept`` outside classes of a picture may be habits."""
    outputs, pictures = len(logits[0]), range(len(given))
    outside = [output for output in range(outputs) if output not in inside]
    p = []
    for row in logits:
        top = max(row)
        mass = [math.exp(value - top) for value in row]
        p.append([each / sum(mass) for each in mass])
    odds = [sum(row[k] for k in outside) / sum(row[k] for k in inside) for row in p]
    likeliest = [sorted(outside, key=lambda k, row=row: -row[k])[:kept] for row in p]  # type: ignore[misc]
    found = _em(odds, len(inside), len(outside))
    for _ in range(HABIT_ROUNDS):
        before, corrected = found, []
        for i in pictures:
            others = [j for j in pictures if j != i and given[j] == given[i]]
            weight = sum(1 - before[j] for j in others)
            left = sum(p[i][k] for k in outside)
            for k in likeliest[i]:
                habit = sum((1 - before[j]) * p[j][k] for j in others if k in likeliest[j]) / max(weight, 1e-9)
                left -= p[i][k] * habit / (HABIT / outputs + habit)
            corrected.append(left / sum(p[i][k] for k in inside))
        found = _em(corrected, len(inside), len(outside))
        if max(abs(a - b) for a, b in zip(found, before, strict=True)) < SETTLED:
            break
    return found


def _em(odds: list[float], inside: int, outside: int) -> list[float]:
    share = START
    found: list[float] = []
    for _ in range(ROUNDS):
        before, w = share, share / (1 - share) * inside / outside
        found = [w * r / (1 + w * r) for r in odds]
        share = min(max(sum(found) / len(found), min(FLOOR / len(found), CAP)), CAP)
        if abs(share - before) < TOLERANCE:
            break
    return found
