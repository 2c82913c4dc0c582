"""Measured truth of one picture: what the model says without single patches, blocks, rectangles, and Shapley values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.subject import Arrays, Case, kept, key_of
from gradattn_core.evaluate.coalitions import blocks, rectangles, shapley
from gradattn_core.evaluate.replacing import log_odds_without

RECTANGLES = 60
WAYS = ("drop", "mean", "blur", "inpaint")
TRUTHS = (*(f"block {way}" for way in WAYS), "shapley", "rectangles", "patch")


def measured(
    model: nn.Module,
    digest: str,
    case: Case,
    grid: tuple[int, int],
    pairs: int,
    work: Path,
    truths: Sequence[str] = TRUTHS,
) -> Arrays:
    """The measured truths of a case, each in a file of its own so that a stopped run loses little.

    Args:
        truths: which of :data:`TRUTHS`; ``whole`` is always measured.

    Returns:
        ``whole`` f, f0 and f of the grey picture; ``patch`` [patches]; ``block drop`` and the other ways [blocks];
        ``rectangle drop``, ``rectangle inpaint`` and ``rectangle alone`` [rectangles]; ``shapley`` [blocks],
        ``shapley halves`` [2, blocks] and ``shapley passes``. All but ``whole`` and ``rectangle alone`` are f minus f
        with the part gone: positive speaks for the target.
    """
    facts = (digest, case.image, case.target, case.against)
    rows, columns = grid
    parts, regions = blocks(rows, columns), rectangles(rows, columns, RECTANGLES)

    def ask(masked: Tensor, replace: str = "drop") -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        answers = log_odds_without(model, case.image, masked, case.target, case.against, replace=replace)
        return answers.double().numpy()

    def whole() -> Arrays:
        nothing = torch.zeros(2, rows, columns, dtype=torch.bool)
        nothing[1] = True
        return {"whole": np.append(ask(nothing), ask(nothing[1:], "zero"))}

    found = kept(work / f"truth/{key_of(*facts)}-whole.npz", whole)
    f, without = found["whole"][:2]

    def worth(seen: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        absent = torch.from_numpy(~seen).float() @ parts.flatten(1).float()
        return ask((absent > 0).view(-1, rows, columns))

    def values() -> Arrays:
        result = shapley(worth, len(parts), pairs)
        return {"shapley": result.values, "shapley halves": result.halves, "shapley passes": np.array(result.passes)}

    makers = {
        **{f"block {way}": lambda way=way: {f"block {way}": f - ask(parts, way)} for way in WAYS},  # type: ignore[misc]
        "shapley": values,
        "rectangles": lambda: {
            "rectangle drop": f - ask(regions),
            "rectangle inpaint": f - ask(regions, "inpaint"),
            "rectangle alone": ask(~regions) - without,
        },
        "patch": lambda: {"patch": f - ask(torch.eye(rows * columns, dtype=torch.bool).view(-1, rows, columns))},
    }
    for name in truths:
        stem = f"{name}-{pairs}" if name == "shapley" else name
        found |= kept(work / f"truth/{key_of(*facts)}-{stem}.npz", makers[name])
    return found
