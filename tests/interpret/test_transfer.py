"""Attention as the only parameter: equal to a slow twin, and the class's logit falls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.interpret.maps import interpret
from gradattn_core.interpret.transfer import Transfer, transfer
from gradattn_core.methods import Descent, Method
from tests.helpers.explicit_maps import explicit_scores, pictures, relative, set_fused, tiny, vit
from tests.interpret.test_families import FAMILIES, family, readout_row
from tests.interpret.test_safety import mixed_state_model, state_of

# From layer and the model's own map to the map that is used.
Choose = Callable[[int, Tensor], Tensor]
Forward = Callable[[Choose], Tensor]


def vit_by_hand(model: Any, image: Tensor) -> Forward:
    """A ViT with a class token, written out; every map comes from ``choose``."""

    def forward(choose: Choose) -> Tensor:
        heads = model.blocks[0].attn.num_heads
        x = F.conv2d(image[None], model.patch_embed.proj.weight, model.patch_embed.proj.bias, stride=16)
        x = torch.cat((model.cls_token, x.flatten(2).transpose(1, 2)), 1) + model.pos_embed
        for layer, block in enumerate(model.blocks):
            h = F.layer_norm(x, x.shape[-1:], block.norm1.weight, block.norm1.bias, 1e-6)
            query, key, value = block.attn.qkv(h).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
            own = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
            x = x + block.attn.proj((choose(layer, own) @ value).transpose(1, 2).flatten(2))
            h = F.layer_norm(x, x.shape[-1:], block.norm2.weight, block.norm2.bias, 1e-6)
            x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(h)))
        x = F.layer_norm(x[:, 0], x.shape[-1:], model.norm.weight, model.norm.bias, 1e-6)
        return cast(Tensor, model.head(x)[0])

    return forward


class _ChosenSoftmax(TorchFunctionMode):
    """Puts what ``choose`` says in the place of every softmax of an unfused forward pass."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self.choose, self.seen = choose, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is Tensor.softmax:
            result = self.choose(self.seen, result)
            self.seen += 1
        return result


def unfused(model: Any, image: Tensor) -> Forward:
    def forward(choose: Choose) -> Tensor:
        set_fused(model, False)
        with _ChosenSoftmax(choose):
            logits = model(image[None])[0]
        set_fused(model, True)
        return cast(Tensor, logits)

    return forward


def distribution(maps: Tensor) -> Tensor:
    return maps.clamp(min=0) / maps.clamp(min=0).sum(-1, keepdim=True)


