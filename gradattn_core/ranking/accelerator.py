"""What of a ranking a GPU computes where there is one and the work is dear: all comparisons, and the probe's loss.

numpy computes the same from the same formulas, so results differ by the rounding of sums alone; the tests hold torch
on a CPU to it. Products are in float32, unless a program asks torch for shorter factors: that choice stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradattn_core.ranking.arrays import unit_rows
from gradattn_core.records import FloatArray, IntArray

if TYPE_CHECKING:
    import torch

BLOCK = 2**26
"""Cosines that are on the device at once, 256 MiB; beside them lies which of them are chosen."""


def graphics_card(name: str) -> torch.device | None:
    """The CUDA device that ``name`` means, the first usable one for ``auto``; None where that is something else.

    Raises:
        ModelError: that device is unknown, not there, or runs no kernel.
    """
    if name == "cpu":
        return None
    from gradattn_core.model.device import pick_device  # torch: seconds, which only who asks for it spends

    device = pick_device(name)
    return device if device.type == "cuda" else None


def nearest_others(
    features: FloatArray, queries: IntArray, count: int, device: torch.device
) -> tuple[IntArray, FloatArray]:
    """Rows and cosines [Q, count] of the nearest other rows of ``features`` [N, D], best first; ties to earlier rows.

    Every one of the N rows is compared, however many there are.

    Args:
        count: at least 1, at most N − 1.
    """
    import torch

    index = np.empty((len(queries), count), dtype=np.int64)
    similarity = np.empty((len(queries), count), dtype=np.float32)
    step = max(BLOCK // len(features), 1)
    with torch.inference_mode():
        unit = torch.from_numpy(unit_rows(features)).to(device)
        for start in range(0, len(queries), step):
            own = torch.from_numpy(queries[start : start + step]).to(device)
            cosines = unit[own] @ unit.T
            cosines.scatter_(1, own[:, None], -torch.inf)
            # Which of several equal ones are among the best is nowhere promised: so ties are counted from the first.
            least = cosines.topk(count, dim=1).values[:, -1:]
            chosen, tied = cosines > least, cosines == least
            left = count - chosen.sum(dim=1, keepdim=True)
            chosen |= tied & (tied.cumsum(dim=1, dtype=torch.int32) <= left)
            found = chosen.nonzero()[:, 1].view(-1, count)
            values = cosines.gather(1, found)
            order = values.argsort(dim=1, descending=True, stable=True)
            index[start : start + step] = found.gather(1, order).cpu().numpy()
            similarity[start : start + step] = values.gather(1, order).cpu().numpy()
    return index, similarity


class SoftmaxLoss:
    """Σ share · (−log softmax(z)[code]) of z = points · Wᵀ + b, and its gradient, of images that lie on the device."""

    def __init__(self, points: FloatArray, codes: IntArray, share: FloatArray, device: torch.device) -> None:
        import torch

        self._points, self._codes, self._share = (
            torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in (points, codes, share)
        )

    def __call__(self, coefficients: FloatArray) -> tuple[float, FloatArray]:
        """Of coefficients [K, d + 1], the bias last."""
        import torch

        with torch.inference_mode():
            weights = torch.from_numpy(coefficients).to(self._points.device)
            table = torch.addmm(weights[:, -1], self._points, weights[:, :-1].T)
            table -= table.amax(dim=1, keepdim=True)
            given = self._codes[:, None]
            own = table.gather(1, given)[:, 0]
            table.exp_()
            total = table.sum(dim=1)
            loss = float(torch.dot(self._share.double(), (total.log() - own).double()))
            table *= (self._share / total)[:, None]
            table.scatter_add_(1, given, -self._share[:, None])
            gradient = torch.cat([table.T @ self._points, table.sum(dim=0)[:, None]], dim=1)
            return loss, gradient.cpu().numpy()
