"""Adversarial rewriting: within the budget after rounding, and reported as a picture file would be answered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import interpret
from gradattn_core.interpret.rewrite import fidelity, rewrite
from gradattn_core.methods import Method
from gradattn_core.model.preprocessing import Preprocessing
from tests.helpers.explicit_maps import vit
from tests.interpret.test_safety import mixed_state_model, state_of


def photograph(seed: int = 4) -> Tensor:
    """[3, 64, 64] preprocessed 8-bit pixels, with black and white ones among them."""
    pixels = np.random.default_rng(seed).integers(-40, 296, (3, 64, 64)).clip(0, 255)
    return (torch.from_numpy(pixels).double() / 255 - 0.5) / 0.5


def answers(model: Any, picture: Tensor) -> Tensor:
    """[K] logits of [H, W, 3] bytes, as a program of its own would get them."""
    with torch.no_grad():
        logits: Tensor = model(((picture.double() / 255 - 0.5) / 0.5).permute(2, 0, 1)[None])[0]
    return logits.float()


def test_the_steps_are_those_of_projected_gradient_descent() -> None:
    model: Any = vit()
    image, budget, steps = photograph(), 6.0, 5
    rate = 2.5 * budget / steps
    found = rewrite(model, image, 1, 4, budget=budget, steps=steps)
    original = ((image * 0.5 + 0.5) * 255).round()
    pixels = original.clone()
    for step in range(steps):
        pixels.requires_grad_(True)
        logits = model(((pixels / 255 - 0.5) / 0.5)[None])[0]
        torch.testing.assert_close(found.course[step], logits.detach()[[1, 4]].float())
        (gradient,) = torch.autograd.grad(logits[1] - logits[4], pixels)
        moved = pixels.detach() - rate * torch.sign(gradient)
        pixels = torch.minimum(torch.maximum(moved, original - budget), original + budget).clamp(0, 255)
    expected = pixels.round().permute(1, 2, 0)
    assert float((expected - original.permute(1, 2, 0)).abs().max()) == budget
    torch.testing.assert_close(found.after.double(), expected)


@pytest.mark.parametrize("budget", [1.0, 1.9, 8.0])
def test_the_rounded_pixels_keep_the_budget_and_change_the_answer(budget: float) -> None:
    found = rewrite(vit(), photograph(), 1, 4, budget=budget)
    change = found.after.int() - found.before.int()
    assert found.after.dtype == found.before.dtype == torch.uint8
    assert int(change.abs().max()) == found.fidelity.linf == int(budget)
    margins = [
        float(m.logits[0, 1] - m.logits[0, 4]) for m in (found.interpretation_before, found.interpretation_after)
    ]
    assert margins[1] < margins[0]
    assert found.course.shape == (21, 2)


def test_the_reported_answers_are_those_to_the_saved_picture(tmp_path: Path) -> None:
    model = vit()
    found = rewrite(model, photograph(), 1, 4)
    for name, pixels, reported in (
        ("before", found.before, found.interpretation_before),
        ("after", found.after, found.interpretation_after),
    ):
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{name}.png")
        again = torch.from_numpy(np.array(Image.open(tmp_path / f"{name}.png")))
        torch.testing.assert_close(answers(model, again), reported.logits[0], rtol=1e-5, atol=1e-5)
        image = ((again.double() / 255 - 0.5) / 0.5).permute(2, 0, 1)[None]
        torch.testing.assert_close(interpret(model, image, 1, 4).scores, reported.scores)
    reached = int(found.interpretation_after.logits[0].argmax())
    assert found.succeeded == (reached == 4)
    expected = torch.stack([answers(model, p).softmax(0)[[1, 4]] for p in (found.before, found.after)])
    torch.testing.assert_close(found.probabilities, expected, rtol=1e-4, atol=1e-6)


def test_before_is_the_picture_that_the_preprocessing_was_given() -> None:
    model = vit(
        pretrained_cfg_overlay={
            "input_size": (3, 64, 64),
            "crop_pct": 1.0,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.2, 0.3, 0.4),
        }
    )
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Preprocessing.of(model)(Image.fromarray(pixels)).double()
    np.testing.assert_array_equal(rewrite(model, image, 1, 4, steps=1).before, pixels)
    given = rewrite(vit(), photograph(), 1, 4, steps=1).before
    torch.testing.assert_close(given.double(), ((photograph() * 0.5 + 0.5) * 255).permute(1, 2, 0))


def test_it_reaches_the_class_it_aims_at_or_says_that_it_did_not() -> None:
    model, image = vit(), photograph()
    start = answers(model, ((image * 0.5 + 0.5) * 255).round().permute(1, 2, 0))
    first, second = start.argsort(descending=True)[:2].tolist()
    assert rewrite(model, image, first, second, budget=16).succeeded
    unlikeliest = int(start.argmin())
    assert not rewrite(model, image, first, unlikeliest, budget=1, steps=1).succeeded


def test_the_model_and_the_callers_image_are_left_as_they_were() -> None:
    model, image = mixed_state_model(), photograph()
    before, copy = state_of(model), image.clone()
    expected = rewrite(vit(), image, 1, 4, steps=3)
    with torch.inference_mode():
        found = rewrite(model, image, 1, 4, steps=3)
    assert state_of(model) == before and torch.equal(image, copy)
    assert torch.equal(found.after, expected.after)


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int]] = []
    rewrite(vit(), photograph(), 1, 4, steps=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "image batched": ({"image": photograph()[None]}, "image: expected one preprocessed picture"),
    "image of bytes": ({"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}, "image: .* got torch.uint8"),
    "target": ({"target": 9}, "target: class 9 is out of range"),
    "against the same": ({"against": 1}, "against: is the same class as target"),
    "budget below one": ({"budget": 8 / 255}, r"budget=0\.03.*: give 1 to 255 steps of 8 bits"),
    "budget above all": ({"budget": 256}, "budget=256"),
    "steps": ({"steps": 0}, "steps=0: give a number from 1"),
    "objective": ({"method": Method(objective="ratio")}, "objective='ratio': rewrite works with 'difference' alone"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_the_arguments_name(case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(InterpretError, match=message):
        rewrite(vit(), **{"image": photograph(), "target": 1, "against": 4, **changes})


def test_fidelity_of_known_changes() -> None:
    a = np.full((16, 16, 3), 100, dtype=np.uint8)
    same = fidelity(a, a)
    assert (same.linf, same.l2, same.changed, same.psnr) == (0, 0.0, 0.0, math.inf)
    one = fidelity(a, a + np.uint8(1))
    assert one.linf == 1 and one.changed == 1.0
    assert one.l2 == pytest.approx(math.sqrt(16 * 16 * 3))
    assert one.psnr == pytest.approx(20 * math.log10(255))
    b = a.copy()
    b[2, 3] = (90, 104, 100)
    spot = fidelity(a, b)
    assert spot.linf == 10 and spot.changed == 1 / 256 and spot.l2 == pytest.approx(math.sqrt(116))


def test_fidelity_refuses_what_it_cannot_compare() -> None:
    a = np.zeros((16, 16, 3), dtype=np.uint8)
    with pytest.raises(InterpretError, match=r"after: expected 8-bit pixels .* got uint8 \[16, 15, 3\]"):
        fidelity(a, a[:, 1:])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_rewrites_as_the_cpu_does() -> None:
    expected = rewrite(vit(), photograph(), 1, 4, steps=3)
    found = rewrite(vit().cuda(), photograph().cuda(), 1, 4, steps=3)
    assert float((found.after != expected.after).double().mean()) < 1e-3
    torch.testing.assert_close(found.probabilities.cpu(), expected.probabilities, rtol=1e-3, atol=1e-5)
