"""Detail interpretation of several classes: what separates each from each of the others (Cui 2026, Figs. 5 and 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from numbers import Integral
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import Objective, Provenance, interpret


@dataclass(frozen=True)
class Detail:
    """The signed maps of all ordered pairs of k classes.

    Attributes:
        classes: [B, k], of each image; the likeliest first where they were not given.
        scores: [B, k, k, grid height, grid width] float32, raw; ``scores[:, i, j]`` is red for class i and blue for
            class j. The diagonal is zero. With ``aggregation="product"`` the map of (j, i) is not exactly the negative
            of that of (i, j).
        logits: [B, K] float32.
        provenance: of the maps.
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
    objective: Objective = "difference",
    correction: str = "complete",
    aggregation: str = "product",
    readout: str = "auto",
    head: Callable[[Tensor], Tensor] | None = None,
) -> Detail:
    """Interpret every ordered pair of classes: k·(k−1) forward and backward passes of the batch.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, 3, H, W], preprocessed as the model expects.
        classes: how many of each image's likeliest classes to compare, or the classes themselves, two or more.
        objective, correction, aggregation, readout, head: as for ``interpret``; an objective of two classes.

    Raises:
        InterpretError: an argument is unusable; the message names it.
        ModelError: the model has no global self-attention.
    """
    if objective == "logit" or callable(objective):
        raise InterpretError("objective: a pair of classes needs one of two classes, such as 'difference'")
    options: dict[str, Any] = {
        "objective": objective,
        "correction": correction,
        "aggregation": aggregation,
        "readout": readout,
        "head": head,
    }
    wanted = _wanted(classes)
    # The first answer is only needed to choose by it; one more pass among k·(k−1).
    chosen = _likeliest(class_logits(model, images, head), wanted) if isinstance(wanted, int) else wanted
    maps = {
        (i, j): interpret(model, images, chosen[i], chosen[j], **options)
        for i, j in permutations(range(len(chosen)), 2)
    }
    first = maps[0, 1]
    scores = first.scores.new_zeros(len(images), len(chosen), len(chosen), *first.scores.shape[1:])
    for (i, j), result in maps.items():
        scores[:, i, j] = result.scores
    columns = [torch.as_tensor(label, device=first.logits.device).expand(len(images)) for label in chosen]
    return Detail(torch.stack(columns, dim=1), scores, first.logits, first.provenance)


def class_logits(model: nn.Module, images: Tensor, head: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """[B, K] float32, of the model's classifier or of ``head`` on its features.

    Raises:
        InterpretError: what ``interpret`` would refuse about model, images and head.
    """
    # Any scalar will do: this is for the engine's checks and for the answer it returns beside the map.
    return interpret(model, images, objective=lambda logits: logits.float().sum(1), head=head).logits


def _wanted(classes: int | Sequence[int]) -> int | list[int]:
    """How many, or which."""
    try:
        if isinstance(classes, Integral):
            return int(classes)
        wanted = [index(label) for label in classes]  # type: ignore[union-attr]
    except TypeError:
        raise InterpretError(
            f"classes={classes!r}: give how many of the likeliest to compare, or class indices"
        ) from None
    if len(wanted) < 2 or len(set(wanted)) != len(wanted):
        raise InterpretError(f"classes={wanted}: give two or more different classes, or how many of the likeliest")
    return wanted


def _likeliest(logits: Tensor, count: int) -> Sequence[Tensor]:
    """For each place among the likeliest, the class of each image [B]."""
    if not 2 <= count <= logits.shape[1]:
        raise InterpretError(f"classes={count}: choose from 2 to the {logits.shape[1]} classes that the head has")
    return logits.topk(count, dim=1).indices.unbind(1)
