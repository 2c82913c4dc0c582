"""Detail interpretation of several classes: what separates each from each of the others (Cui 2026, Figs. 5 and 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from numbers import Integral
from operator import index

import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.interpret.absence import answer_without_picture
from gradattn_core.interpret.maps import Interpretation, Provenance, signed_maps
from gradattn_core.interpret.objective import exact_values
from gradattn_core.methods import PAIR_OBJECTIVES, Method
from gradattn_core.model.forward import Head, answer


@dataclass(frozen=True)
class Detail:
    """The signed maps of all ordered pairs of k classes.

    Attributes:
        classes: [B, k], of each image; the likeliest first where they were not given.
        scores: [B, k, k, grid height, grid width] float32, raw; ``scores[:, i, j]`` is red for class i and blue for
            class j. The diagonal is zero. With *secant* the map of (j, i) is the negative of that of (i, j), as with
            ``aggregation="sum"``; with the product it is not exactly.
        logits: [B, K] float32.
        log_odds, base: [B, k, k] float32 of *secant*: each pair's f, and f without any picture; a map's sum is their
            difference. ``None`` for another correction.
    """

    classes: Tensor
    scores: Tensor
    logits: Tensor
    provenance: Provenance
    log_odds: Tensor | None = None
    base: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """[B, k] float32 in [0, 1], softmax over all of the model's classes."""
        return self.logits.softmax(1).gather(1, self.classes)


def detail(
    model: nn.Module,
    images: Tensor,
    classes: int | Sequence[int] = 3,
    *,
    method: Method = Method(correction="secant"),
    head: Head | None = None,
) -> Detail:
    """Interpret every ordered pair of classes: a forward and a backward pass of the batch each.

    With *secant* that is k·(k−1)/2 of them, as the other half are their negatives, and one pass each for all f and all
    f₀; else k·(k−1).

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, 3, H, W], preprocessed as the model expects.
        classes: how many of each image's likeliest classes to compare, or the classes themselves, two or more.
        method: how each map is made; its objective must be one of two classes.
        head: as for ``interpret``.

    Raises:
        InterpretError: an argument is unusable; the message names it.
        ModelError: the model has no global self-attention.
    """
    if method.objective not in PAIR_OBJECTIVES:
        raise InterpretError("objective: a pair of classes needs one of two classes, such as 'difference'")
    which = _count_or_labels(classes)
    labels = _likeliest(answer(model, images, head), which) if isinstance(which, int) else which
    adds_up = method.correction == "secant"
    pairs = (combinations if adds_up else permutations)(range(len(labels)), 2)
    maps: dict[tuple[int, int], Interpretation] = {}
    absent = answer_without_picture(model, images, head) if adds_up else None
    logits = None
    for i, j in pairs:
        base = None if absent is None else exact_values(method.objective, absent, labels[i], labels[j])
        maps[i, j] = signed_maps(model, images, labels[i], labels[j], method, head, logits, base)
        # What is answered holds for all pairs.
        logits = maps[i, j].logits
    squares = {
        name: _square({pair: getattr(result, name) for pair, result in maps.items()}, len(labels), mirrored=adds_up)
        for name in (("scores", "log_odds", "base") if adds_up else ("scores",))
    }
    first = maps[0, 1]
    columns = [torch.as_tensor(label, device=first.logits.device).expand(len(images)) for label in labels]
    return Detail(torch.stack(columns, dim=1), logits=first.logits, provenance=first.provenance, **squares)


def _square(values: dict[tuple[int, int], Tensor], count: int, *, mirrored: bool) -> Tensor:
    """[B, count, count, …] of the values [B, …] of pairs; mirrored, (j, i) is the negative of (i, j)."""
    first = values[0, 1]
    square = first.new_zeros(len(first), count, count, *first.shape[1:])
    for (i, j), value in values.items():
        square[:, i, j] = value
        if mirrored:
            square[:, j, i] = -value
    return square


def _count_or_labels(classes: int | Sequence[int]) -> int | list[int]:
    """How many of the likeliest classes, or which ones."""
    try:
        if isinstance(classes, Integral):
            return int(classes)
        labels = [index(label) for label in classes]  # type: ignore[union-attr]
    except TypeError:
        raise InterpretError(
            f"classes={classes!r}: give how many of the likeliest to compare, or class indices"
        ) from None
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise InterpretError(f"classes={labels}: give two or more different classes, or how many of the likeliest")
    return labels


def _likeliest(logits: Tensor, count: int) -> Sequence[Tensor]:
    """For each place among the likeliest, the class of each image [B]."""
    if not 2 <= count <= logits.shape[1]:
        raise InterpretError(f"classes={count}: choose from 2 to the {logits.shape[1]} classes that the head has")
    return logits.topk(count, dim=1).indices.unbind(1)
