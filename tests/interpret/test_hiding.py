"""Hiding the evidence for the other class, against doing the same by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from gradattn_core.interpret.hiding import ask_again, hidden_patches, hide
from gradattn_core.interpret.maps import interpret
from tests.helpers.tiny import TINY_VIT

Head = Callable[[Tensor], Tensor]


def by_hand(image: Tensor, scores: Tensor, share: float) -> Tensor:
    """One picture [C, H, W] with its patches of most negative score painted over, patch by patch."""
    rows, columns = scores.shape
    worst = sorted(range(rows * columns), key=lambda patch: float(scores.flatten()[patch]))
    hidden = {patch for patch in worst[: round(share * rows * columns)] if scores.flatten()[patch] < 0}
    height, width = image.shape[1] // rows, image.shape[2] // columns
    seen = [patch for patch in range(rows * columns) if patch not in hidden]

    def colour(patch: int) -> Tensor:
        row, column = divmod(patch, columns)
        return image[:, row * height : (row + 1) * height, column * width : (column + 1) * width].mean(dim=(1, 2))

    mean = torch.stack([colour(patch) for patch in seen]).mean(0) if seen else torch.zeros(len(image))
    painted = torch.zeros(len(image), rows, columns)
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        weights = [
            np.exp(-((patch // columns - row) ** 2 + (patch % columns - column) ** 2) / (2 * 1.5**2)) for patch in seen
        ]
        total = sum(weight * colour(patch) for weight, patch in zip(weights, seen, strict=True)) + 1e-3 * mean
        painted[:, row, column] = total / (sum(weights) + 1e-3)
    smooth = torch.nn.functional.interpolate(painted[None], size=image.shape[1:], mode="bilinear", align_corners=False)[
        0
    ]
    result = image.clone()
    for patch in hidden:
        row, column = divmod(patch, columns)
        down, across = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
        result[:, down, across] = smooth[:, down, across]
    return result


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = timm.create_model("vit_tiny_patch16_224", **TINY_VIT)
    return built.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def probe(features: Tensor) -> Tensor:
    return features @ torch.linspace(-1, 1, 5 * features.shape[1]).view(features.shape[1], 5)


@pytest.mark.parametrize("head", [None, probe])
@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_the_second_answer_is_that_to_the_picture_masked_by_hand(
    model: nn.Module, images: Tensor, head: Head | None, share: float
) -> None:
    scores = interpret(model, images, 0, 1, head=head).scores
    answer = ask_again(model, images, scores, head, share)
    masked = torch.stack([by_hand(image, score, share) for image, score in zip(images, scores, strict=True)])
    with torch.no_grad():
        tokens = model.forward_features(masked)  # type: ignore[operator]
        wanted = model.forward_head(tokens) if head is None else head(model.forward_head(tokens, pre_logits=True))  # type: ignore[operator]
    torch.testing.assert_close(answer, wanted, atol=1e-4, rtol=1e-4)
    assert not answer.requires_grad
    assert (answer - ask_again(model, images, scores.abs(), head, share)).abs().max() > 1e-3


def test_the_most_negative_patches_are_hidden_and_never_a_positive_one() -> None:
    scores = torch.tensor([[[-1.0, 2.0, -3.0], [0.0, -5.0, -2.0]], [[1.0, 2.0, -0.5], [0.0, 3.0, 4.0]]])
    hidden = hidden_patches(scores, 0.5)
    assert hidden.tolist() == [
        [[False, False, True], [False, True, True]],
        [[False, False, True], [False, False, False]],
    ]
    assert hidden_patches(scores).sum(dim=(1, 2)).tolist() == [1, 1]
    tied = hidden_patches(torch.full((1, 2, 5), -1.0))
    assert tied.flatten().tolist() == [True] * 2 + [False] * 8


def test_nothing_of_the_hidden_part_and_everything_of_the_rest_is_left(images: Tensor) -> None:
    hidden = torch.zeros(3, 8, 8, dtype=torch.bool)
    hidden[:, 2:5, 1:7] = True
    over = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(over, torch.full_like(images, 9.0), images)
    assert torch.equal(hide(images, hidden), hide(other, hidden))
    assert torch.equal(hide(images, hidden) * ~over, images * ~over)
    assert hide(images, hidden).abs().max() <= images.abs().max()
    assert torch.equal(hide(images, ~hidden.new_ones(3, 8, 8)), images)


def test_a_picture_hidden_wholly_is_the_mean_of_what_the_model_knows(images: Tensor) -> None:
    assert hide(images, torch.ones(3, 8, 8, dtype=torch.bool)).abs().max() == 0


def test_half_precision_stays_half_precision(images: Tensor) -> None:
    hidden = hidden_patches(-torch.rand(3, 8, 8))
    assert hide(images.bfloat16(), hidden).dtype == torch.bfloat16
    torch.testing.assert_close(hide(images.bfloat16(), hidden).float(), hide(images, hidden), atol=0.02, rtol=0.02)
