"""Detail interpretation of several classes: what separates each from each of the others (Cui 2026, Figs. 5 and 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from numbers import Integral
from operator import index

import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import Provenance, signed_maps
from gradattn_core.methods import PAIR_OBJECTIVES, Method
from gradattn_core.model.forward import Head, answer


@dataclass(frozen=True)
class Detail:
    """The signed maps of all ordered pairs of k classes.

    Attributes:
        classes: [B, k], of each image; the likeliest first where they were not given.
        scores: [B, k, k, grid height, grid width] float32, raw; ``scores[:, i, j]`` is red for class i and blue for
            class j. The diagonal is zero. With ``aggregation="product"`` the map of (j, i) is not exactly the negative
            of that of (i, j).
        logits: [B, K] float32.
    """

    classes: Tensor
    scores: Tensor
    logits: Tensor
    provenance: Provenance

    @property
    def probabilities(self) -> Tensor:
        """[B, k] float32 in [0, 1], softmax over all of the model's classes."""
        return self.logits.softmax(1).gather(1, self.classes)


def detail(
    model: nn.Module,
    images: Tensor,
    classes: int | Sequence[int] = 3,
    *,
    method: Method = Method(),
    head: Head | None = None,
) -> Detail:
    """Interpret every ordered pair of classes: k·(k−1) forward and backward passes of the batch.

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
    places = range(len(labels))
    maps = {(i, j): signed_maps(model, images, labels[i], labels[j], method, head) for i, j in permutations(places, 2)}
    first = maps[0, 1]
    scores = first.scores.new_zeros(len(images), len(labels), len(labels), *first.scores.shape[1:])
    for (i, j), result in maps.items():
        scores[:, i, j] = result.scores
    columns = [torch.as_tensor(label, device=first.logits.device).expand(len(images)) for label in labels]
    return Detail(torch.stack(columns, dim=1), scores, first.logits, first.provenance)


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
