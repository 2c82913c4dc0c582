"""Layer-wise relevance propagation through a Vision Transformer: T-Attr, partial and full LRP.

Relevance R is 1 at the explained logit and is handed back through every operation by a rule of its own in the place of
its derivative. Autograd does the walking: a function mode replaces each operation by one whose backward pass is the
rule, and what only moves numbers about (reshapes, slices, joins) keeps its derivative, which moves relevance likewise.
Where relevance arrives from several sides it is added.

* linear, convolution and mean (α = 1, β = 0): R_j = Σ_i relu(x_j w_ij) / Σ_k relu(x_k w_ik) · R_i, no bias;
* norms, activations, softmax, and products with a constant (layer scale, rotary positions): R as it is;
* the product of two tensors Z = XY (A·V, QKᵀ): R_X = ½ X ⊙ (R/Z)Yᵀ, and Y alike; elementwise (gated MLPs) ½ R each;
* sums Z = a + b: aR/Z and bR/Z, each rescaled to the share |Σ aR/Z| / (|Σ aR/Z| + |Σ bR/Z|) of Σ R. A position
  embedding takes its share with it; a bias takes none.

A quotient is 0 where its denominator is, which else gets 1e-9 added. The authors' code sums shares over the whole
batch and so runs one picture at a time; here they are summed for each picture. The rules for layer scale, qk-norm,
rotary positions, relative positions (which take no relevance), gated MLPs and pools are ours: the authors had none. An
operation without a rule is refused by its name, half precision too. Every N x N matrix of relevance is held.

One library's notice says that layer-wise relevance propagation is patented and free for personal and scientific use
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from gradattn_core.attention.explicit import own_attention
from gradattn_core.attention.tape import Asked
from gradattn_core.peers.capture import Attended, attended
from gradattn_core.peers.question import Peer, Question, patches_as_leaf

Back = Callable[[Tensor], tuple[Tensor, ...]]
"""From the relevance of a result to that of its inputs."""

# Their derivative moves relevance as it should: each number goes to one place.
_MOVES = {
    *(torch.cat, torch.stack, torch.split, torch.chunk, torch.flatten, F.dropout, F.pad),
    *(Tensor.reshape, Tensor.view, Tensor.flatten, Tensor.unflatten, Tensor.transpose, Tensor.permute),
    *(Tensor.contiguous, Tensor.unbind, Tensor.chunk, Tensor.split, Tensor.squeeze, Tensor.unsqueeze, Tensor.flip),
    *(Tensor.__getitem__, Tensor.expand, Tensor.to, Tensor.type_as, Tensor.float, Tensor.requires_grad_),
}
_PASSES = {
    *(F.layer_norm, F.rms_norm, F.group_norm, F.gelu, F.silu, F.relu, F.softmax, F.normalize),
    *(torch.sigmoid, torch.tanh, Tensor.sigmoid, Tensor.tanh, Tensor.neg, Tensor.div, Tensor.__truediv__),
}
_PRODUCTS = {Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.mul}
_SUMS = {Tensor.add, Tensor.__add__, torch.add}
_LINEAR = {F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.einsum}


@dataclass(frozen=True)
class Relevance:
    """What relevance one backward walk left, all [B, ...].

    Attributes:
        attention: of every attention matrix, [B, H, Nq, Nk], in forward order.
        patches: of every patch's embedding, summed over its channels, [B, patches].
    """

    attention: list[Tensor]
    patches: Tensor


def t_attr(question: Question) -> Tensor:
    """r0ᵀ(I+M_L)…(I+M_1) − r0, M = E_h relu(G ⊙ R_A), R_A the relevance of attention.

    All layers, the authors' default; their evaluations leave out the first block. 2 forward passes, 1 backward pass and
    1 walk of relevance, which costs about two.
    """
    relevance = _walked(question, "t-attr").attention
    seen = attended(question)
    weighted = zip(seen.gradients(), relevance, strict=True)
    return seen.rolled([(gradient * found).relu().mean(dim=1) for gradient, found in weighted])


def partial_lrp(question: Question) -> Tensor:
    """r0·E_h relu(R_A) of the last layer (Voita et al. 2019). 1 forward pass, 1 walk of relevance."""
    relevance = _walked(question, "partial-lrp").attention
    with torch.no_grad():
        seen: Attended = attended(question)
    return seen.patches(seen.last_row([found.relu().mean(dim=1) for found in relevance]))


def full_lrp(question: Question) -> Tensor:
    """The relevance of every patch (Bach et al. 2015; as a baseline of T-Attr's authors).

    Theirs goes on to the pixels through the patch embedding by the z^B rule, which keeps the sum of each patch and so
    leaves this map, a sum of each patch, as it is. 1 forward pass, 1 walk of relevance.
    """
    return _walked(question, "lrp").patches


def _walked(question: Question, method: str) -> Relevance:
    if question.images.dtype in (torch.float16, torch.bfloat16):
        raise question.refuse(method, "computes in half precision, too coarse for relevance; float32 works")
    rules = _Rules(question, method)
    with patches_as_leaf(question.model) as leaves, rules:
        logits = question.answer(question.images)
    start = torch.zeros_like(logits).scatter(1, question.target[:, None], 1.0)
    [tokens] = torch.autograd.grad(logits, leaves, start)
    patches = tokens.flatten(1, -2) if tokens.ndim == 4 else tokens
    return Relevance([rules.attention[index] for index in sorted(rules.attention)], patches.sum(dim=-1))


class _Rules(TorchFunctionMode):
    """Replaces every operation that relevance passes through by one whose backward pass is its rule."""

    def __init__(self, question: Question, method: str) -> None:
        super().__init__()
        self.question, self.method = question, method
        self.attention: dict[int, Tensor] = {}
        self._calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(Asked(*args, **kwargs))
        # The rule of a sum needs what was there before; whoever wrote x += y goes on with the result.
        func = Tensor.add if func is Tensor.add_ else func
        result = func(*args, **kwargs)
        carrying = [argument for argument in args if _carries(argument)]
        if func in _MOVES or not carrying or not _carries(result):
            return result
        if func in _PASSES:
            return _ruled(result, lambda relevance: (relevance,), carrying[0])
        if func in _PRODUCTS:
            return _ruled(result, _shared(carrying), *carrying)
        if func in _SUMS:
            return _ruled(result, _sum_back(args[0], args[1]), *carrying)
        if func in _LINEAR and len(carrying) == 1:
            return _ruled(result, _linear_back(func, args, kwargs), carrying[0])
        if func is Tensor.mean or func is torch.mean:
            return _ruled(result, _mean_back(func, args, kwargs), carrying[0])
        name = resolve_name(func) or getattr(func, "__name__", "an operation")
        raise self.question.refuse(self.method, f"computes {name}, for which relevance has no rule")

    def _attend(self, asked: Asked) -> Tensor:
        asked.check_kind(self.question.name)
        index, self._calls = self._calls, self._calls + 1
        inputs = (asked.query, asked.key, asked.value)
        query, key, value = (tensor if tensor.requires_grad else _constant(tensor) for tensor in inputs)
        with torch.no_grad():
            attention = own_attention(asked).to(value.dtype)
            output = attention @ value

        def back(relevance: Tensor) -> tuple[Tensor, ...]:
            part = _over(relevance, output)
            of_attention = attention * (part @ value.mT) / 2
            self.attention[index] = of_attention
            matched = _over(of_attention, query @ key.mT)
            return query * (matched @ key) / 2, key * (matched.mT @ query) / 2, value * (attention.mT @ part) / 2

        return _ruled(output, back, query, key, value)


class _Ruled(torch.autograd.Function):
    """A result with a rule as its backward pass."""

    @staticmethod
    def forward(context: Any, output: Tensor, back: Back, *inputs: Tensor) -> Tensor:
        context.back = back
        context.shapes = [tensor.shape for tensor in inputs]
        return output.detach()

    @staticmethod
    def backward(context: Any, *relevance: Tensor) -> tuple[Tensor | None, ...]:
        parts = context.back(relevance[0])
        shaped = (part.sum_to_size(shape) for part, shape in zip(parts, context.shapes, strict=True))
        return (None, None, *shaped)


def _ruled(output: Tensor, back: Back, *inputs: Tensor) -> Tensor:
    ruled: Tensor = _Ruled.apply(output, back, *inputs)
    return ruled


def _carries(value: Any) -> bool:
    """Whether relevance passes through a value; a parameter of a head may want a gradient, and takes none of it."""
    if isinstance(value, Tensor):
        return value.requires_grad and not isinstance(value, nn.Parameter)
    return isinstance(value, (tuple, list)) and any(_carries(part) for part in value)


def _constant(tensor: Tensor) -> Tensor:
    """A tensor that carries no relevance, as an input to which some may be handed all the same."""
    return tensor.detach().requires_grad_(True)


def _over(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient; 0 where the denominator is."""
    return torch.where(denominator == 0, 0.0, numerator / (denominator + 1e-9))


def _shared(inputs: Sequence[Tensor]) -> Back:
    """A product with a constant hands everything to the other factor, a product of two half to each."""
    return lambda relevance: tuple(relevance / len(inputs) for _ in inputs)


def _sum_back(left: Any, right: Any) -> Back:
    """The rule of a + b; a number or a bias takes no relevance, any other constant its share."""
    parts = [part for part in (left, right) if isinstance(part, Tensor) and (_carries(part) or part.ndim > 1)]
    if len(parts) == 1:
        return lambda relevance: (relevance,)
    first, second = (part.detach() for part in parts)

    def back(relevance: Tensor) -> tuple[Tensor, ...]:
        quotient = _over(relevance, first + second)
        shares = [first * quotient, second * quotient]
        sums = [_total(share) for share in shares]
        whole = sums[0].abs() + sums[1].abs()
        factors = [_over(_over(one.abs(), whole) * _total(relevance), one) for one in sums]
        handed = [share * factor for share, factor in zip(shares, factors, strict=True)]
        return tuple(share for share, part in zip(handed, parts, strict=True) if _carries(part))

    return back


def _total(relevance: Tensor) -> Tensor:
    """The sum for each picture, in a shape to multiply with."""
    return relevance.sum(dim=tuple(range(1, relevance.ndim)), keepdim=True)


def _linear_back(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Back:
    """The rule of a product of the one carrying tensor with constants, whatever their order."""
    constants = {name: value for name, value in kwargs.items() if name != "bias"}
    # The bias of a linear layer is its third argument.
    tensors = args[:2] if func is F.linear else args
    place = next(number for number, value in enumerate(tensors) if _carries(value))

    def product(positive: bool) -> Callable[[Tensor], Tensor]:
        def part(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return value.detach().clamp_min(0) if positive else value.detach().clamp_max(0)

        others = [None if number == place else part(value) for number, value in enumerate(tensors)]
        named = {name: part(value) for name, value in constants.items()}
        return lambda x: func(*[x if number == place else other for number, other in enumerate(others)], **named)

    return _alpha_one(tensors[place], product(True), product(False))


def _mean_back(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Back:
    return _alpha_one(args[0], lambda x: func(x, *args[1:], **kwargs), lambda x: 0 * func(x, *args[1:], **kwargs))


def _alpha_one(x: Tensor, positive: Callable[[Tensor], Tensor], negative: Callable[[Tensor], Tensor]) -> Back:
    """x⁺ ⊙ (∂positive/∂x)ᵀS + x⁻ ⊙ (∂negative/∂x)ᵀS with S = R / (positive(x⁺) + negative(x⁻))."""

    def back(relevance: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            plus = x.detach().clamp_min(0).requires_grad_(True)
            minus = x.detach().clamp_max(0).requires_grad_(True)
            total = positive(plus) + negative(minus)
        slopes = torch.autograd.grad(total, (plus, minus), _over(relevance, total.detach()))
        return (plus.detach() * slopes[0] + minus.detach() * slopes[1],)

    return back


_PATENT = "Layer-wise relevance propagation is patented for commercial use, according to one library's notice."

PEERS = (
    Peer(
        name="t-attr",
        title="T-Attr",
        source="Chefer, Gur and Wolf 2021, Transformer Interpretability Beyond Attention Visualization",
        maps=t_attr,
        passes=5,
        cost="2 forward + backward + relevance",
        notes=f"All layers; shares of sums for each picture, where the authors' code sums the batch. {_PATENT}",
    ),
    Peer(
        name="partial-lrp",
        title="partial LRP",
        source="Voita et al. 2019, Analyzing Multi-Head Self-Attention; as a baseline by Chefer, Gur and Wolf 2021",
        maps=partial_lrp,
        passes=4,
        cost="2 forward + relevance",
        notes=f"The relevance of the last layer's attention. {_PATENT}",
    ),
    Peer(
        name="lrp",
        title="full LRP",
        source="Bach et al. 2015, On Pixel-Wise Explanations by Layer-Wise Relevance Propagation; rules of T-Attr",
        maps=full_lrp,
        passes=3,
        cost="1 forward + relevance",
        is_signed=True,
        notes=f"To the patch embeddings; what a rule hands on to the pixels sums up to the same. {_PATENT}",
    ),
)
