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
from gradattn_core.model.preprocessing import Preprocessing
from tests.helpers.explicit_maps import vit
from tests.interpret.test_safety import mixed_state_model, state_of

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


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
    image, budget, steps, rate = photograph(), 6.0, 5, 1.7
    found = rewrite(model, image, 1, 4, budget=budget, steps=steps, rate=rate)
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


def test_with_a_euclidean_budget_the_pixels_move_along_the_gradient() -> None:
    model: Any = vit()
    image = photograph()
    found = rewrite(model, image, 1, 4, budget=255, l2_budget=400.0, steps=1, rate=300.0)
    original = ((image * 0.5 + 0.5) * 255).round().requires_grad_(True)
    logits = model(((original / 255 - 0.5) / 0.5)[None])[0]
    (gradient,) = torch.autograd.grad(logits[1] - logits[4], original)
    expected = (original.detach() - 300.0 * gradient / gradient.norm()).clamp(0, 255).round()
    torch.testing.assert_close(found.after.double(), expected.permute(1, 2, 0))


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


def test_a_euclidean_budget_is_kept_after_rounding_and_spent() -> None:
    found = rewrite(vit(), photograph(), 1, 4, budget=255, l2_budget=60.0)
    change = (found.after.int() - found.before.int()).double()
    assert 50 < float(change.norm()) <= 60.0
    assert found.fidelity.l2 == pytest.approx(float(change.norm()))
    both = rewrite(vit(), photograph(), 1, 4, budget=2, l2_budget=60.0)
    assert both.fidelity.linf <= 2 and both.fidelity.l2 <= 60.0


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
        pretrained_cfg_overlay={"input_size": (3, 64, 64), "crop_pct": 1.0, "mean": MEAN, "std": (0.2, 0.3, 0.4)}
    )
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Preprocessing.of(model)(Image.fromarray(pixels)).double()
    np.testing.assert_array_equal(rewrite(model, image, 1, 4, steps=1).before, pixels)
    given = rewrite(model, photograph(), 1, 4, steps=1, mean=MEAN, std=STD).before
    torch.testing.assert_close(given.double(), ((photograph() * 0.5 + 0.5) * 255).permute(1, 2, 0))


def test_it_reaches_the_class_it_aims_at_or_says_that_it_did_not() -> None:
    model, image = vit(), photograph()
    start = answers(model, ((image * 0.5 + 0.5) * 255).round().permute(1, 2, 0))
    first, second = start.argsort(descending=True)[:2].tolist()
    assert rewrite(model, image, first, second, budget=16).succeeded
    assert not rewrite(model, image, first, second, budget=1, steps=1, rate=1e-3).succeeded


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
    "l2_budget": ({"l2_budget": 0.0}, r"l2_budget=0\.0: give at least one"),
    "steps": ({"steps": 0}, "steps=0: give a number from 1"),
    "rate": ({"rate": 0.0}, r"rate=0\.0: give a positive number"),
    "std": ({"std": (0.5, 0.0, 0.5)}, "std=.*: give one positive number for each of 3 channels"),
    "mean": ({"mean": (0.5, 0.5)}, "mean=.* for each of 3 channels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_the_arguments_name(case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(InterpretError, match=message):
        rewrite(vit(), **{"image": photograph(), "target": 1, "against": 4, **changes})


def ssim_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """Window by window, as Wang et al. print it."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(a.shape[2]):
        for row in range(a.shape[0] - 10):
            for column in range(a.shape[1] - 10):
                x, y = (p[row : row + 11, column : column + 11, channel].astype(float) for p in (a, b))
                mx, my = (window * x).sum(), (window * y).sum()
                vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                cov = (window * (x - mx) * (y - my)).sum()
                values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_ssim_is_the_formula_taken_window_by_window() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (17, 21, 3), dtype=np.uint8)
    for noise in (3, 60):
        b = (a + rng.normal(0, noise, a.shape)).clip(0, 255).astype(np.uint8)
        assert fidelity(a, b).ssim == pytest.approx(ssim_by_hand(a, b), abs=1e-9)
    assert fidelity(a, 255 - a).ssim == pytest.approx(ssim_by_hand(a, 255 - a), abs=1e-9)


def test_fidelity_of_known_changes() -> None:
    a = np.full((16, 16, 3), 100, dtype=np.uint8)
    same = fidelity(a, a)
    assert (same.linf, same.l2, same.changed, same.psnr, same.ssim) == (0, 0.0, 0.0, math.inf, 1.0)
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
    with pytest.raises(InterpretError, match=r"before: .* fewer than the 11 x 11 window"):
        fidelity(a[:8], a[:8])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_rewrites_as_the_cpu_does() -> None:
    expected = rewrite(vit(), photograph(), 1, 4, steps=3)
    found = rewrite(vit().cuda(), photograph().cuda(), 1, 4, steps=3)
    assert float((found.after != expected.after).double().mean()) < 1e-3
    torch.testing.assert_close(found.probabilities.cpu(), expected.probabilities, rtol=1e-3, atol=1e-5)