def slow_twin(
    forward: Forward,
    target: int,
    against: int | None,
    start: Tensor | None,
    prefix: int,
    *,
    steps: int,
    rate: float,
    optimiser: str = "sgd",
    renormalise: bool = False,
    grad_mode: str = "full",
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Logits [steps + 1, K], maps [patches] after each step, and the attention at the end."""
    full = grad_mode == "full"
    state: dict[int, Tensor] = {}  # what is added to the layer's own map (full), or the map itself (frozen)
    momentum: dict[int, tuple[Tensor, Tensor]] = {}
    logits, scores = [], []
    for step in range(steps + 1):
        used: list[Tensor] = []
        own_maps: list[Tensor] = []

        def choose(layer: int, own: Tensor, used: list[Tensor] = used, own_maps: list[Tensor] = own_maps) -> Tensor:
            own_maps.append(own.detach())
            if full:
                chosen = own + state.setdefault(layer, torch.zeros_like(own)).requires_grad_(True)
                chosen = distribution(chosen) if renormalise else chosen
            else:
                chosen = state.setdefault(layer, own.detach()).requires_grad_(True)
            used.append(chosen)
            return chosen

        answer = forward(choose)
        logits.append(answer.detach())
        f = answer[target] if against is None else answer[target] - answer[against]
        gradients = list(torch.autograd.grad(f, used, retain_graph=True))
        scores.append(explicit_scores(used, gradients, "complete", "product", start, prefix)[0])
        if step == steps:
            break
        for layer, gradient in enumerate(torch.autograd.grad(answer[target], used)):
            move = rate * gradient
            if optimiser == "adam":
                first, second = momentum.get(layer, (torch.zeros_like(gradient), torch.zeros_like(gradient)))
                first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                momentum[layer] = first, second
                corrected = second / (1 - 0.999 ** (step + 1))
                move = rate * first / (1 - 0.9 ** (step + 1)) / (corrected.sqrt() + 1e-8)
            moved = used[layer].detach() - move
            if full:
                state[layer] = moved - own_maps[layer]
            else:
                state[layer] = distribution(moved) if renormalise else moved
    return torch.stack(logits), scores, [layer.detach()[0] for layer in used]


def assert_equal(found: Transfer, twin: tuple[Tensor, list[Tensor], list[Tensor]], start: list[Tensor]) -> None:
    logits, scores, attention = twin
    for layer, (end, expected, before) in enumerate(zip(found.attention, attention, start, strict=True)):
        moved = float((expected - before).abs().max())
        assert moved > 1e-4, f"layer {layer} of the twin moved"
        assert float((end - expected).abs().max()) < 1e-6 * moved, f"layer {layer}"
    torch.testing.assert_close(found.logits, logits[:, found.classes].float(), rtol=1e-5, atol=1e-5)
    probabilities = logits.softmax(1)[:, found.classes]
    torch.testing.assert_close(found.probabilities, probabilities.float(), rtol=1e-4, atol=1e-6)
    for snapshot, step in enumerate(found.snapshots):
        assert relative(found.maps[snapshot].flatten(), scores[step]) < 1e-5


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("grad_mode", ["full", "frozen"])
def test_every_step_is_that_of_a_vit_written_out_by_hand(grad_mode: str, renormalise: bool, optimiser: str) -> None:
    model, image = vit(), pictures()[0]
    options: dict[str, Any] = {
        "steps": 4,
        "rate": 0.02 if optimiser == "sgd" else 2e-3,
        "optimiser": optimiser,
        "renormalise": renormalise,
        "grad_mode": grad_mode,
    }
    forward = vit_by_hand(model, image)
    start = readout_row("cls", 17, 1)
    untouched = slow_twin(forward, 1, 4, start, 1, steps=0, rate=0.0)[2]
    twin = slow_twin(forward, 1, 4, start, 1, **options)
    assert_equal(transfer(model, image, 1, 4, descent=Descent(snapshots=5, **options)), twin, untouched)


SOME_FAMILIES = (
    "vit-mean",
    "deit-distilled",
    "beit",
    "relpos",
    "eva02",
    "rope",
    "dinov3",
    "siglip",
    "pool-without-prefix",
    "vit-non-square",
)


@pytest.mark.parametrize("grad_mode", ["full", "frozen"])
@pytest.mark.parametrize("key", SOME_FAMILIES)
def test_every_family_takes_the_steps_of_its_unfused_twin(key: str, grad_mode: str) -> None:
    model, images = family(key)
    _, _, _, kind, prefix = FAMILIES[key]
    forward = unfused(model, images[0])
    options: dict[str, Any] = {"steps": 2, "rate": 0.02, "grad_mode": grad_mode}
    probe = slow_twin(forward, 1, None, None, prefix, steps=0, rate=0.0)[2]
    start = readout_row(kind, probe[0].shape[-1], prefix)
    twin = slow_twin(forward, 1, None, start, prefix, **options)
    found = transfer(model, images[0], 1, descent=Descent(snapshots=3, **options))
    assert_equal(found, twin, probe)
    assert found.provenance.readout == kind


@pytest.mark.parametrize("key", ["vit", "eva02", "siglip"])
@pytest.mark.parametrize("correction", ["complete", "positive", "absolute", "centred"])
def test_the_first_snapshot_is_the_interpretation_of_the_untouched_model(key: str, correction: str) -> None:
    model, images = family(key)
    for aggregation in ("product", "sum"):
        options: dict[str, Any] = {"correction": correction, "aggregation": aggregation}
        found = transfer(model, images[0], 2, 5, descent=Descent(steps=1), method=Method(**options))
        expected = interpret(model, images[:1], 2, 5, **options)
        assert relative(found.maps[0], expected.scores[0]) < 1e-5
        torch.testing.assert_close(found.logits[0], expected.logits[0, list(found.classes)])
        assert found.provenance == expected.provenance
        leading = interpret(model, images[:1], found.leaders[0], objective="logit", **options)
        assert relative(found.leading_maps[0], leading.scores[0]) < 1e-5
    frozen = transfer(
        model, images[0], 2, 5, descent=Descent(steps=1, grad_mode="frozen"), method=Method(correction=correction)
    ).maps[0]
    product = interpret(model, images[:1], 2, 5, correction=correction).scores[0]
    assert relative(frozen, product) > 1e-3, "without the paths through later softmaxes the map is another"


@pytest.mark.parametrize("grad_mode", ["full", "frozen"])
@pytest.mark.parametrize("renormalise", [False, True])
def test_the_logit_falls_at_every_small_step(grad_mode: str, renormalise: bool) -> None:
    model, image = vit(), pictures()[0]
    found = transfer(model, image, 3, descent=Descent(steps=6, rate=1e-3, grad_mode=grad_mode, renormalise=renormalise))
    assert bool((found.logits[1:, 0] < found.logits[:-1, 0]).all())


@pytest.mark.parametrize("grad_mode", ["full", "frozen"])
def test_renormalised_rows_are_distributions_and_others_are_not(grad_mode: str) -> None:
    model, image = vit(), pictures()[0]
    for layer in transfer(
        model, image, 3, descent=Descent(steps=3, rate=0.5, grad_mode=grad_mode, renormalise=True)
    ).attention:
        assert bool((layer >= 0).all())
        torch.testing.assert_close(layer.sum(-1), torch.ones_like(layer[..., 0]))
    free = transfer(model, image, 3, descent=Descent(steps=3, rate=0.5, grad_mode=grad_mode)).attention
    assert any(bool((layer < 0).any()) for layer in free)
    assert all(float((layer.sum(-1) - 1).abs().max()) > 1e-3 for layer in free)


@pytest.mark.parametrize("grad_mode", ["full", "frozen"])
def test_the_absolute_correction_has_no_sign_even_where_attention_has_become_negative(grad_mode: str) -> None:
    descent = Descent(steps=3, rate=0.5, grad_mode=grad_mode)
    moved = transfer(vit(), pictures()[0], 3, descent=descent, method=Method(correction="absolute"))
    assert any(bool((layer < 0).any()) for layer in moved.attention)
    assert float(moved.maps.min()) >= 0 and float(moved.leading_maps.min()) >= 0


def test_it_follows_the_asked_classes_first_and_whichever_class_ever_led() -> None:
    found = transfer(vit(), pictures()[0], 6, 0, descent=Descent(steps=5, rate=0.05, snapshots=3))
    assert found.classes[:2] == (6, 0) and len(set(found.classes)) == len(found.classes)
    assert found.snapshots == (0, 2, 5)
    assert set(found.leaders) <= set(found.classes)
    assert found.maps.shape == found.leading_maps.shape == (3, 4, 4)
    assert found.logits.shape == found.probabilities.shape == (6, len(found.classes))
    led = [found.classes[column] for column in found.logits[list(found.snapshots)].argmax(1).tolist()]
    assert tuple(led) == found.leaders
    assert transfer(vit(), pictures()[0], 6, descent=Descent(steps=2, snapshots=7)).snapshots == (0, 1, 2), (
        "no step is shown twice"
    )


def test_a_head_of_ones_own_takes_the_place_of_the_classifier() -> None:
    model: Any = vit()
    image = pictures()[0]
    expected = transfer(model, image, 3, descent=Descent(steps=3, rate=0.02))
    found = transfer(
        model, image, 3, descent=Descent(steps=3, rate=0.02), head=lambda features: model.head(features) + 1.0
    )
    torch.testing.assert_close(found.logits, expected.logits + 1.0)
    torch.testing.assert_close(found.maps, expected.maps)


def test_the_model_is_left_as_it_was_found() -> None:
    model, image = mixed_state_model(), pictures()[0]
    before = state_of(model)
    found = transfer(model, image, 1, descent=Descent(steps=2, rate=0.02))
    assert state_of(model) == before
    torch.testing.assert_close(found.maps, transfer(vit(), image, 1, descent=Descent(steps=2, rate=0.02)).maps)
    torch.testing.assert_close(
        interpret(model, image[None], 1, objective="logit").scores[0], found.maps[0], rtol=1e-4, atol=1e-7
    )

    def broken(*_: int) -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        transfer(model, image, 1, progress=broken)
    assert state_of(model) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(mode: Callable[[], Any]) -> None:
    expected = transfer(vit(), pictures()[0], 1, descent=Descent(steps=2, rate=0.02))
    model = vit()
    with mode():
        found = transfer(model, pictures()[0], 1, descent=Descent(steps=2, rate=0.02))
    torch.testing.assert_close(found.maps, expected.maps)
    assert not found.maps.is_inference() and not found.logits.is_inference() and not found.maps.requires_grad


def test_half_precision_stays_close() -> None:
    model, image = vit().to(torch.bfloat16), pictures()[0].to(torch.bfloat16)
    found = transfer(model, image, 1, descent=Descent(steps=3, rate=0.02))
    expected = transfer(vit(), pictures()[0], 1, descent=Descent(steps=3, rate=0.02))
    assert all(layer.dtype == torch.float32 for layer in found.attention), "parameters are kept in single precision"
    assert relative(found.logits[:, 0], expected.logits[:, 0]) < 0.1


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int]] = []
    transfer(vit(), pictures()[0], 1, descent=Descent(steps=3), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "image batched": (
        {"image": pictures()},
        r"image: expected one preprocessed picture .* got torch.float64 \[2, 3, 64, 64\]",
    ),
    "image of another size": ({"image": pictures(side=80)[0]}, "cannot take"),
    "image array": ({"image": [1.0]}, "image: expected one preprocessed picture .* got list"),
    "target": ({"target": 7}, "target: class 7 is out of range"),
    "against the same": ({"against": 1}, "against: is the same class as target"),
    "steps": ({"descent": {"steps": 0}}, "steps=0: give a number from 1 to 10,000"),
    "rate": ({"descent": {"rate": -1.0}}, "rate=-1.0: give a positive number"),
    "rate nan": ({"descent": {"rate": float("nan")}}, "rate=nan: give a positive number"),
    "rate too high": (
        {"descent": {"rate": 1e300}},
        "rate=1e.300: the logits are not finite after 1 steps; a smaller rate works",
    ),
    "optimiser": ({"descent": {"optimiser": "lbfgs"}}, "optimiser='lbfgs' is unknown; choose one of sgd, adam"),
    "grad_mode": ({"descent": {"grad_mode": "half"}}, "grad_mode='half' is unknown; choose one of full, frozen"),
    "snapshots": ({"descent": {"snapshots": 0}}, "snapshots=0: give at least 1"),
    "correction": ({"method": {"correction": "gae"}}, "correction='gae' is unknown"),
    "objective": ({"method": {"objective": "ratio"}}, "objective='ratio': transfer works with 'difference' alone"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_the_arguments_name(case: str) -> None:
    changes, message = copy.deepcopy(BAD[case])
    with pytest.raises(InterpretError, match=message):
        descent, method = Descent(**{"steps": 2, **changes.pop("descent", {})}), Method(**changes.pop("method", {}))
        transfer(vit(), **{"image": pictures()[0], "target": 1, **changes}, descent=descent, method=method)


def test_maps_too_large_to_be_parameters_are_refused_before_they_are_made() -> None:
    model = tiny("vit_tiny_patch16_224", torch.float32, img_size=640, embed_dim=16, depth=14, num_heads=16)
    with pytest.raises(InterpretError, match=r"image: 1,601 tokens in 14 layers of 16 heads make 2\.3 GB"):
        transfer(model, pictures(1, side=640, dtype=torch.float32)[0], 1)


def test_a_model_without_global_attention_is_refused() -> None:
    with pytest.raises(ModelError, match="Linear is not a timm classifier"):
        transfer(nn.Linear(3, 3), torch.zeros(3, 8, 8), 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("grad_mode", ["full", "frozen"])
def test_a_gpu_takes_the_steps_of_the_cpu(grad_mode: str) -> None:
    options: dict[str, Any] = {"steps": 3, "rate": 0.02, "grad_mode": grad_mode, "renormalise": True}
    expected = transfer(vit(), pictures()[0], 1, 4, descent=Descent(**options))
    found = transfer(vit().cuda(), pictures()[0].cuda(), 1, 4, descent=Descent(**options))
    assert found.maps.is_cuda and found.classes == expected.classes
    torch.testing.assert_close(found.maps.cpu(), expected.maps, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
