"""A map that adds up: how f changes on the way from no picture to the picture, told apart by patch.

Every patch j gets a weight w_j in every softmax but its own row's: its column of scores gets + log w_j. At w = 1 that
is the model, at w → 0 the patch's token is left out of the sequence, exactly; prefix tokens keep weight 1. One point on
the way, w = ½ for all, with a secant in the place of the tangent (:mod:`gradattn_core.attention.terms`) and damped
gradients (:mod:`gradattn_core.attention.damping`), comes close to the whole. Where the classifier reads the patches'
own tokens t, it reads t₀ + w (t − t₀), with t₀ those of the grey picture, and ∂f/∂t·(t − t₀) joins the map.

Two scales, one for either sign, then make the sum of the map f − f₀ exactly: every sign stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradattn_core.attention.backward import Gradients, attention_backward
from gradattn_core.attention.damping import DAMPED, damped
from gradattn_core.attention.readout import Readout, model_name, patch_grid
from gradattn_core.attention.rollout import check_calls, prepared
from gradattn_core.attention.routes import terms_beside
from gradattn_core.attention.rows import AttentionCall
from gradattn_core.attention.tape import AttentionTape
from gradattn_core.attention.terms import KeyTerms
from gradattn_core.errors import InterpretError
from gradattn_core.sums import two_scales


@dataclass(frozen=True, slots=True)
class Secant:
    """A setting of the family.

    Attributes:
        passes: of each forward and backward pass the key weight w, in (0, 1], and its share of the map.
        even: ρ, the share of the term that measures against the plain mean of all patches, in [0, 1].
        damping: α, the share of the gradient of every gain that is kept, in [0, 1].
        tangent: ∂f/∂w in the place of the secant.
        scales: whether both signs are scaled to the sum f − f₀.
    """

    passes: tuple[tuple[float, float], ...] = ((0.5, 1.0),)
    even: float = 0.25
    damping: float = 0.7
    tangent: bool = False
    scales: bool = True


B1 = Secant()
"""The default: one pass half-way."""
B3 = Secant(passes=((1.0, 0.5), (0.5, 0.3), (0.2, 0.2)))
"""Three passes along the way."""
A1 = Secant(even=0.0)
"""Without the even term."""
PLAIN = Secant(even=0.0, damping=1.0, tangent=True, scales=False)
"""Key weights alone, which is ∂f/∂w at w = ½."""


def secant_terms(
    model: nn.Module,
    images: Tensor,
    value: Callable[[Tensor], Tensor],
    readout: Readout,
    *,
    grey: Tensor | None = None,
    setting: Secant = B1,
) -> Tensor:
    """The map before its scales: of every pass one forward and one backward pass.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, channels, H, W]; left as they are.
        value: from the final tokens [B, N, D] to f, [B] or one scalar; called once a pass, with gradients on, the model
            prepared and its gradients damped.
        readout: where the classifier reads the tokens.
        grey: t₀ [1, N, D], the final tokens of the grey picture, for a readout that reads the patches' tokens.
        setting: which of the family.

    Returns:
        [B, patches] float32.

    Raises:
        ModelError: the model's attention is not global over one sequence of tokens.
        InterpretError: f does not depend on what attention gives, or a number is too large for the model's precision.
    """
    rows, columns = patch_grid(model, images)
    own = next(model.parameters()).dtype
    total = torch.zeros(len(images), rows * columns, device=images.device)
    for weight, share in setting.passes:
        terms = KeyTerms(weight, setting.even, setting.tangent, readout.prefix_tokens)
        # Inference mode outside must not reach in: its tensors cannot be differentiated, hence the clone.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(images.device.type, enabled=False),
            prepared(model),
            KeyWeights(model_name(model), terms, rows * columns, setting.damping) as tape,
        ):
            total += share * _one_pass(model, images.detach().clone().to(own), value, readout, grey, tape)
    if not bool(torch.isfinite(total).all()):
        raise InterpretError("model: the map is not finite (half precision overflow? try float32 or bfloat16)")
    return total


def _one_pass(
    model: nn.Module,
    images: Tensor,
    value: Callable[[Tensor], Tensor],
    readout: Readout,
    grey: Tensor | None,
    tape: KeyWeights,
) -> Tensor:
    with tape.weighting():
        tokens: Tensor = model.forward_features(images.requires_grad_(True))  # type: ignore[operator]
    prefix = readout.prefix_tokens
    inputs: list[Tensor] = []
    if grey is not None:
        moved = (tokens.detach() - grey)[:, prefix:]
        # A leaf's gradient comes beside that of the first call: one backward pass gives both.
        read = torch.lerp(grey, tokens, tape.terms.weight)
        tokens = torch.cat((tokens[:, :prefix], read[:, prefix:]), dim=1) if prefix else read
        inputs = [tokens]
    f = value(tokens)
    pooled = readout.kind == "attention-pool"
    blocks = len(model.blocks)  # type: ignore[arg-type]
    check_calls(tape.calls, len(images), prefix + tape.patches, blocks, pooled, tape.model)
    sums = _Sums(tape.calls, tape.terms, pooled)
    tape.on_gradient = sums.step
    assert tape.first_output is not None
    first, *others = torch.autograd.grad(f.sum(), (tape.first_output, *inputs), allow_unused=True)
    if first is None:
        raise InterpretError("head: what it returns does not depend on the image's features")
    result = sums.total[:, prefix:]
    for gradient in others:
        result = result + (gradient[:, prefix:].float() * moved.float()).sum(dim=-1)
    return result.float()


def scaled(terms: Tensor, totals: Tensor) -> Tensor:
    """Maps whose sums are ``totals``: s·S⁺ and S⁻/s, every sign as it was.

    Args:
        terms: [B, patches] float32.
        totals: f − f₀, [B].

    Returns:
        [B, patches] float32. Where a map has one sign only, what is missing is spread evenly over its patches.

    Raises:
        InterpretError: a map is zero everywhere and its total too, so there is nothing to explain.
    """
    wide = terms.double()
    positive, negative = wide.clamp_min(0).sum(dim=1), wide.clamp_max(0).sum(dim=1).neg()
    sums = list(zip(positive.tolist(), negative.tolist(), totals.double().tolist(), strict=True))
    for number, (up, down, total) in enumerate(sums):
        if up == down == total == 0:
            raise InterpretError(
                f"images: image {number} of the batch is answered as without any picture, and no patch speaks for "
                "either class: there is nothing to explain"
            )
    scales = wide.new_tensor([two_scales(*each) for each in sums])
    wide = torch.where(wide > 0, wide * scales[:, :1], wide * scales[:, 1:])
    # The rest that a scale cannot reach, and what rounding left.
    missing = totals.to(wide).unsqueeze(1) - wide.sum(dim=1, keepdim=True)
    one_sided = ((positive == 0) | (negative == 0)).unsqueeze(1)
    return torch.where(one_sided, wide + missing / wide.shape[1], wide).float()


class KeyWeights(AttentionTape):
    """A tape under which patches have a weight in every softmax of the blocks, and gradients are damped."""

    def __init__(self, model: str, terms: KeyTerms, patches: int, share: float) -> None:
        super().__init__(model, terms)
        self.terms, self.patches, self.share = terms, patches, share
        self._bias: Tensor | None = None
        self._weighs = False

    @contextmanager
    def weighting(self) -> Iterator[None]:
        """Within it calls get key weights: the blocks' own, not an attention pool's."""
        self._weighs = self.terms.weight != 1
        try:
            yield
        finally:
            self._weighs, self._bias = False, None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return super().__torch_function__(func, types, *self._weighted(*args, **kwargs))
        if self.share < 1 and func in DAMPED:
            return DAMPED[func](self.share, *args, **kwargs)
        return func(*args, **kwargs)

    def _weighted(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call with log w on the columns of the patches, and the gradient of scores damped."""
        if self.share < 1:
            query, key = damped(query, self.share), damped(key, self.share)
            if attn_mask is not None and attn_mask.requires_grad:
                attn_mask = damped(attn_mask, self.share)
        tokens = self.terms.prefix + self.patches
        if self._weighs and query.ndim == 4 and query.shape[2] == key.shape[2] == tokens:
            if self._bias is None:
                self._bias = key_bias(self.terms.weight, self.terms.prefix, query)
            attn_mask = added(attn_mask, self._bias)
        return (query, key, value, attn_mask, *args), kwargs


