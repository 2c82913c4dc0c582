"""Many questions about one batch: what does the model answer with these patches of this picture left out?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradattn_core.attention.readout import patch_grid
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.absence import without_patches
from gradattn_core.interpret.objective import Classes, Objective, class_indices, class_value
from gradattn_core.model.forward import Head, check_head, check_images

CHUNK = 32
"""Images in one forward pass."""

Mask = NDArray[np.bool_]
"""The patches [grid height, grid width] of a region or a group."""


class Asker:
    """Asks a model about a batch again and again, each time with other patches left out.

    Its arguments are those of :func:`~gradattn_core.interpret.measured.region_effects`.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        target: Classes,
        against: Classes | None,
        objective: Objective,
        head: Head | None,
        chunk_size: int = CHUNK,
    ) -> None:
        if chunk_size < 1:
            raise InterpretError(f"chunk_size={chunk_size}: give at least 1")
        if not callable(objective) and objective not in ("difference", "logit"):
            raise InterpretError(f"objective={objective!r}: only 'difference', 'logit' or a callable can be measured")
        if objective == "difference" and against is None:
            raise InterpretError("against: measuring a difference needs the other class too")
        check_images(model, images)
        check_head(head)
        self.model, self.images, self.head = model, images, head
        self.target, self.against = _of_batch("target", target, images), _of_batch("against", against, images)
        self.objective, self.chunk_size = objective, chunk_size

    def __call__(self, questions: Sequence[tuple[int, Mask]]) -> list[float]:
        """f of each (image of the batch, patches to leave out)."""
        answers: list[float] = []
        for start in range(0, len(questions), self.chunk_size):
            rows, masks = zip(*questions[start : start + self.chunk_size], strict=True)
            if len({mask.shape for mask in masks}) > 1:
                raise InterpretError("masks: the regions are of grids of different sizes")
            of = torch.tensor(rows, device=self.images.device)
            absent = torch.from_numpy(np.stack(masks)).to(self.images.device)
            head = None if self.head is None else _row_by_row(self.head, len(self.images), of)
            logits = without_patches(self.model, self.images[of], absent, head).float()
            answers += self._value(logits, of).double().tolist()
        return answers

    def whole(self) -> Tensor:
        """f of each image as it is, [B]."""
        nothing = np.zeros(patch_grid(self.model, self.images), dtype=bool)
        return torch.tensor(self([(row, nothing) for row in range(len(self.images))]), dtype=torch.float64)

    def _value(self, logits: Tensor, of: Tensor) -> Tensor:
        if callable(self.objective):
            return self.objective(logits)
        if self.target is None:
            raise InterpretError(f"target: objective {self.objective!r} needs a class per image")
        target, against = class_indices("target", self.target[of], logits), None
        if self.objective == "difference" and self.against is not None:
            against = class_indices("against", self.against[of], logits)
        return class_value(logits, target, against)


def _of_batch(name: str, classes: Classes | None, images: Tensor) -> Tensor | None:
    """One class for each image, [B]; ``name`` is the argument that a refusal names."""
    if classes is None:
        return None
    found = torch.as_tensor(classes, device=images.device)
    if found.shape not in ((), (len(images),)):
        raise InterpretError(f"{name}: expected one class or {len(images)} of them, got shape {list(found.shape)}")
    return found.expand(len(images))


def _row_by_row(head: Head, images: int, of: Tensor) -> Head:
    """``head``, which answers a whole batch row by row, for features of the images ``of``, each as often as it comes.

    A head may know which image stands in which row, such as the probes of an audit's folds, so every image keeps its
    own: it is asked about as many whole batches as one image comes up times.
    """
    asked: Counter[int] = Counter()
    turns: list[list[int]] = []
    for place, row in enumerate(of.tolist()):
        if asked[row] == len(turns):
            turns.append([])
        turns[asked[row]].append(place)
        asked[row] += 1

    def answer(features: Tensor) -> Tensor:
        parts: dict[int, Tensor] = {}
        for places in turns:
            batch = features.new_zeros(images, features.shape[1])
            batch[of[places]] = features[places]
            parts |= dict(zip(places, head(batch)[of[places]], strict=True))
        return torch.stack([parts[place] for place in range(len(of))])

    return answer
