"""The perturbation test: mask patches from the most or the least relevant on, and ask the model each time.

A faithful map loses the label early when its most relevant patches go first, and late when its least relevant do. The
test takes maps, whatever made them. It compares maps of one run only: how a patch is masked, and which share counts,
changes the numbers more than the method does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradattn_core.attention.rollout import prepared
from gradattn_core.errors import EvaluateError
from gradattn_core.evaluate.replacing import REPLACEMENTS, masked_logits

FloatArray = NDArray[np.float64]
ORDERS = ("most", "least")
MEASURES = ("accuracy", "probability", "logit", "log_odds")
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class PerturbationCurve:
    """What the model says about each image's label while a growing share of the patches is masked.

    Attributes:
        shares: [S] ascending, in [0, 1], of the patches that may be masked.
        accuracy: [images, S], 1 where the label is the model's best class, else 0.
        probability: [images, S] of the label, in [0, 1].
        logit: [images, S] of the label.
        log_odds: [images, S] of the label against all other classes together, ln p/(1 − p), which does not saturate.
        order, replace: how they were masked.
        patches: how many patches an image has that may be masked.
    """

    shares: FloatArray
    accuracy: FloatArray
    probability: FloatArray
    logit: FloatArray
    log_odds: FloatArray
    order: str
    replace: str
    patches: int

    def values(self, measure: str = "accuracy") -> FloatArray:
        """[images, S] of one of :data:`MEASURES`.

        Raises:
            EvaluateError: another measure.
        """
        _check_choice("measure", measure, MEASURES)
        values: FloatArray = getattr(self, measure)
        return values


def perturbation_curve(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    labels: Tensor | Sequence[int],
    *,
    order: str = "most",
    shares: Sequence[float] = SHARES,
    replace: str = "zero",
    allowed: Tensor | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> PerturbationCurve:
    """Mask ``round(share · patches)`` patches of each image in the order of its map, for every share.

    Args:
        model: images [B, C, H, W] → logits [B, K]. Left as it was found.
        images: [B, C, H, W], preprocessed.
        maps: [B, rows, columns], greater is more relevant; a signed map is ranked by its signed value.
        labels: [B], the class whose accuracy, probability and logit is followed.
        order: ``most`` masks the most relevant patches first, ``least`` the least relevant.
        shares: ascending, in [0, 1].
        replace: what a masked patch becomes, one of :data:`~gradattn_core.evaluate.replacing.REPLACEMENTS`.
        allowed: bool [rows, columns]; only these patches are ranked and masked (of a joined picture, the picture's own
            half), and shares count these alone. All where ``None``.
        seed: of the order among patches of equal value. By position, a map of zeros would be a map of its top rows.

    Raises:
        EvaluateError: an argument is unusable; the message names it.
    """
    _check_choice("order", order, ORDERS)
    _check_choice("replace", replace, REPLACEMENTS)
    _check_shapes(images, maps, allowed)
    classes = _checked_labels(labels, images)
    grid = np.asarray(shares, dtype=np.float64)
    if grid.ndim != 1 or not len(grid) or (np.diff(grid) <= 0).any() or not (grid[0] >= 0 and grid[-1] <= 1):
        raise EvaluateError(f"shares={list(shares)}: expected ascending numbers from 0 to 1")
    ranks, patches = masking_ranks(maps.to(images.device), order, allowed, seed)
    answers = []
    with prepared(model), torch.inference_mode():
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            logits = [
                masked_logits(model, images[part], ranks[part] < round(share * patches), replace) for share in grid
            ]
            answers.append(answers_of(torch.stack(logits, dim=1), classes[part]))
    accuracy, probability, logit, log_odds = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    return PerturbationCurve(grid, accuracy, probability, logit, log_odds, order, replace, patches)


def random_maps(maps: Tensor, seed: int = 0) -> Tensor:
    """Maps of the same shape that know nothing: uniform in [0, 1), the baseline every method must beat."""
    return torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed)).to(maps.device)


def masking_ranks(maps: Tensor, order: str, allowed: Tensor | None, seed: int) -> tuple[Tensor, int]:
    """Place of every patch in the order of masking, [B, rows, columns], 0 first; and how many patches take part.

    Arguments as those of :func:`perturbation_curve`.
    """
    flat = maps.flatten(1).double()
    count = flat.shape[1]
    taking_part = torch.ones(count, dtype=torch.bool) if allowed is None else allowed.flatten()
    places = taking_part.to(flat.device).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.rand(len(flat), len(places), generator=generator).argsort(dim=1).to(flat.device)
    candidates = places[shuffled]
    values = flat.gather(1, candidates)
    sorted_places = candidates.gather(1, values.argsort(dim=1, descending=order == "most", stable=True))
    ranks = torch.full_like(flat, count, dtype=torch.long)
    ranks.scatter_(1, sorted_places, torch.arange(len(places), device=flat.device).expand_as(sorted_places))
    return ranks.view_as(maps), len(places)


def answers_of(logits: Tensor, classes: Tensor) -> tuple[FloatArray, ...]:
    """Each of :data:`MEASURES` of the labels ``classes`` [B], [B, S], from logits [B, S, K]."""
    if int(classes.max()) >= logits.shape[2] or int(classes.min()) < 0:
        raise EvaluateError(f"labels: a class is out of range, the model has classes 0 to {logits.shape[2] - 1}")
    index = classes[:, None, None].expand(-1, logits.shape[1], 1)
    own = logits.gather(2, index)[..., 0]
    probability = logits.double().softmax(dim=2).gather(2, index)[..., 0]
    accuracy = logits.argmax(dim=2) == classes[:, None]
    log_odds = own.double() - logits.double().scatter(2, index, -torch.inf).logsumexp(dim=2)
    return tuple(x.double().cpu().numpy() for x in (accuracy, probability, own, log_odds))


def _checked_labels(labels: Tensor | Sequence[int], images: Tensor) -> Tensor:
    classes = torch.as_tensor(labels)
    if classes.shape != (len(images),) or classes.is_floating_point() or classes.dtype == torch.bool:
        raise EvaluateError(f"labels: expected {len(images)} class indices, got {classes.dtype} {list(classes.shape)}")
    return classes.long().to(images.device)


def _check_shapes(images: Tensor, maps: Tensor, allowed: Tensor | None) -> None:
    if images.ndim != 4 or not len(images):
        raise EvaluateError(f"images: expected a batch [B, channels, H, W], got {list(images.shape)}")
    if maps.ndim != 3 or len(maps) != len(images) or 0 in maps.shape:
        raise EvaluateError(f"maps: expected [{len(images)}, rows, columns], got {list(maps.shape)}")
    if images.shape[2] % maps.shape[1] or images.shape[3] % maps.shape[2]:
        raise EvaluateError(
            f"maps: {maps.shape[1]} x {maps.shape[2]} patches do not divide images of {images.shape[2]} x "
            f"{images.shape[3]} pixels"
        )
    if not bool(torch.isfinite(maps).all()):
        raise EvaluateError("maps: some values are not finite")
    if allowed is not None and (allowed.dtype != torch.bool or allowed.shape != maps.shape[1:] or not allowed.any()):
        raise EvaluateError(
            f"allowed: expected booleans {list(maps.shape[1:])}, some of them true, got {allowed.dtype} "
            f"{list(allowed.shape)}"
        )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise EvaluateError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")
