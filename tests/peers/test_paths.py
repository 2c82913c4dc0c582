"""TAM, Beyond Intuition and DIX against their formulas, one picture and one step at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradattn_core.peers.registry import peer_maps
from tests.helpers.explicit_maps import attention_maps, pictures, relative, tiny

# Six blocks, so that the published starts 4, 3 and 6 of 12 are 2, 2 (1.5 to the even number) and 3.
DEPTH = 6
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "vit": ("vit_tiny_patch16_224", {}, 1),
    "distilled": ("deit_tiny_distilled_patch16_224", {}, 2),
    "average": ("vit_medium_patch16_reg4_gap_256", {}, 4),
    "pool": ("vit_base_patch16_siglip_224", {}, 0),
}


def deep(key: str) -> nn.Module:
    name, arguments, _ = KINDS[key]
    return tiny(name, img_size=64, embed_dim=32, depth=DEPTH, num_heads=2, **arguments)


def read(key: str, last: Tensor) -> Tensor:
    """The row by which one picture's last matrix [N, N] is read."""
    prefix = KINDS[key][2]
    return {"vit": last[0], "distilled": last[:2].mean(0), "average": last[prefix:].mean(0), "pool": last.mean(0)}[key]


def origin(key: str, tokens: int) -> Tensor:
    prefix = KINDS[key][2]
    row = torch.zeros(tokens, dtype=torch.float64)
    row[{"vit": slice(0, 1), "distilled": slice(0, 2), "average": slice(prefix, None)}[key]] = 1
    return row / row.sum()


def rolled(key: str, mixed: list[Tensor]) -> Tensor:
    """r0(I+M_L)…(I+M_1) − r0 of one picture."""
    layers = list(mixed)
    start = layers.pop().mean(0) if key == "pool" else origin(key, layers[0].shape[-1])
    row = start
    for matrix in reversed(layers):
        row = row + row @ matrix
    return row if key == "pool" else row - start


def slope_on_the_way(key: str, model: nn.Module, picture: Tensor, steps: int = 20) -> Tensor:
    total: Tensor | float = 0
    for step in range(steps):
        logits, maps = attention_maps(model, picture * step / (steps - 1))
        total = total + torch.autograd.grad(logits[0, 2], maps[-1])[0][0] / steps
    assert isinstance(total, Tensor)
    return read(key, total.clamp(min=0).mean(0))


@pytest.mark.parametrize("key", KINDS)
def test_tam_and_beyond_intuition_are_their_formulas(key: str) -> None:
    model, images, prefix = deep(key), pictures(1), KINDS[key][2]
    logits, maps = attention_maps(model, images)
    gradients = torch.autograd.grad(logits[0, 2], maps)
    held = [a.detach()[0] for a in maps]
    slope = slope_on_the_way(key, model, images)

    mean = [a.mean(0) for a in held]
    row = read(key, mean[-1])
    for matrix in reversed(mean[2 : DEPTH if key == "pool" else DEPTH - 1]):
        row = row + row @ matrix
    found = peer_maps("tam", model, images, 2, chunk_size=7)
    assert relative(found.flatten(), (row * slope)[prefix:]) < 1e-4

    weighed = []
    for a, g in zip(held, gradients, strict=True):
        theta = torch.stack([(one.T @ own).abs().mean() for one, own in zip(a, g[0], strict=True)])
        theta = theta / theta.sum() if bool(theta.any()) else torch.full_like(theta, 1 / len(theta))
        weighed.append(sum(t * one for t, one in zip(theta, a, strict=True)))
    found = peer_maps("beyond-intuition-h", model, images, 2, chunk_size=7)
    assert relative(found.flatten(), (rolled(key, weighed[2:]) * slope)[prefix:]) < 1e-4


@pytest.mark.parametrize("key", KINDS)
def test_tokens_of_beyond_intuition_weigh_by_what_they_carry(key: str) -> None:
    model, images, prefix = deep(key), pictures(1), KINDS[key][2]
    blocks: Any = model.blocks
    carried: list[Tensor] = []

    def note(block: Any) -> None:
        def values(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            vectors = getattr(block.ls1, "gamma", 1) * (output[0, :, 64:] @ block.attn.proj.weight.T)
            carried.append(vectors.norm(dim=1))

        hooks.append(block.attn.qkv.register_forward_hook(values))
        hooks.append(block.register_forward_pre_hook(lambda _module, inputs: entering.append(inputs[0][0].norm(dim=1))))

    hooks: list[Any] = []
    entering: list[Tensor] = []
    for block in blocks:
        note(block)
    _, maps = attention_maps(model, images)
    for hook in hooks:
        hook.remove()
    mixed = [a.detach()[0].mean(0) for a in maps]
    for number in range(DEPTH):
        mixed[number] = mixed[number] * (carried[number] / entering[number]).detach()
    expected = rolled(key, mixed[3:]) * slope_on_the_way(key, model, images)
    found = peer_maps("beyond-intuition-t", model, images, 2)
    assert relative(found.flatten(), expected[prefix:]) < 1e-4


class _Scaled(nn.Module):
    """In the place of a block's dropout on attention: puts a matrix in for the one that comes."""

    def __init__(self, put: Tensor) -> None:
        super().__init__()
        self.put = put

    def forward(self, attention: Tensor) -> Tensor:
        return self.put


@pytest.mark.parametrize("strict", [False, True], ids=["published", "strict"])
@pytest.mark.parametrize("key", ["vit", "distilled", "average"])
def test_dix_puts_scaled_attention_into_the_last_two_blocks(key: str, strict: bool) -> None:
    model, images, prefix = deep(key), pictures(1), KINDS[key][2]
    blocks: Any = model.blocks
    held = [a.detach() for a in attention_maps(model, images)[1]]
    total: Tensor | float = 0
    for block in (DEPTH - 1, DEPTH - 2):
        sums = [torch.zeros_like(a[0].mean(0)) for a in held]
        own = blocks[block].attn.attn_drop
        for step in range(11):
            put = (held[block if strict else -1] * step / 10).requires_grad_(True)
            blocks[block].attn.attn_drop = _Scaled(put)
            logits, maps = attention_maps(model, images)
            maps[block] = put
            for number, (a, g) in enumerate(zip(maps, torch.autograd.grad(logits[0, 2], maps), strict=True)):
                sums[number] += (a * g).detach().clamp(min=0)[0].mean(0) / 11
        blocks[block].attn.attn_drop = own
        start = origin(key, len(sums[0]))
        row, alone = start, start
        for matrix in reversed(sums):
            share = 1 + matrix.sum(1)
            row, alone = row / share + (row / share) @ matrix, alone / share
        total = total + row - alone
    assert isinstance(total, Tensor)
    found = peer_maps("dix-strict" if strict else "dix", model, images, 2, chunk_size=5)
    assert relative(found.flatten(), total[prefix:]) < 1e-4
