"""What an interpretation leaves alone, where it may run, and which input it refuses."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.interpret.maps import interpret
from tests.helpers.explicit_maps import SMALL_VIT, pictures, tiny, vit


def state_of(model: nn.Module) -> list[Any]:
    seen: list[Any] = []
    for module in model.modules():
        seen.append((module.training, module.__dict__.get("fused_attn"), module.__dict__.get("grad_checkpointing")))
        seen.append((len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks)))
    for parameter in model.parameters():
        seen.append((parameter.requires_grad, parameter.grad is None, parameter.dtype))
    return seen


def mixed_state_model() -> nn.Module:
    """A model in a state that no default would restore: half of it trains, some is frozen or unfused."""
    model: Any = vit(drop_rate=0.5, proj_drop_rate=0.5, attn_drop_rate=0.5)
    model.train()
    model.blocks[1].eval()
    model.blocks[0].attn.fused_attn = False
    model.set_grad_checkpointing(True)
    for parameter in model.blocks[2].parameters():
        parameter.requires_grad_(False)
    return model  # type: ignore[no-any-return]


def test_the_model_is_left_as_it_was_found() -> None:
    model, images = mixed_state_model(), pictures()
    before = state_of(model)
    result = interpret(model, images, 1, 4)
    assert state_of(model) == before
    torch.testing.assert_close(result.scores, interpret(vit(), images, 1, 4).scores)
    assert not result.scores.requires_grad and not result.logits.requires_grad


def test_the_model_is_left_as_it_was_found_after_an_error_inside() -> None:
    model, images = mixed_state_model(), pictures()
    before = state_of(model)

    def broken(_: Tensor) -> Tensor:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        interpret(model, images, objective=broken)
    with pytest.raises(InterpretError):
        interpret(model, images, 99)
    assert state_of(model) == before


def test_the_callers_images_and_gradients_are_left_alone() -> None:
    images = pictures().requires_grad_(True)
    copy = images.detach().clone()
    interpret(vit(), images, 1, 4)
    assert images.grad is None and torch.equal(images.detach(), copy)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(mode: Callable[[], Any]) -> None:
    model = vit()
    expected = interpret(model, pictures(), 1, 4)
    with mode():
        images = pictures()
        found = interpret(model, images, torch.tensor([1, 1]), torch.tensor([4, 4]))
    torch.testing.assert_close(found.scores, expected.scores)
    found.scores.mul_(2.0)
    assert not found.scores.is_inference(), "what comes back is an ordinary tensor"


def test_frozen_parameters_make_no_difference() -> None:
    model, images = vit(), pictures()
    expected = interpret(model, images, 1, 4).scores
    model.requires_grad_(False)
    torch.testing.assert_close(interpret(model, images, 1, 4).scores, expected)


def test_two_models_do_not_disturb_each_other() -> None:
    models = [vit(), tiny("beit_base_patch16_224", **SMALL_VIT)]
    images = pictures()
    alone = [interpret(model, images, 1, 4).scores for model in models]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(5):
            together = list(threads.map(lambda model: interpret(model, images, 1, 4).scores, models))
            torch.testing.assert_close(together, alone)


def test_nothing_of_a_call_stays_in_memory() -> None:
    kept: list[weakref.ref[Tensor]] = []

    def objective(logits: Tensor) -> Tensor:
        kept.append(weakref.ref(logits))
        return logits[:, 0]

    gc.collect()
    gc.disable()
    try:
        interpret(vit(), pictures(), objective=objective)
        assert kept[0]() is None, "the graph of the forward pass is freed without the garbage collector"
    finally:
        gc.enable()


def test_a_compiled_model_is_interpreted_uncompiled_and_a_compiled_part_is_refused() -> None:
    model: Any = vit()
    images = pictures()
    expected = interpret(model, images, 1, 4).scores
    torch.testing.assert_close(interpret(cast(nn.Module, torch.compile(model)), images, 1, 4).scores, expected)
    model.blocks[1].compile()
    with pytest.raises(InterpretError, match=r"model: its part 'blocks\.1' is compiled"):
        interpret(model, images, 1, 4)
    wrapped: Any = vit()
    wrapped.blocks[0] = torch.compile(wrapped.blocks[0])
    with pytest.raises(InterpretError, match=r"model: its part 'blocks\.0' is compiled"):
        interpret(wrapped, images, 1, 4)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "objective": ({"objective": "eq8"}, "objective='eq8' is unknown; choose one of logit, difference"),
    "correction": ({"correction": "gae"}, "correction='gae' is unknown"),
    "correction callable": ({"correction": abs}, "correction=.* is unknown"),
    "aggregation": ({"aggregation": "mean"}, "aggregation='mean' is unknown"),
    "readout": ({"readout": "token"}, "readout='token' is unknown"),
    "readout of another model": ({"readout": "attention-pool"}, "readout='attention-pool'"),
    "readout without its token": ({"readout": "distilled"}, "readout='distilled'.* has 1 prefix"),
    "images unbatched": ({"images": pictures()[0]}, r"images: expected a batch .* got \[3, 64, 64\]"),
    "images none": ({"images": pictures()[:0]}, "images: expected a batch"),
    "images array": ({"images": np.zeros((1, 3, 64, 64))}, "images: expected a batch .* got ndarray"),
    "images bytes": ({"images": torch.zeros(1, 3, 64, 64, dtype=torch.uint8)}, "images: torch.uint8 on cpu"),
    "images of another precision": ({"images": pictures(dtype=torch.float32)}, "images: torch.float32"),
    "images grey": ({"images": pictures()[:, :1]}, "images: 1 channels, but vit_tiny_patch16_224 takes 3"),
    "images of another size": ({"images": pictures(side=80)}, r"images: vit_tiny_patch16_224 cannot take .*80"),
    "images with NaN": ({"images": pictures() * torch.nan}, "images: some pixels are not finite"),
    "target missing": ({"target": None}, "target: objective 'difference' needs a class"),
    "target too high": ({"target": 7}, "target: class 7 is out of range, the head has classes 0 to 6"),
    "target negative": ({"target": torch.tensor([3, -1])}, "target: class -1 is out of range"),
    "target float": ({"target": 1.0}, "target: expected class indices as integers"),
    "target text": ({"target": "kite"}, "target: expected class indices as integers, got 'kite'"),
    "target boolean": ({"target": True}, "target: expected class indices as integers"),
    "target count": ({"target": torch.tensor([1, 2, 3])}, r"target: expected one class or 2 of them, got shape \[3\]"),
    "against too high": ({"against": 70}, "against: class 70 is out of range"),
    "against the same": ({"against": torch.tensor([4, 1])}, "against: is the same class as target"),
    "objective not per image": ({"objective": lambda z: z}, "objective: the callable must return"),
    "objective not a tensor": ({"objective": lambda z: 1.0}, "objective: the callable must return"),
    "objective detached": ({"objective": lambda z: z[:, 0].detach()}, "objective: the callable must return"),
    "objective infinite": ({"objective": lambda z: z[:, 0] / 0}, "objective=.*: its value is not finite"),
    "head not callable": ({"head": torch.zeros(3, 32)}, "head: expected a callable"),
    "head of another shape": ({"head": lambda x: x.sum(1)}, r"head: expected logits \[2, K\], got \[2\]"),
    "head detached": ({"head": lambda x: x.detach()}, "head: its logits carry no gradient"),
    "head blind": (
        {"head": lambda x: torch.arange(10.0).expand(2, -1).clone().requires_grad_(True)},
        "head: what it returns does not depend on the image",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_the_arguments_name(case: str) -> None:
    changes, message = BAD[case]
    arguments = {"images": pictures(), "target": 1, "against": 4, **changes}
    with pytest.raises(InterpretError, match=message):
        interpret(vit(), **arguments)


def test_weights_that_are_not_finite_are_refused() -> None:
    model: Any = vit()
    with torch.no_grad():
        model.head.bias[2] = torch.nan
    with pytest.raises(InterpretError, match="model: its logits are not finite"):
        interpret(model, pictures(), 0, 1)


def test_a_module_that_is_no_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match="Linear is not a timm classifier"):
        interpret(nn.Linear(3, 3), torch.zeros(1, 3, 8, 8), 0, 1)


def test_a_model_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        model = vit()
    with pytest.raises(InterpretError, match=r"model: it was made inside torch\.inference_mode"):
        interpret(model, pictures(), 0, 1)


def test_a_forward_that_drops_gradients_is_refused() -> None:
    model: Any = vit()
    forward = model.blocks.forward
    model.blocks.forward = torch.no_grad()(forward)
    with pytest.raises(InterpretError, match="model: its attention outputs carry no gradient"):
        interpret(model, pictures(), 0, 1)
