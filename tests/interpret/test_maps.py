"""What a signed map promises: identities, the sign convention, precision, heads of one's own."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from gradattn_core.attention.backward import Gradients, attention_backward
from gradattn_core.attention.rollout import prepared
from gradattn_core.attention.rows import AttentionCall, corrected_row
from gradattn_core.attention.tape import AttentionTape
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import Interpretation, interpret
from gradattn_core.methods import OBJECTIVES, PAPER_CORRECTIONS
from tests.helpers.explicit_maps import attention_maps, pictures, relative, vit


def random_call() -> tuple[AttentionCall, Tensor, Tensor, Tensor]:
    """An attention call with its pre-softmax scores, its map and ∂f/∂O of a nonlinear f."""
    generator = torch.Generator().manual_seed(2)
    query, key, value = (torch.randn(2, 3, 6, 4, dtype=torch.float64, generator=generator) for _ in range(3))
    scores = (query @ key.transpose(-2, -1) / 2).requires_grad_(True)
    maps = scores.softmax(-1)
    output = maps @ value
    f = output.tanh().pow(2).sum()
    gradient, before_softmax = torch.autograd.grad(f, (output, scores))
    call = AttentionCall(query, key, value, None, 0.5, output.detach(), None)
    return call, before_softmax, maps.detach(), gradient


def test_centred_follows_the_gradient_before_the_softmax() -> None:
    call, before_softmax, _, gradient = random_call()
    row = torch.randn(2, 6, generator=torch.Generator().manual_seed(4))
    found = corrected_row(call, gradient, row, slice(0, 6), "centred")
    expected = torch.einsum("bi,bhij->bj", row.double(), before_softmax) / 3
    assert relative(found, expected) < 1e-5


def output_gradients(model: nn.Module, images: Tensor, output: int) -> dict[int, tuple[AttentionCall, Tensor]]:
    """Each attention call of a backward pass and the gradient of its output, in the order in which they came."""
    seen: dict[int, tuple[AttentionCall, Tensor]] = {}
    with prepared(model), AttentionTape("vit") as tape:
        network: Any = model
        logits = network(images.clone().requires_grad_(True))
        tape.on_gradient = lambda index, gradient: gradients_of(seen, index, tape.calls[index], gradient)
        torch.autograd.grad(logits[:, output].sum(), tape.first_output)
    return seen


def gradients_of(
    seen: dict[int, tuple[AttentionCall, Tensor]], index: int, call: AttentionCall, gradient: Tensor
) -> Gradients | None:
    seen[index] = call, gradient
    batch, _, queries, _ = gradient.shape
    return attention_backward(call, gradient, torch.zeros(batch, queries), "complete", queries)[0]


def test_the_row_sum_of_attention_times_gradient_is_output_times_its_gradient() -> None:
    model, images = vit(), pictures()
    logits, maps = attention_maps(model, images)
    explicit = torch.autograd.grad(logits[:, 3].sum(), maps)
    seen = output_gradients(model, images, 3)
    for index, (attention, gradient) in enumerate(zip(maps, explicit, strict=True)):
        call, from_output = seen[index]
        found = (call.output * from_output).sum(-1)
        torch.testing.assert_close(found, (attention * gradient).sum(-1).detach(), rtol=1e-9, atol=1e-12)


def test_the_last_layer_is_differentiated_only_in_the_readout_row() -> None:
    seen = output_gradients(vit(), pictures(), 0)
    assert list(seen) == [2, 1, 0], "a backward pass meets the layers last first"
    assert float(seen[2][1][:, :, 1:].abs().max()) == 0
    assert float(seen[1][1][:, :, 1:].abs().max()) > 0


def test_positive_is_between_zero_and_absolute() -> None:
    model, images = vit(), pictures()
    positive = interpret(model, images, 1, 2, correction="positive").scores
    absolute = interpret(model, images, 1, 2, correction="absolute").scores
    assert bool((positive >= 0).all())
    assert bool((positive <= absolute).all())
    assert bool((positive < absolute).any())


def test_complete_equals_positive_and_absolute_where_every_gradient_is_positive() -> None:
    call, _, _, gradient = random_call()
    lifted = AttentionCall(call.query, call.key, call.value.abs(), None, 0.5, call.output, None)
    row = torch.rand(2, 6, generator=torch.Generator().manual_seed(4))
    complete, positive, absolute = (
        corrected_row(lifted, gradient.abs(), row, slice(0, 6), correction)
        for correction in ("complete", "positive", "absolute")
    )
    torch.testing.assert_close(complete, positive)
    torch.testing.assert_close(complete, absolute)


@pytest.mark.parametrize("correction", ["complete", "centred"])
def test_swapping_the_classes_turns_every_sign_of_the_sum(correction: str) -> None:
    model, images = vit(), pictures()
    one = interpret(model, images, 1, 4, correction=correction, aggregation="sum").scores
    other = interpret(model, images, 4, 1, correction=correction, aggregation="sum").scores
    assert relative(one, -other) < 1e-5


def test_quotient_has_the_direction_of_ratio() -> None:
    model, images = vit(), pictures()
    logits = interpret(model, images, 0, 1).logits
    a, b = logits.topk(2).indices.unbind(1)
    rows = torch.arange(len(images))
    ratio = interpret(model, images, a, b, objective="ratio", aggregation="sum").scores
    quotient = interpret(model, images, a, b, objective="quotient", aggregation="sum").scores
    factor = (logits[rows, a] / logits[rows, b]).square()[:, None, None]
    assert relative(quotient, ratio * factor) < 1e-5


def test_normalised_objective_keeps_the_sign_of_the_difference_when_both_logits_are_negative() -> None:
    model, images = vit(), pictures()
    with torch.no_grad():
        bias: Any = model.head.bias  # type: ignore[union-attr]
        bias -= 100.0
    options: dict[str, Any] = {"target": 1, "against": 4, "aggregation": "sum"}
    difference = interpret(model, images, **options).scores
    normalised = interpret(model, images, objective="normalised", **options)
    scale = normalised.logits[:, 1].abs()[:, None, None]
    assert relative(normalised.scores * scale, difference) < 1e-4
    with pytest.warns(UserWarning, match="objective='ratio': a logit is not positive"):
        ratio = interpret(model, images, objective="ratio", **options).scores
    assert float(np.corrcoef(ratio.flatten(), difference.flatten())[0, 1]) < 0, "as printed, eq. 8 turns round"


def paint_model() -> nn.Module:
    """One block of uniform attention that averages each patch's red and blue; class 0 reads red, class 1 blue."""
    model: Any = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=64,
        embed_dim=2,
        depth=1,
        num_heads=1,
        num_classes=2,
        norm_layer=nn.Identity,
    ).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        model.patch_embed.proj.weight[0, 0] = model.patch_embed.proj.weight[1, 2] = 1 / 256
        model.blocks[0].attn.qkv.weight[4:] = torch.eye(2)
        model.blocks[0].attn.proj.weight.copy_(torch.eye(2))
        model.head.weight.copy_(torch.eye(2))
    return cast(nn.Module, model.eval())


