"""Every method keeps the one contract: shape, batches, classes, seeds, and a model that is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradattn_core.errors import InterpretError
from gradattn_core.peers import registry
from gradattn_core.peers.question import Peer
from gradattn_core.peers.registry import PEERS, peer_maps
from tests.helpers.explicit_maps import pictures, vit
from tests.helpers.peer_models import MODELS, small

CHEAP = [name for name, peer in PEERS.items() if peer.passes <= 100]
# What takes many passes is asked about a class token and a pool only.
PAIRS = [(name, key) for name in CHEAP for key in MODELS if PEERS[name].passes <= 10 or key in ("vit", "pool")]


def asked(name: str, key: str, images: Tensor, chunk_size: int = 32) -> Tensor | None:
    """The maps of class 1 against class 4, or ``None`` where the method refuses the model in a sentence."""
    model = small(key)
    try:
        return peer_maps(name, model, images, 1, 4, chunk_size=chunk_size)
    except InterpretError as refused:
        assert str(refused).startswith(f"method {name!r}: ")
        return None


@pytest.mark.parametrize(("name", "key"), PAIRS)
def test_maps_have_the_grid_and_do_not_depend_on_the_batch(name: str, key: str) -> None:
    images = pictures(3)
    found = asked(name, key, images)
    if found is None:
        # The plainest model is refused by none.
        assert key != "vit"
        return
    assert found.shape == (3, 4, 4) and found.dtype == torch.float32
    assert bool(found.isfinite().all()) and bool((found != 0).any())
    alone = asked(name, key, images, chunk_size=2)
    assert alone is not None
    torch.testing.assert_close(alone, found, rtol=1e-4, atol=1e-5 * float(found.abs().max()))


@pytest.mark.parametrize("name", [name for name in CHEAP if PEERS[name].passes <= 10])
def test_a_picture_need_not_be_square(name: str) -> None:
    model = vit(img_size=(32, 64))
    images = pictures(2)[:, :, :32]
    found = peer_maps(name, model, images, 1, 4)
    assert found.shape == (2, 2, 4) and bool(found.isfinite().all())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("name", CHEAP)
def test_a_gpu_gives_the_map_of_the_cpu(name: str) -> None:
    expected = peer_maps(name, vit(), pictures(2), 1, 4)
    found = peer_maps(name, vit().to("cuda"), pictures(2).to("cuda"), 1, 4)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", CHEAP)
def test_a_pair_is_the_difference_of_its_classes_or_the_same_map(name: str) -> None:
    model, images = vit(), pictures(1)
    pair = peer_maps(name, model, images, 2, 5)
    one, other = (peer_maps(name, model, images, wanted) for wanted in (2, 5))
    peer = PEERS[name]
    if peer.explains == "class":
        torch.testing.assert_close(pair, one - other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))
        assert bool((one - other).abs().max() > 1e-6 * one.abs().max())
    elif peer.explains == "picture":
        assert torch.equal(pair, one) and torch.equal(one, other)
    if not peer.is_signed and peer.explains != "pair":
        assert float(one.min()) >= 0
    if peer.is_signed:
        assert float(pair.min()) < 0 < float(pair.max())


@pytest.mark.parametrize("name", CHEAP)
def test_the_model_and_the_pictures_are_left_as_they_were(name: str) -> None:
    model, images = vit().train(), pictures(1)
    model.blocks[0].attn.fused_attn = False  # type: ignore[union-attr, index]
    before = _state(model)
    with torch.inference_mode():
        first = peer_maps(name, model, images, 0, 3, seed=5)
    assert _state(model) == before
    assert not images.requires_grad and torch.equal(images, pictures(1))
    assert torch.equal(peer_maps(name, model, images, 0, 3, seed=5), first)


@pytest.mark.parametrize("name", CHEAP)
def test_a_head_takes_the_place_of_the_classifier(name: str) -> None:
    model, images = vit(), pictures(1)
    weight, bias = (parameter.detach() for parameter in model.get_classifier().parameters())  # type: ignore[operator]
    own = peer_maps(name, model, images, 0, 3)
    turned = peer_maps(name, model, images, 6, 3, head=nn.Linear(32, 7).double().eval())
    # The same classes in turned order: what was class 0 is class 6, and class 3 stays.
    flipped = peer_maps(name, model, images, 6, 3, head=lambda read: functional.linear(read, weight, bias).flip(1))
    torch.testing.assert_close(flipped, own, rtol=1e-4, atol=1e-5 * float(own.abs().max()))
    assert torch.equal(turned, own) == (PEERS[name].explains == "picture")


def _state(model: nn.Module) -> list[object]:
    hooks = [
        (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in model.modules()
    ]
    return [
        [(module.training, getattr(module, "fused_attn", None)) for module in model.modules()],
        [(parameter.requires_grad, float(parameter.detach().sum())) for parameter in model.parameters()],
        hooks,
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "gea"}, "method='gea' is unknown; choose one of"),
        ({"target": 7}, "target: class 7 is out of range"),
        ({"against": -1}, "against: class -1 is out of range"),
        ({"against": 1}, "against: is the same class as target"),
        ({"images": pictures(1)[0]}, r"images: expected a batch"),
        ({"images": pictures(1) * torch.nan}, "images: some pixels are not finite"),
        ({"chunk_size": 0}, "chunk_size=0: give a whole number of at least 1"),
        ({"chunk_size": 2.5}, "chunk_size=2.5: give a whole number"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(options: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"name": "gae", "model": vit(), "images": pictures(1), "target": 1}
    with pytest.raises(InterpretError, match=message):
        peer_maps(**{**arguments, **options})  # type: ignore[arg-type]


def blind(features: Tensor) -> Tensor:
    return torch.zeros(len(features), 7, requires_grad=True) * 1


HEADS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "blind": (blind, "head: what it returns does not depend on the image's features"),
    "not finite": (lambda features: features[:, :7] * torch.nan, "its logits are not finite"),
    "detached": (lambda features: features[:, :7].detach(), "head: its logits carry no gradient"),
}


@pytest.mark.parametrize("name", [*CHEAP, "vit-cx", "tis", "kernel-shap"])
def test_a_head_that_says_nothing_is_refused_in_a_sentence(name: str) -> None:
    for kind, (head, message) in HEADS.items():
        # Who only asks needs no gradient, and who does not ask sees no answer.
        asks, needs = PEERS[name].passes > 0, "backward" in PEERS[name].cost or "relevance" in PEERS[name].cost
        if kind == "blind" or (kind == "not finite" and asks) or needs:
            with pytest.raises(InterpretError, match=message):
                peer_maps(name, vit(), pictures(1), 1, 4, head=head)


def test_autocast_outside_does_not_reach_in() -> None:
    model, images = vit().float(), pictures(1, dtype=torch.float32)
    for name in ("lrp", "gradient"):
        expected = peer_maps(name, model, images, 1, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(peer_maps(name, model, images, 1, 4), expected)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_every_method_says_what_it_is(peer: Peer) -> None:
    assert all(getattr(peer, field.name) for field in fields(Peer) if field.type == "str" and field.name != "notes")
    assert peer.explains in ("pair", "class", "picture")


def test_only_methods_that_there_are_find_details() -> None:
    assert {name for name, peer in PEERS.items() if peer.is_detail} == registry._FINDS_DETAILS
    assert not PEERS["random"].is_detail and not PEERS["centre"].is_detail
