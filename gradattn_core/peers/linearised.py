"""A network taken for linear at one picture: gains are held and attention passes its gradient in fixed shares.

With every gain held (a norm's 1/spread, an activation's y/x, attention) the logits are an affine function of the patch
embeddings, and gradient x difference is exact for it. :data:`gradattn_core.attention.damping.DAMPED` holds the gains;
of the scaled dot product, q, k and v pass the share of their gradient that a method asks for; an elementwise product of
two signals (the halves of a SwiGLU) passes half to each, the uniform rule of AttnLRP and LibraGrad.

Any readout and any family whose attention is torch's. One forward and one backward pass, and the embedding of one more
picture. LRP is patented for commercial use according to the notice of one library (LXT); these are gradients of a
changed backward pass that give what its rules give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradattn_core.attention.damping import DAMPED, damped
from gradattn_core.attention.secant import scaled
from gradattn_core.interpret.absence import answer_without_picture
from gradattn_core.peers.gradients import reference
from gradattn_core.peers.question import Peer, Question, patches_as_leaf

_GATES = (torch.sigmoid, Tensor.sigmoid, torch.rsqrt, Tensor.rsqrt)
_PRODUCTS = (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__)
_SUMS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)


def frozen(question: Question) -> Tensor:
    """The frozen linearisation: attention is held too (q and k pass nothing, v all).

    S_j = ⟨∂f/∂e_j, e_j − e(b)_j⟩, e the patch embedding, b the picture's mean colour; Σ S is what the held network
    loses when the picture becomes b, exactly. Attention and norms are held as by Ali et al. (2022), activations too.

    Returns:
        [B, rows, columns] float32, signed, in log-odds (logits where one class is asked about).

    Raises:
        InterpretError: the model's patch embedding does not give one token a patch.
    """
    return _embedding_map(question, "frozen", query_key=0.0, value=1.0)[0]


def attn_lrp(question: Question) -> Tensor:
    """AttnLRP-style linearisation (Achtibat et al., 2024): q, k and v pass ¼, ¼ and ½ of their gradient.

    The product A·V gives half to each, the softmax its derivative, the product q·k half to each. Against the authors:
    the difference to the embedding of the picture's mean colour in the place of the pixels themselves, whose zero means
    nothing to a normalised picture; no ε in any denominator, and no γ rule, so that a linear layer's rule is its plain
    gradient. Result as of :func:`frozen`.
    """
    return _embedding_map(question, "attn-lrp", query_key=0.25, value=0.5)[0]


def linearised(question: Question) -> Tensor:
    """:func:`attn_lrp` made to add up: its positive and its negative scores have a scale each, s and 1/s.

    Σ S = f − f₀, f₀ the answer without any picture, as of our own *secant* maps; the signs are those of attn-lrp. As
    cheap a contestant as ours (one forward and one backward pass, and one pass without a picture for a whole batch),
    first in place on small models and far behind on photographs. Result as of :func:`frozen`.

    Raises:
        InterpretError: as :func:`frozen`, or nothing can be left out in this model.
    """
    scores, logits = _embedding_map(question, "linearised", query_key=0.25, value=0.5)
    absent = answer_without_picture(question.model, question.images.detach(), question.head)
    totals = question.value(logits) - question.value(absent)
    return scaled(scores.flatten(1), totals).reshape(-1, *question.grid)


def libra_grad(question: Question) -> Tensor:
    """LibraGrad's FullGrad (Mehri et al., 2025; FullGrad: Srinivas and Fleuret, 2019).

    S_j = ⟨∂f/∂t_j, t_j⟩ + Σ_l ⟨∂f/∂y_lj, β_l⟩, t the tokens that enter the first block, y_l everything behind to which
    a constant β_l is added (biases of Linear and layer norm), under the held backward pass with attention held. With
    the prefix tokens and the constants behind the pool the sum is f exactly, the paper's FullGrad-completeness. Signed
    sums over channels of the first block's input; the paper's "+" form averages over the inputs of all blocks.
    Result as of :func:`frozen`; Σ S is not f, as prefix tokens carry a part.
    """
    return full_gradient(question)[0][:, -question.patches :].reshape(-1, *question.grid)


def full_gradient(question: Question) -> tuple[Tensor, Tensor]:
    """FullGrad's score of every token [B, N], prefix tokens first, and what constants behind the pool add, [B]."""
    held, first = _HeldGains(query_key=0.0, value=1.0), []

    def begin(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # What was added before is in the tokens.
        held.sums = []
        first.append(inputs[0])

    hook = question.blocks[0].register_forward_pre_hook(begin)
    try:
        with torch.enable_grad():
            with held:
                logits = question.answer(question.images.requires_grad_(True))
            [start] = first
            sums = held.sums or []
            outputs = [start, *(output for output, _ in sums)]
            slopes = torch.autograd.grad(question.value(logits).sum(), outputs, materialize_grads=True)
    finally:
        hook.remove()
    tokens = (start * slopes[0]).detach().float().sum(dim=-1)
    rest = tokens.new_zeros(len(tokens))
    for (_, constant), slope in zip(sums, slopes[1:], strict=True):
        part = (slope * constant).float().sum(dim=-1)
        if part.shape == tokens.shape:
            tokens += part
        elif part.shape == (len(tokens), question.patches):
            tokens[:, -question.patches :] += part
        else:
            rest += part.reshape(len(tokens), -1).sum(dim=1)
    return tokens, rest


def _embedding_map(question: Question, method: str, *, query_key: float, value: float) -> tuple[Tensor, Tensor]:
    """⟨∂f/∂e_j, e_j − e(b)_j⟩ [B, rows, columns], and the logits [B, K]."""
    embed: Any = question.model.patch_embed
    with torch.no_grad():
        absent = embed(reference(question, "mean colour"))
    with torch.enable_grad(), patches_as_leaf(question.model) as leaves:
        with _HeldGains(query_key=query_key, value=value):
            logits = question.answer(question.images)
        [slopes] = torch.autograd.grad(question.value(logits).sum(), leaves)
    scores = (slopes * (leaves[0].detach() - absent)).float().sum(dim=-1).flatten(1)
    if scores.shape[1] != question.patches:
        raise question.refuse(method, f"makes {scores.shape[1]} tokens of {question.patches} patches")
    return scores.reshape(-1, *question.grid), logits.detach()


class _HeldGains(TorchFunctionMode):
    """Changes the backward pass of what is computed inside, and no value of it.

    Attributes:
        sums: what every addition of a constant gave, and the constant; kept once it is a list.
    """

    def __init__(self, *, query_key: float, value: float) -> None:
        super().__init__()
        self.shares = (query_key, query_key, value)
        self.sums: list[tuple[Tensor, Tensor]] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            passed = [damped(tensor, share) for tensor, share in zip(args[:3], self.shares, strict=True)]
            return func(*passed, *args[3:], **kwargs)
        if func in _GATES:
            return func(*args, **kwargs).detach()
        if func in _PRODUCTS and all(_carries_gradient(factor) for factor in args[:2]):
            return func(damped(args[0], 0.5), damped(args[1], 0.5), **kwargs)
        result = DAMPED[func](0.0, *args, **kwargs) if func in DAMPED else func(*args, **kwargs)
        if self.sums is not None and _carries_gradient(result):
            constant = _constant_of(func, args, kwargs)
            if constant is not None:
                self.sums.append((result, constant.detach()))
        return result


def _carries_gradient(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _constant_of(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What ``func`` adds to its input whatever that is: a bias, or an addend without gradient."""
    if func in _SUMS:
        return next((addend for addend in args[:2] if isinstance(addend, Tensor) and not addend.requires_grad), None)
    place = {F.linear: 2, F.layer_norm: 3}.get(func)
    if place is None:
        return None
    bias: Tensor | None = kwargs.get("bias", args[place] if len(args) > place else None)
    return bias


PEERS = (
    Peer(
        "frozen",
        "frozen linearisation from mean colour",
        "Ali et al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation",
        frozen,
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        is_signed=True,
        notes="its sum is what the held network loses, not f minus anything",
    ),
    Peer(
        "attn-lrp",
        "AttnLRP-style from mean colour",
        "Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers",
        attn_lrp,
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        is_signed=True,
        notes="LRP is patented for commercial use according to the notice of the library LXT",
    ),
    Peer(
        "linearised",
        "linearised, two scales",
        "ours, after Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers",
        linearised,
        passes=2,
        cost="1 forward + backward, 1 forward for a batch",
        explains="pair",
        is_signed=True,
        adds_up=True,
        notes="AttnLRP-style, scaled for either sign until its sum is f − f₀",
    ),
    Peer(
        "libra-grad",
        "LibraGrad (FullGrad)",
        "Mehri et al. 2025, LibraGrad: Balancing Gradient Flow for Universally Better Vision Transformer Attributions",
        libra_grad,
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        is_signed=True,
        notes="adds up to f together with the prefix tokens and the constants behind the pool",
    ),
)