def test_positive_speaks_for_the_target_and_negative_for_the_other_class() -> None:
    images = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    images[:, 0, :, :32] = 1.0
    images[:, 2, :, 32:] = 1.0
    result = interpret(paint_model(), images, 0, 1)
    # A = 1/17 everywhere and G_j = red_j − blue_j.
    expected = torch.tensor([1.0, 1.0, -1.0, -1.0]).expand(1, 4, 4) / 17
    torch.testing.assert_close(result.scores, expected)
    torch.testing.assert_close(result.normalised, expected * 17)
    torch.testing.assert_close(interpret(paint_model(), images, 1, 0).scores, -expected)


def test_elephant_and_zebra_part_on_a_real_photograph(shared_data: Path) -> None:
    model, reference = real_model(shared_data)
    images = torch.from_numpy(reference["el2/input"]).reshape(1, 3, 224, 224)
    zebra, elephant = 340, 386
    for correction in ("complete", "centred"):
        scores = interpret(model, images, zebra, elephant, correction=correction).scores[0]
        assert float(scores[7:12, 6:12].sum()) > 0, "the zebra is in the lower right"
        assert float(scores[1:5, 2:10].sum()) < 0, "the elephant is in the upper left"


def real_model(shared_data: Path) -> tuple[nn.Module, dict[str, Any]]:
    weights = shared_data / "weights" / "vit_tiny_patch16_224.safetensors"
    model = timm.create_model("vit_tiny_patch16_224", checkpoint_path=str(weights)).eval()
    return model, dict(np.load(shared_data / "reference" / "maps.npz"))


