"""The terms of key weights in either engine, and damped gradients, against what is written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradattn_core.attention.backward import attention_backward
from gradattn_core.attention.damping import DAMPED, damped
from gradattn_core.attention.rows import AttentionCall
from gradattn_core.attention.terms import KeyTerms, key_terms
from tests.attention.test_backward import recorded
from tests.helpers.explicit_maps import relative

RULES = (
    KeyTerms(0.5, 0.25, False, 1),
    KeyTerms(1.0, 0.0, False, 0),
    KeyTerms(0.2, 0.5, False, 5),
    KeyTerms(0.5, 0, True, 1),
)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("shape", [(1, 2, 600, 600), (3, 2, 40, 40)], ids=str)
def test_terms_are_those_of_the_written_out_formula(shape: tuple[int, int, int, int], rule: KeyTerms) -> None:
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 5e-5), (torch.bfloat16, 5e-2)):
        call, gradient, _, gradients, _ = recorded(shape, "added", dtype)
        expected = written_out(call, gradient, rule)
        ones = torch.ones(shape[0], shape[2])
        found, mean = attention_backward(call, gradient, ones, rule, shape[2])
        assert found is not None and mean.dtype == torch.float32
        assert relative(mean * shape[1], expected) < tolerance
        for one, gradient_of in zip(found, gradients, strict=True):
            assert relative(one, gradient_of) < max(tolerance, 4e-2 if dtype == torch.bfloat16 else 2e-5)
        beside = key_terms(call, gradient, rule, slice(0, shape[2]))
        assert beside.dtype == torch.float32 and relative(beside, expected) < max(tolerance, 1e-5)
        first = key_terms(call, gradient.clone().index_fill_(2, torch.arange(3, shape[2]), 0), rule, slice(0, 3))
        assert relative(first, written_out(call, gradient, rule, 3)) < max(tolerance, 1e-5)


def written_out(call: AttentionCall, gradient: Tensor, rule: KeyTerms, rows: int = -1) -> Tensor:
    """The formulas of the module, in double precision, [B, N]; prefix columns too."""
    q, k, v, g = (tensor.double() for tensor in (call.query, call.key, call.value, gradient))
    mask = 0 if call.mask is None else call.mask
    A = (q @ k.mT / q.shape[-1] ** 0.5 + mask).softmax(-1)
    G, D = g @ v.mT, (g * (A @ v)).sum(-1, keepdim=True)
    p = A / (rule.weight * (1 - A) + A)
    own, even = (G - D) / (1 - A.clamp(max=0.98)), G - (g @ v[:, :, rule.prefix :].mean(2)[..., None])
    terms = A * (G - D) / rule.weight if rule.tangent else p * ((1 - rule.even) * own + rule.even * even)
    terms = terms * (1 - torch.eye(terms.shape[-1]))
    found: Tensor = (terms if rows < 0 else terms[:, :, :rows]).sum((1, 2))
    return found


def held(x: Tensor, share: float) -> Tensor:
    return share * x + (1 - share) * x.detach()


def layer_norm(x: Tensor, share: float, weight: Tensor, bias: Tensor) -> Tensor:
    moved = x - x.mean(-1, keepdim=True)
    return moved * held((moved.square().mean(-1, keepdim=True) + 1e-5).rsqrt(), share) * weight + bias


W, B = torch.linspace(0.5, 2, 12, dtype=torch.float64), torch.linspace(-1, 1, 12, dtype=torch.float64)
GAINS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, float], Tensor]]] = {
    "layer norm": (lambda x: F.layer_norm(x, (12,), W.to(x), B.to(x)), lambda x, a: layer_norm(x, a, W, B)),
    "layer norm, bare": (lambda x: F.layer_norm(x, (12,)), lambda x, a: layer_norm(x, a, W * 0 + 1, B * 0)),
    "rms norm": (
        lambda x: F.rms_norm(x, (12,), W.to(x), 1e-5),
        lambda x, a: x * held((x.square().mean(-1, keepdim=True) + 1e-5).rsqrt(), a) * W,
    ),
    "gelu": (F.gelu, lambda x, a: x * held(0.5 * (1 + torch.erf(x / 2**0.5)), a)),
    "gelu, tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x, a: x * held(0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))), a),
    ),
    "silu": (F.silu, lambda x, a: x * held(x.sigmoid(), a)),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), lambda x, a: x * held((1.702 * x).sigmoid(), a)),
    "a norm by hand": (
        lambda x: x * (x.var(-1, keepdim=True) + 1e-5).rsqrt(),
        lambda x, a: x * held((x.var(-1, keepdim=True) + 1e-5).rsqrt(), a),
    ),
}


class _Damping(torch.overrides.TorchFunctionMode):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        return DAMPED[func](self.share, *args, **kwargs) if func in DAMPED else func(*args, **kwargs)


@pytest.mark.parametrize("name", GAINS)
def test_a_damped_gain_keeps_its_values_and_a_share_of_its_gradient(name: str) -> None:
    function, written = GAINS[name]
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(3, 5, 12, dtype=torch.float64, generator=generator) * 2 + 1
    x[0, 0, :3] = torch.tensor([0.0, 1e-300, -60.0])
    weights = torch.randn(x.shape, dtype=torch.float64, generator=generator)
    for share in (0.0, 0.7, 1.0):
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)):
            one, other = x.to(dtype).requires_grad_(True), x.clone().requires_grad_(True)
            with _Damping(share):
                value = function(one)
            expected = written(other, share)
            assert relative(value.detach(), expected.detach()) < tolerance and value.dtype == dtype
            (found,) = torch.autograd.grad((value * weights.to(dtype)).sum(), one)
            (gradient,) = torch.autograd.grad((expected * weights).sum(), other)
            assert relative(found, gradient) < tolerance, (share, dtype)


def test_a_damped_tensor_is_the_same_tensor() -> None:
    x = torch.randn(3, requires_grad=True)
    assert torch.equal(damped(x, 0.3), x)
    (found,) = torch.autograd.grad(damped(x, 0.3).sum(), x)
    torch.testing.assert_close(found, torch.full((3,), 0.3))
