"""What one call of attention adds to a map of key weights: elementwise terms, summed over heads and rows.

Every patch j has a weight w in every softmax but its own row's. With A the softmax with the weights in it, G_ij =
⟨g_i, v_j⟩, D_i = ⟨g_i, o_i⟩, Ḡ_i = ⟨g_i, v̄⟩ (v̄ the plain mean of the patches' values) and g_i = ∂f/∂o_i:

    p_ij  = A_ij / (w (1 − A_ij) + A_ij)        attention that j would have at full weight, the others at w
    own   = (G_ij − D_i) / (1 − A_ij)           moving the row's mean from 'without j' to 'with j'
    even  =  G_ij − Ḡ_i                         the same for a row that weighed all patches alike
    S_j  += p_ij · ((1 − ρ) · own + ρ · even)   j ≠ i

The tangent in the place of this secant is A_ij (G_ij − D_i) / w, which is ∂f/∂w_j.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradattn_core.attention.rows import AttentionCall

MOST = 0.98
"""Where a row looks at one patch alone, 'without it' is far from anything that the model has seen: no more than this of
its attention is taken away."""


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """How the terms of one pass are made.

    Attributes:
        weight: w, in (0, 1].
        even: ρ, in [0, 1].
        tangent: ∂f/∂w in the place of the secant.
        prefix: how many keys come before the patches.
    """

    weight: float
    even: float
    tangent: bool
    prefix: int

    def offset(self, flow: Tensor, value: Tensor, centre: Tensor) -> Tensor:
        """D − Ḡ, [..., rows, 1], of ∂f/∂O [..., rows, d], the values [..., N, d] and D [..., rows, 1]."""
        return centre - flow @ value[..., self.prefix :, :].mean(dim=-2).unsqueeze(-1)

    def of_block(
        self, weights: Tensor, moved: Tensor, offset: Tensor, diagonal: int, spare: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """The terms of some rows and keys, [..., rows, keys]; what belongs to prefix tokens is for the caller to drop.

        Args:
            weights: A, left as it is.
            moved: G − D, left as it is.
            offset: D − Ḡ, [..., rows, 1].
            diagonal: number of the first row minus that of the first key.
            spare: room for two results of that shape.
        """
        one, two = spare if spare is not None else (torch.empty_like(weights), torch.empty_like(weights))
        unit = weights.new_ones(())
        if self.tangent:
            torch.mul(weights, moved, out=one).div_(self.weight)
        else:
            torch.sub(unit, weights, out=one).clamp_(min=1 - MOST)
            torch.div(moved, one, out=one)
            if self.even:
                one.lerp_(moved, self.even).add_(offset, alpha=self.even)
            torch.add(unit * self.weight, weights, alpha=1 - self.weight, out=two)
            one.mul_(torch.div(weights, two, out=two))
        rows, keys = one.shape[-2:]
        if -rows < diagonal < keys:
            one.diagonal(diagonal, -2, -1).zero_()
        return one


def key_terms(call: AttentionCall, gradient: Tensor, terms: KeyTerms, rows: slice) -> Tensor:
    """The terms of one call beside torch's own backward pass, for any kernel on any device.

    Args:
        call: the layer's attention call, its weights w in its mask.
        gradient: ∂f/∂O, [B, H, Nq, d].
        rows: the queries to visit; the gradient of the others is zero.

    Returns:
        [B, Nk] float32, summed over heads and rows.
    """
    # Autocast outside must not reach in: sums are made in float32.
    with torch.autocast(gradient.device.type, enabled=False):
        flow, value = gradient[:, :, rows].float(), call.value.float()
        centre = (flow * call.output[:, :, rows].float()).sum(dim=-1, keepdim=True)
        offset = terms.offset(flow, value, centre)
        result = value.new_zeros(value.shape[0], value.shape[2])
        for images, queries, weights in call.blocks(rows):
            part = (images, slice(None), queries)
            moved = (flow[part] @ value[images].mT).sub_(centre[part])
            found = terms.of_block(weights, moved, offset[part], rows.start + queries.start)
            result[images] += found.sum(dim=(1, 2))
        return result