def test_maps_equal_the_independent_reference(shared_data: Path) -> None:
    model, reference = real_model(shared_data)
    compared = 0
    for key, expected in reference.items():
        if key.count("/") < 4:
            continue
        name, objective, correction, a, b = key.split("/")
        images = torch.from_numpy(reference[f"{name}/input"]).reshape(1, 3, 224, 224)
        found = interpret(model, images, int(a), int(b), objective=objective, correction=correction)
        assert relative(found.scores[0], torch.from_numpy(expected)) < 1e-4, key
        np.testing.assert_allclose(found.logits[0], reference[f"{name}/logits"].ravel(), atol=1e-3)
        compared += 1
    assert compared == 60


def test_moving_a_constant_through_the_value_bias_changes_complete_but_not_centred() -> None:
    model, images = vit(), pictures()
    before = {c: interpret(model, images, 1, 4, correction=c) for c in PAPER_CORRECTIONS}
    with torch.no_grad():
        blocks: Any = model.blocks
        for block in blocks:
            constant = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            block.attn.qkv.bias[64:] += constant
            block.attn.proj.bias -= block.attn.proj.weight @ constant
    after = {c: interpret(model, images, 1, 4, correction=c) for c in PAPER_CORRECTIONS}
    torch.testing.assert_close(after["complete"].logits, before["complete"].logits)
    assert relative(after["centred"].scores, before["centred"].scores) < 1e-5
    for correction in ("complete", "positive", "absolute"):
        assert relative(after[correction].scores, before[correction].scores) > 0.05
    signs = after["complete"].scores.sign() != before["complete"].scores.sign()
    assert bool(signs.any()), "a sign of complete is relative to an arbitrary zero"


@pytest.mark.parametrize("correction", PAPER_CORRECTIONS)
def test_an_image_has_the_same_map_in_any_batch(correction: str) -> None:
    model, images = vit(), pictures(5)
    a, b = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([5, 5, 6, 0, 1])
    together = interpret(model, images, a, b, correction=correction).scores
    for i in range(5):
        alone = interpret(model, images[i : i + 1], a[i : i + 1], int(b[i]), correction=correction).scores
        assert relative(together[i : i + 1], alone) < 1e-5


def test_without_a_second_class_the_strongest_other_class_of_each_image_is_taken() -> None:
    model, images = vit(), pictures(4)
    logits = interpret(model, images, objective="logit", target=0).logits
    best, second = logits.topk(2).indices.unbind(1)
    for target, other in ((best, second), (second, best)):
        torch.testing.assert_close(
            interpret(model, images, target).scores, interpret(model, images, target, other).scores
        )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.2), (torch.float16, 0.02)], ids=["bfloat16", "float16"]
)
@pytest.mark.parametrize("correction", PAPER_CORRECTIONS)
def test_half_precision_stays_close_and_answers_in_single_precision(
    dtype: torch.dtype, tolerance: float, correction: str
) -> None:
    model = vit()
    images = pictures().to(dtype)
    expected = interpret(model, images.double(), 1, 4, correction=correction, aggregation="sum")
    found = interpret(model.to(dtype), images, 1, 4, correction=correction, aggregation="sum")
    assert found.scores.dtype == found.logits.dtype == torch.float32
    assert relative(found.scores, expected.scores) < tolerance


