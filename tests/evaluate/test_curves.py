"""Part (b) of bench/faithfulness.py: its answers are those of the plain test, and no masked picture is asked twice."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from bench import curves
from bench.curves import Asked
from gradattn_core.evaluate.perturbation import MEASURES, masking_ranks, perturbation_curve, random_maps
from tests.helpers.explicit_maps import pictures, vit
from tests.helpers.peer_models import small

SHARES = curves.shares(4)
LABELS = torch.tensor([0, 4, 2])

# The helpers' models are one for all tests, in double precision: a copy is turned to float32, not they.


def masks(maps: torch.Tensor, order: str) -> torch.Tensor:
    ranks, patches = masking_ranks(maps, order, None, 0)
    return torch.stack([ranks < round(share * patches) for share in SHARES], 1)


@pytest.mark.parametrize("replace", ["zero", "mean", "blur", "drop"])
@pytest.mark.parametrize("family", ["vit", "average"])
def test_answers_are_those_of_the_plain_test(family: str, replace: str) -> None:
    model, images = copy.deepcopy(small(family)).float(), pictures(3, dtype=torch.float32)
    maps = random_maps(torch.zeros(3, 4, 4), seed=3)
    found = Asked(model, images, LABELS, replace, "float32")(masks(maps, "most"))
    curve = perturbation_curve(model, images, maps, LABELS, shares=SHARES, replace=replace)
    for measure, values in zip(MEASURES, found, strict=True):
        np.testing.assert_allclose(values, curve.values(measure), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_masked_picture_is_asked_about_once_and_the_model_is_left_as_it_was(precision: str) -> None:
    model, images = copy.deepcopy(vit()).float(), pictures(3, dtype=torch.float32)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    passed: list[int] = []
    hook = model.register_forward_hook(lambda _module, _inputs, output: passed.append(len(output)))
    asked = Asked(model, images, LABELS, "zero", precision)
    maps = random_maps(torch.zeros(3, 4, 4), seed=3)
    most = asked(masks(maps, "most"))
    # Nothing and everything masked are asked about for the first order alone.
    assert sum(passed) == 3 * len(SHARES)
    least = asked(masks(maps, "least"))
    assert sum(passed) == 3 * (2 * len(SHARES) - 2)
    assert (asked(masks(maps, "most")) == most).all() and (most[..., [0, -1]] == least[..., [0, -1]]).all()
    assert sum(passed) == 3 * (2 * len(SHARES) - 2)
    hook.remove()
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before


def test_half_precision_stays_close() -> None:
    model, images = copy.deepcopy(vit()).float(), pictures(3, dtype=torch.float32)
    masked = masks(random_maps(torch.zeros(3, 4, 4), seed=3), "most")
    exact, rough = (Asked(model, images, LABELS, "blur", each)(masked) for each in ("float32", "bfloat16"))
    np.testing.assert_allclose(rough[1:], exact[1:], atol=0.05)
    assert (rough != exact).any()
