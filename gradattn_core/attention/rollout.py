"""The rollout: one readout row followed back through every self-attention layer while a single backward pass runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradattn_core.attention.backward import Gradients, attention_backward
from gradattn_core.attention.columns import columns_backward
from gradattn_core.attention.explicit import Layer
from gradattn_core.attention.precision import full_float32
from gradattn_core.attention.readout import SUPPORTED, Readout, model_name, patch_grid
from gradattn_core.attention.routes import row_beside
from gradattn_core.attention.rows import AttentionCall
from gradattn_core.attention.tape import AttentionTape
from gradattn_core.errors import InterpretError, ModelError


def follow_row(
    model: nn.Module,
    images: Tensor,
    value: Callable[[Tensor], Tensor],
    readout: Readout,
    *,
    correction: str = "complete",
    aggregation: str = "product",
) -> Tensor:
    """C − r0, where C = r0ᵀ(I+M_L)…(I+M_1) and M_l = E_h(W_l ⊙ A_l), by one forward and one backward pass (eqs. 1-3).

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, channels, H, W]; left as they are.
        value: from the images to f, [B] or one scalar; called once, with gradients on and the model prepared.
        readout: where the classifier reads the tokens.
        correction, aggregation: W, and whether layers are multiplied or added.

    Returns:
        [B, N] float32, the prefix tokens first and then the patches, row by row.

    Raises:
        ModelError: the model's attention is not global over one sequence of tokens.
        InterpretError: f does not depend on what attention gives, or a number is too large for the model's precision.
    """
    rows, columns = patch_grid(model, images)
    tokens, name = readout.prefix_tokens + rows * columns, model_name(model)
    # Inference mode outside must not reach in: its tensors cannot be differentiated, hence the clone.
    with torch.inference_mode(False), torch.enable_grad(), prepared(model), AttentionTape(name, correction) as tape:
        f = value(images.detach().clone().requires_grad_(True))
        blocks = len(model.blocks)  # type: ignore[arg-type]
        check_calls(tape.calls, len(images), tokens, blocks, readout.kind == "attention-pool", name)
        recursion = RowRecursion(tape.calls, readout, correction, aggregation)
        tape.on_gradient = recursion.step
        origin = recursion.start
        if torch.autograd.grad(f.sum(), tape.first_output, allow_unused=True)[0] is None:
            raise InterpretError("head: what it returns does not depend on the image's features")
        row = recursion.row - origin
    if not bool(torch.isfinite(row).all()):
        raise InterpretError("model: the map is not finite (half precision overflow? try float32 or bfloat16)")
    return row


def check_model(model: nn.Module) -> None:
    """Refuse what no backward pass can be followed through, whatever the images are.

    Raises:
        ModelError: it is not a timm classifier.
        InterpretError: a part of it is compiled, or it was made in inference mode.
    """
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise ModelError(f"model {model_name(model)} is not a timm classifier; of timm's models, {SUPPORTED}")
    for name, module in model.named_modules():
        if name.endswith("_orig_mod") or (name and module._compiled_call_impl is not None):
            part = name.removesuffix("._orig_mod")
            raise InterpretError(f"model: its part {part!r} is compiled; interpret it before torch.compile")
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise InterpretError("model: it was made inside torch.inference_mode and cannot be differentiated")


@contextmanager
def prepared(model: nn.Module) -> Iterator[None]:
    """Put a model into the state the tape needs, and back, whatever happens.

    Evaluation mode, fused attention on (so that every call goes through one function), checkpointing off, and
    parameters frozen: the row needs no parameter gradient, so none is computed and fewer activations are kept.
    Convolutions are exact, see :func:`~gradattn_core.attention.precision.full_float32`.
    """
    modules = list(model.modules())
    training = [module for module in modules if module.training]
    flags = [
        (module, name, flag, value)
        for module in modules
        for name, value in (("fused_attn", True), ("grad_checkpointing", False))
        if (flag := vars(module).get(name, value)) != value
    ]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for module in training:
            module.training = False
        for module, name, _, value in flags:
            setattr(module, name, value)
        for parameter in learning:
            parameter.requires_grad_(False)
        with full_float32(next((each.device for each in model.parameters()), None)):
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, name, flag, _ in flags:
            setattr(module, name, flag)
        for module in training:
            module.training = True


class RowRecursion:
    """Carries the readout row r from the last layer to the first: r ← r + r·M_l, with M_l = E_h(W_l ⊙ A_l).

    ``aggregation="sum"`` adds r0·M_l of every layer instead (no products between layers). The attention pool, where a
    model has one, is the last layer; its row replaces r0.
    """

    def __init__(self, calls: list[AttentionCall], readout: Readout, correction: str, aggregation: str) -> None:
        self.calls, self.correction, self.aggregation = calls, correction, aggregation
        first = calls[0]
        batch, tokens, device = first.query.shape[0], first.query.shape[2], first.query.device
        self.pool = len(calls) - 1 if readout.kind == "attention-pool" else None
        if self.pool is None:
            row, self.rows = readout.row(tokens)
            self.start = row.to(device).expand(batch, -1)
        else:
            self.start, self.rows = torch.zeros(batch, tokens, device=device), slice(0, tokens)
        self.offset = tokens - calls[-1].key.shape[2]
        self.row = self.start

    def step(self, index: int, gradient: Tensor) -> Gradients | None:
        """Take in ∂f/∂O [B, H, N, d] of call ``index``; calls must come last first, as a backward pass makes them.

        Returns:
            ∂f/∂q, ∂f/∂k and ∂f/∂v of a carried call, which needs them unless it is the first.
        """
        # Taken off the tape, so that the backward pass frees each layer as soon as it would without us.
        call = self.calls.pop()
        if index == self.pool:
            latents = call.query.shape[2]
            uniform = torch.full((gradient.shape[0], latents), 1.0 / latents, device=gradient.device)
            pooled, gradients = self._product(call, gradient, uniform, slice(0, latents), inputs=True)
            self.start = self.row = F.pad(pooled, (self.offset, 0))
            return gradients
        share = self.start if self.aggregation == "sum" else self.row
        product, gradients = self._product(call, gradient, share, self.rows, inputs=index > 0)
        self.row = self.row + product
        if self.aggregation == "product":
            self.rows = slice(0, self.row.shape[1])
        return gradients

    def _product(
        self, call: AttentionCall, gradient: Tensor, share: Tensor, rows: slice, *, inputs: bool
    ) -> tuple[Tensor, Gradients | None]:
        if not call.carried:
            return row_beside(call, gradient, share, rows, self.correction), None
        if call.route == "columns":
            gradients, product = columns_backward(call, gradient, share, self.correction)
            return product, gradients
        # Behind a class token the last layer's gradient is zero in all other queries, which need no visit then.
        beyond = bool(gradient[:, :, rows.stop :].any())
        queries = gradient.shape[2] if beyond else rows.stop
        found, product = attention_backward(call, gradient, share, self.correction, queries, inputs=inputs)
        return product, found


def check_calls(
    calls: Sequence[AttentionCall | Layer], batch: int, tokens: int, blocks: int, pooled: bool, name: str
) -> None:
    """:func:`check_sizes` of recorded calls."""
    sizes = [(call.query.shape[0], call.query.shape[2], call.key.shape[2]) for call in calls]
    check_sizes(sizes, batch, tokens, blocks, pooled, name)


def check_sizes(
    calls: Sequence[tuple[int, int, int]], batch: int, tokens: int, blocks: int, pooled: bool, name: str
) -> None:
    """Refuse a model whose attention is not global over one fixed sequence of tokens.

    Args:
        calls: of each call of attention how many sequences, queries and keys it had.
        batch, tokens, blocks: how many images, tokens and blocks there are.
        pooled: whether the last call is an attention pool's.
        name: the model's.

    Raises:
        ModelError: names the model, what was seen, and which models work.
    """
    layers = calls[:-1] if pooled and calls else calls
    for sequences, queries, keys in layers:
        if sequences != batch:
            raise ModelError(
                f"model {name}: its attention is windowed ({sequences // batch} windows of "
                f"{queries} tokens an image), so no row leads from the output to every patch; {SUPPORTED}"
            )
        if queries != tokens or keys != tokens:
            raise ModelError(
                f"model {name}: its attention runs over {queries} x {keys} instead of "
                f"{tokens} x {tokens} tokens (shrinking tokens or channel attention); {SUPPORTED}"
            )
    if len(layers) != blocks or not blocks:
        raise ModelError(
            f"model {name}: {len(layers)} global attention calls were seen in {blocks} blocks; exactly one per block "
            f"can be followed; {SUPPORTED}"
        )