def test_autocast_outside_leaves_the_row_in_single_precision() -> None:
    call, _, _, gradient = random_call()
    row = torch.rand(2, 6)
    expected = corrected_row(call, gradient, row, slice(0, 6), "centred")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(corrected_row(call, gradient, row, slice(0, 6), "centred"), expected)
        found = interpret(vit().float(), pictures(dtype=torch.float32), 1, 4)
    assert found.scores.dtype == torch.float32


def test_a_head_of_ones_own_equals_a_model_with_that_classifier() -> None:
    model, images = vit(), pictures(3)
    weights = torch.randn(3, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    found = interpret(model, images, 2, 4, head=lambda features: torch.einsum("bd,bkd->bk", features, weights))
    for i in range(3):
        swapped: Any = vit()
        swapped.reset_classifier(5)
        swapped.head.to(torch.float64)
        with torch.no_grad():
            swapped.head.weight.copy_(weights[i])
            swapped.head.bias.zero_()
        expected = interpret(swapped, images[i : i + 1], 2, 4)
        assert relative(found.scores[i : i + 1], expected.scores) < 1e-5
        torch.testing.assert_close(found.logits[i : i + 1], expected.logits, rtol=1e-4, atol=1e-5)


def test_a_callable_objective_equals_the_named_one() -> None:
    model, images = vit(), pictures()
    named = interpret(model, images, 1, 4)
    own = interpret(model, images, objective=lambda logits: logits[:, 1] - logits[:, 4])
    torch.testing.assert_close(own.scores, named.scores)
    assert named.provenance.objective == "difference"
    assert own.provenance.objective != "difference"


def test_provenance_says_how_the_map_was_made() -> None:
    made = interpret(vit(), pictures(), 1, correction="centred", aggregation="sum", objective="normalised").provenance
    assert (made.model, made.objective, made.correction) == ("vit_tiny_patch16_224", "normalised", "centred")
    assert (made.aggregation, made.readout) == ("sum", "cls")
    assert made.torch == torch.__version__ and made.timm == timm.__version__


def test_prefix_share_is_the_mass_that_ends_on_prefix_tokens() -> None:
    result = interpret(vit(), pictures(), 1, 4)
    assert bool(((result.prefix_share > 0) & (result.prefix_share < 1)).all())
    painted = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    painted[:, 0] = 1.0
    assert float(interpret(paint_model(), painted, 0, 1).prefix_share) == 0, "its class token is zero"


def test_a_map_of_zeros_has_no_scale() -> None:
    blank = interpret(paint_model(), torch.zeros(2, 3, 64, 64, dtype=torch.float64), 0, 1)
    assert float(blank.scores.abs().max()) == 0
    with pytest.raises(InterpretError, match="scores: the map of image 0 of the batch is zero"):
        _ = blank.normalised


def test_normalised_spans_one_per_image() -> None:
    result: Interpretation = interpret(vit(), pictures(3), 1, 4)
    torch.testing.assert_close(result.normalised.abs().amax((1, 2)), torch.ones(3))
    assert bool((result.normalised.sign() == result.scores.sign()).all())


def test_every_pair_of_options_gives_a_finite_map() -> None:
    model, images = vit().float(), pictures(1, dtype=torch.float32)
    a, b = interpret(model, images, objective="logit", target=0).logits[0].topk(2).indices.tolist()
    for objective, correction in itertools.product(OBJECTIVES, PAPER_CORRECTIONS):
        scores = interpret(model, images, a, b, objective=objective, correction=correction).scores
        assert scores.shape == (1, 4, 4) and bool(torch.isfinite(scores).all())
