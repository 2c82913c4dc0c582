"""One forward pass with every attention matrix, the gradients that reach them, and the row that reads them.

Where the paper of a method says *the class token's row of the last layer*, other models have something that does the
same: two tokens of a distilled model (½ each), the mean over the patches, or the row of an attention pool, which then
is the last layer. Every method here reads by that row r0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gradattn_core.attention.explicit import ExplicitAttention, Layer, Weigh
from gradattn_core.attention.rollout import check_calls
from gradattn_core.errors import InterpretError
from gradattn_core.peers.question import Question

Value = Callable[[Tensor], Tensor]
"""From logits [B, K] to f [B]."""


@dataclass(frozen=True)
class Attended:
    """A forward pass with its attention.

    Attributes:
        question: what is asked, about the same pictures.
        layers: of every block, in forward order.
        pool: of the attention pool where the model has one.
        streams: the tokens [B, N, D] that enter each block, and last those that leave the last, with their graph.
        logits: [B, K] with their graph.
    """

    question: Question
    layers: tuple[Layer, ...]
    pool: Layer | None
    streams: tuple[Tensor, ...]
    logits: Tensor

    @property
    def calls(self) -> tuple[Layer, ...]:
        """The layers, and the pool behind them where there is one."""
        return self.layers if self.pool is None else (*self.layers, self.pool)

    @property
    def maps(self) -> list[Tensor]:
        """A of every call, [B, H, Nq, Nk], without graph."""
        return [call.weights.detach() for call in self.calls]

    def gradients(self, value: Value | None = None) -> list[Tensor]:
        """∂f/∂A of every call, [B, H, Nq, Nk]; f is the question's where no ``value`` is given."""
        return gradients((value or self.question.value)(self.logits), [call.weights for call in self.calls])

    def read(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], Tensor]:
        """How matrices [B, ..., Nq, Nk] of all calls are read.

        Returns:
            r0 [B, ..., N]: the readout row, or the pool's mean row; the matrices of the blocks; and what of r0 was
            there without any attention: r0 itself, or 0 behind a pool.
        """
        layers = list(maps)
        tokens = layers[0].shape[-1]
        if self.pool is not None:
            pooled = layers.pop().mean(dim=-2)
            start = F.pad(pooled, (tokens - pooled.shape[-1], 0))
            return start, layers, torch.zeros_like(start)
        row = self.question.readout.row(tokens)[0].to(layers[0])
        start = row.expand(*layers[0].shape[:-2], -1)
        return start, layers, start

    def last_row(self, maps: Sequence[Tensor]) -> Tensor:
        """The row [B, ..., N] by which the readout reads the last matrix: r0·A_L, or the pool's mean row."""
        start, layers, _ = self.read(maps)
        return start if self.pool is not None else self.times(start, layers[-1])

    def rolled(self, maps: Sequence[Tensor], *, first: int = 0, sums_to_one: bool = False) -> Tensor:
        """r0ᵀ(I+M_L)…(I+M_first) − r0 on the patches, [B, patches].

        r0 itself, which reaches its own tokens by the residual stream alone, is taken away: it is no evidence, and on
        the patches of a pooled model it would be a constant.

        Args:
            maps: M of every call, [B, Nq, Nk].
            first: the number of the first block that counts, from 0.
            sums_to_one: divide each row of I + M by its sum.
        """
        row, layers, origin = self.read(maps)
        for layer in reversed(layers[first:]):
            if sums_to_one:
                total = 1 + layer.sum(dim=-1)
                row, origin = row / total, origin / total
            row = row + self.times(row, layer)
        return self.patches(row - origin)

    @staticmethod
    def times(row: Tensor, matrix: Tensor) -> Tensor:
        """r·M for rows [B, ..., N] and matrices [B, ..., N, N]."""
        return (row.unsqueeze(-2) @ matrix).squeeze(-2)

    def patches(self, row: Tensor) -> Tensor:
        """The patches' part of rows [..., N]."""
        return row[..., self.question.readout.prefix_tokens :]


def attended(question: Question, weigh: Weigh | None = None, *, pixels: bool = True) -> Attended:
    """A forward pass of the question's pictures, with its graph where gradients are on.

    Args:
        question: what is asked.
        weigh: gives each attention matrix; the model's own where ``None``.
        pixels: whether the graph begins at the pixels; otherwise at the leaves that ``weigh`` gives.

    Raises:
        ModelError: the model's attention is not global over one sequence of tokens.
        InterpretError: the logits are not finite or without a graph.
    """
    mode = ExplicitAttention(question.name) if weigh is None else ExplicitAttention(question.name, weigh)
    streams: list[Tensor] = []
    with _kept_streams(question, streams), mode:
        logits = question.answer(question.images.detach().requires_grad_(pixels))
    pooled = question.readout.kind == "attention-pool"
    tokens = question.readout.prefix_tokens + question.patches
    check_calls(mode.layers, len(question.images), tokens, len(question.blocks), pooled, question.name)
    layers = tuple(mode.layers)
    return Attended(question, layers[:-1] if pooled else layers, layers[-1] if pooled else None, tuple(streams), logits)


@contextmanager
def _kept_streams(question: Question, streams: list[Tensor]) -> Iterator[None]:
    """Append what enters each block and what leaves the last."""
    blocks = question.blocks
    hooks = [block.register_forward_pre_hook(lambda _module, inputs: streams.append(inputs[0])) for block in blocks]
    hooks.append(blocks[-1].register_forward_hook(lambda _module, _inputs, output: streams.append(output)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def gradients(value: Tensor, inputs: Sequence[Tensor], *, keep: bool = True) -> list[Tensor]:
    """∂Σf/∂input for each input; zeros where f does not depend on it."""
    found = torch.autograd.grad(value.sum(), list(inputs), retain_graph=keep, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise InterpretError("head: what it returns does not depend on the image's features")
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(inputs, found, strict=True)
    ]
