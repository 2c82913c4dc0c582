"""How the row of a call, or its terms, are computed: chosen when the call is recorded, by what is there and works.

On a CPU the backward pass is ours and has the row in it. On a GPU it is torch's; the row rides in it in columns of its
own, or comes beside it from our kernel. What depends on somebody else's kernel, its layout or a compiler is tried out
first: once for each kind of call in a process, its row and its gradients are compared with those of torch alone, and
where they differ or nothing comes, it is not used. That costs milliseconds, and seconds where Triton has to compile;
torch alone is what is left then, several times slower in half precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from gradattn_core.attention.columns import CORRECTIONS, MOST_DEPTH, columns_backward, kept_by
from gradattn_core.attention.precision import computes_tf32, product_precision
from gradattn_core.attention.rows import AttentionCall, Kept, corrected_row
from gradattn_core.attention.terms import KeyTerms, key_terms

ROUTES = ("tiles", "columns", "kernel", "blocks")
"""``tiles``: our backward pass of a CPU; ``columns``: torch's with the row in it; ``kernel``: ours in Triton beside
torch's own; ``blocks``: products of torch beside it."""
# How far a route may be from torch alone, in parts of the greatest number: a product in TF32 or half precision rounds.
_TOLERANCE = {torch.float64: 1e-5, torch.float32: 2e-2, torch.float16: 3e-2, torch.bfloat16: 0.1}
# What was tried out in this process, by route, what is asked for, and all that kernels choose their programs by.
_tried: dict[tuple[object, ...], bool] = {}
_only: str = ""


def choose_route(call: AttentionCall, wants: str | KeyTerms, *, replaces: bool) -> AttentionCall:
    """The call with the route that its row is computed by.

    Args:
        call: as it was recorded.
        wants: the correction, or the key terms; empty where nothing is known.
        replaces: whether its backward pass may be another one than torch's.
    """
    return replace(call, route=next(route for route in ROUTES if _can(route, call, wants, replaces)))


@contextmanager
def only(route: str) -> Iterator[None]:
    """Within it that route is taken wherever it works, on a CPU too, else ``blocks``: for tests and measurements."""
    global _only
    before, _only = _only, route
    try:
        yield
    finally:
        _only = before


def row_beside(call: AttentionCall, gradient: Tensor, row: Tensor, rows: slice, correction: str) -> Tensor:
    """:func:`~gradattn_core.attention.rows.corrected_row` of a call whose backward pass is torch's."""
    if call.route == "kernel":
        return _kernel().kernel_row(call, gradient, row, rows, correction)  # type: ignore[no-any-return]
    return corrected_row(call, gradient, row, rows, correction)


def terms_beside(call: AttentionCall, gradient: Tensor, terms: KeyTerms, rows: slice) -> Tensor:
    """:func:`~gradattn_core.attention.terms.key_terms` of a call whose backward pass is torch's."""
    if call.route == "kernel":
        return _kernel().kernel_terms(call, gradient, terms, rows)  # type: ignore[no-any-return]
    return key_terms(call, gradient, terms, rows)


def _can(route: str, call: AttentionCall, wants: str | KeyTerms, replaces: bool) -> bool:
    if route == "blocks":
        return True
    if route == "tiles" or _only:
        if route != (_only or route):
            return False
        if route == "tiles":
            return call.logsumexp is not None and replaces
    # What has not been tried on other GPUs than NVIDIA's since Ampere is not tried on them.
    if call.kept is None or not wants or not (_only or computes_tf32(call.query.device)):
        return False
    if route == "columns" and not (replaces and wants in CORRECTIONS and call.query.shape[-1] <= MOST_DEPTH):
        return False
    return _works(route, call, call.kept, wants)


def _works(route: str, call: AttentionCall, kept: Kept, wants: str | KeyTerms) -> bool:
    """Whether a route gives what torch alone does, for calls of this kind; tried out before the first of them."""
    mask = None if call.mask is None else call.mask.dtype
    kind = (kept.kernel, call.query.dtype, call.query.shape[1:], call.key.shape[2], mask, call.query.device)
    key = (route, wants, product_precision(call.query), *kind)
    if key not in _tried:
        try:
            _tried[key] = _agrees(route, call, kept.kernel, wants)
        except torch.OutOfMemoryError:
            # That says nothing of the route, and whoever called has fewer images to try.
            raise
        except Exception:
            # An operator that is not there or takes other arguments, no Triton, no compiler: any of theirs.
            _tried[key] = False
    return _tried[key]


def _agrees(route: str, like: AttentionCall, kernel: str, wants: str | KeyTerms) -> bool:
    """Whether it does for one image's worth of random numbers, which are no numbers of the program's."""
    generator = torch.Generator().manual_seed(0)

    def drawn(tensor: Tensor) -> Tensor:
        return torch.randn(tensor[:1].shape, generator=generator).to(tensor)

    sources = [drawn(tensor).requires_grad_(True) for tensor in (like.query, like.key, like.value)]
    mask = None if like.mask is None else like.mask[:1]
    output = F.scaled_dot_product_attention(sources[0], sources[1], sources[2], attn_mask=mask, scale=like.scale)
    kept = kept_by(output)
    if kept is None or kept.kernel != kernel:
        return False
    query, key, value = (tensor.detach() for tensor in sources)
    call = AttentionCall(query, key, value, mask, like.scale, output.detach(), None, route, kept)
    gradient, queries = drawn(output), output.shape[2]
    rows, share = slice(0, queries), drawn(output[:, 0, :, 0]).float()
    pairs: list[tuple[Tensor, Tensor]] = []
    if isinstance(wants, KeyTerms):
        pairs.append((terms_beside(call, gradient, wants, rows), key_terms(call, gradient, wants, rows)))
    else:
        expected = corrected_row(call, gradient, share, rows, wants)
        if route == "columns":
            found, row = columns_backward(call, gradient, share, wants)
            pairs += [(row, expected), *zip(found, torch.autograd.grad(output, sources, gradient), strict=True)]
        else:
            pairs.append((row_beside(call, gradient, share, rows, wants), expected))
    tolerance = _TOLERANCE[output.dtype]
    return all(bool((one - other).abs().amax() <= tolerance * other.abs().amax()) for one, other in pairs)


def _kernel() -> ModuleType:
    from gradattn_core.attention import kernel

    return kernel
