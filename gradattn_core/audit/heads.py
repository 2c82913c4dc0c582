"""The probes that drew an audit's maps: its own, and those of earlier audits whose maps it keeps.

A probe is another one as soon as one label has changed, and mostly by next to nothing. Before its two scales a map is
linear in the difference of its classes' weights, so one that was drawn with a head which answers all but alike shows
what a new one would. It is kept with that head, which stays in the audit's files: whatever is asked about the map
later, its own head answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from torch import Tensor

from gradattn_core.files import write_bytes
from gradattn_core.model.forward import Head
from gradattn_core.records import FloatArray, IntArray

MOST_MOVED, MOST_SHIFTED = 0.1, 0.25
"""How far two heads may differ whose maps stand for one another: in the log-odds of the two classes over the audit's
pictures, root mean square of the difference as a share of that of the log-odds; and in log-odds of the picture."""
MOST_KEPT = 2**28
"""Bytes of kept heads. Each audit of a growing dataset adds a few, and with a thousand classes one has three megabytes;
of more the maps of those that have drawn fewest are drawn anew."""
_ENOUGH = 20_000
"""Pictures that tell how far heads differ."""
_KEPT = "kept/"


@dataclass(frozen=True)
class LinearHeads:
    """The probe of each fold: logits = features @ weights[fold].T + bias[fold]; [F, K, D] and [F, K].

    Attributes:
        kept: by id, [K, D + 1] with the bias last: heads of earlier audits that have drawn maps which this one keeps.
    """

    weights: FloatArray
    bias: FloatArray
    kept: dict[str, FloatArray] = field(default_factory=dict)
    _on: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def save(self, path: Path) -> None:
        kept = {f"{_KEPT}{name}": np.ascontiguousarray(head) for name, head in self.kept.items()}
        write_bytes(path, save({"weights": self.weights, "bias": self.bias, **kept}))

    @classmethod
    def load(cls, path: Path) -> LinearHeads:
        arrays = load_file(path)
        kept = {name.removeprefix(_KEPT): head for name, head in arrays.items() if name.startswith(_KEPT)}
        return cls(arrays["weights"], arrays["bias"], kept)

    @property
    def joined(self) -> FloatArray:
        """[F, K, D + 1], the bias last."""
        return np.concatenate([self.weights, self.bias[:, :, None]], axis=2)

    def of(self, folds: Sequence[int], device: torch.device) -> Head:
        """Maps features [B, D] to logits [B, K], each image by its own fold's probe."""
        if device not in self._on:
            # Once for all batches: of a thousand classes a batch's own copy would be a hundred megabytes.
            self._on[device] = torch.from_numpy(self.weights).to(device), torch.from_numpy(self.bias).to(device)
        chosen = torch.tensor(folds, device=device)
        weights, bias = (each[chosen] for each in self._on[device])
        return lambda features: torch.einsum("bd,bkd->bk", features.float(), weights) + bias

    def that_drew(self, head: str | None, fold: int, device: torch.device) -> Head:
        """The head of a map: the kept one of that id, or else the probe of its fold."""
        if head not in self.kept:
            return self.of([fold], device)
        kept = torch.from_numpy(self.kept[head]).to(device)
        return lambda features: torch.nn.functional.linear(features.float(), kept[:, :-1], kept[:, -1])


def stands(
    candidates: pd.DataFrame, now: FloatArray, before: dict[str, FloatArray], features: FloatArray, rows: IntArray
) -> NDArray[np.bool_]:
    """[M] whether each stored map can stand for the one that would be drawn now.

    It can where the head that drew it has hardly moved, see ``MOST_MOVED`` and ``MOST_SHIFTED``, and names the same of
    the two classes for this picture.

    Args:
        candidates: [M] ``fold``, ``given_output``, ``other_output``, and ``head``, the id of the one that drew the map.
        now: [F, K, D + 1] the heads of now, the bias last.
        before: the other heads by id, [K, D + 1].
        features: [N, D] of all the audit's pictures, which the heads read.
        rows: [M] which picture of these each candidate is of.
    """
    found = np.zeros(len(candidates), dtype=np.bool_)
    known = np.flatnonzero(candidates["head"].isin(list(before)).to_numpy())
    if not len(known):
        return found
    some = features[:: -(-len(features) // _ENOUGH)]
    seen = np.concatenate([some, np.ones((len(some), 1))], axis=1, dtype=np.float64)
    moment = seen.T @ seen / len(seen)
    chosen = candidates.iloc[known]
    fold, given, other = (chosen[name].to_numpy() for name in ("fold", "given_output", "other_output"))
    new = now[fold, given].astype(np.float64) - now[fold, other]
    pairs = zip(chosen["head"], given, other, strict=True)
    old = np.stack([before[head][a].astype(np.float64) - before[head][b] for head, a, b in pairs])
    own = np.concatenate([features[rows[known]], np.ones((len(known), 1))], axis=1, dtype=np.float64)
    said, says = (own * old).sum(axis=1), (own * new).sum(axis=1)
    moved = _size(new - old, moment) <= MOST_MOVED * _size(old, moment)
    found[known] = moved & (np.abs(says - said) <= MOST_SHIFTED) & ((said >= 0) == (says >= 0))
    return found


def most_used(drew: pd.Series, size: int) -> list[str]:
    """The heads to keep, in the order of their ids: all, or where ``MOST_KEPT`` is less those of the most maps.

    Args:
        drew: [M] the id of the head of each map.
        size: bytes of a head.
    """
    counts = drew.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return sorted(counts.index[: MOST_KEPT // size])


def _size(directions: NDArray[np.float64], moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """[M] root mean square of what directions [M, D + 1] say of pictures with this second moment."""
    size: NDArray[np.float64] = np.sqrt(((directions @ moment) * directions).sum(axis=1).clip(0))
    return size