def key_bias(weight: float, prefix: int, like: Tensor) -> Tensor:
    """log w on the columns of the patches, but not on the diagonal; [N, N] for queries ``like`` [B, H, N, d]."""
    tokens = like.shape[2]
    bias = like.new_zeros(tokens, tokens)
    bias[:, prefix:] = math.log(weight)
    return bias.fill_diagonal_(0)


def added(mask: Tensor | None, bias: Tensor) -> Tensor:
    """A bias of scores on top of a mask of booleans or of numbers."""
    if mask is None:
        return bias
    if mask.dtype == torch.bool:
        return torch.where(mask, bias, -math.inf)
    return mask + bias


class _Sums:
    """Adds up the terms of every layer while a backward pass goes through them, last layer first."""

    def __init__(self, calls: list[AttentionCall], terms: KeyTerms, pooled: bool) -> None:
        self.calls, self.terms = calls, terms
        self.pool = len(calls) - 1 if pooled else None
        self.last = len(calls) - 1 - int(pooled)
        first = calls[0].query
        self.total = torch.zeros(first.shape[0], first.shape[2], device=first.device)

    def step(self, index: int, gradient: Tensor) -> Gradients | None:
        """Take in ∂f/∂O [B, H, N, d] of call ``index``.

        Returns:
            ∂f/∂q, ∂f/∂k and ∂f/∂v of a carried call, which needs them unless it is the first.
        """
        # Taken off the tape, so that the backward pass frees each layer as soon as it would without us.
        call = self.calls.pop()
        share = torch.ones(gradient.shape[0], gradient.shape[2], device=gradient.device)
        if index == self.pool:
            return attention_backward(call, gradient, share, "centred", gradient.shape[2])[0] if call.carried else None
        # Behind a class token the last layer's gradient is zero in all other queries, which need no visit then.
        # Only there is it asked: the answer of a GPU is waited for.
        beyond = index < self.last or bool(gradient[:, :, self.terms.prefix :].any())
        queries = gradient.shape[2] if beyond else max(1, self.terms.prefix)
        if not call.carried:
            self.total += terms_beside(call, gradient, self.terms, slice(0, queries))
            return None
        gradients, mean = attention_backward(call, gradient, share, self.terms, queries, inputs=index > 0)
        self.total += mean * gradient.shape[1]
        return gradients
