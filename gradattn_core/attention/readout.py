"""Where a timm Vision Transformer reads its tokens: the readout row that the interpretation follows back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from gradattn_core.errors import InterpretError, ModelError

SUPPORTED = "global self-attention (ViT, DeiT, BEiT, EVA, DINOv2, DINOv3, CLIP, SigLIP, FlexiViT) works"


@dataclass(frozen=True, slots=True)
class Readout:
    """Where the classifier reads the tokens.

    Attributes:
        kind: ``cls``, ``distilled``, ``mean`` or ``attention-pool``.
        prefix_tokens: P, how many tokens precede the patches.
        includes_prefix: whether a mean or an attention pool also reads the prefix tokens.
    """

    kind: str
    prefix_tokens: int
    includes_prefix: bool = False

    def row(self, tokens: int) -> tuple[Tensor, slice]:
        """r0 [tokens] and the slice outside which it is zero: e0, ½(e0+e1), or 1/n on the tokens that are averaged."""
        rows = {"cls": slice(0, 1), "distilled": slice(0, 2)}.get(
            self.kind, slice(0 if self.includes_prefix else self.prefix_tokens, tokens)
        )
        row = torch.zeros(tokens)
        row[rows] = 1.0 / len(range(*rows.indices(tokens)))
        return row, rows


def find_readout(model: nn.Module, kind: str = "auto") -> Readout:
    """The readout of a timm model; a ``kind`` other than ``auto`` is taken as asked.

    Raises:
        ModelError: the model pools in a way that has no single row (maximum, none, a pool of another kind).
        InterpretError: the model has no such tokens or no such pool as ``kind`` asks for.
    """
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    includes = bool(getattr(model, "pool_include_prefix", False))
    own = _own_readout(model)
    if kind != "auto":
        if (kind == "attention-pool") != (own == "attention-pool") or prefix < {"cls": 1, "distilled": 2}.get(kind, 0):
            raise InterpretError(
                f"readout={kind!r}: {model_name(model)} has {prefix} prefix tokens and reads its tokens by {own!r}"
            )
        own = kind
    # EVA's pool sees every token and says so nowhere.
    return Readout(own, prefix, includes or (own == "attention-pool" and not hasattr(model, "pool_include_prefix")))


def _own_readout(model: nn.Module) -> str:
    pool = getattr(model, "attn_pool", None)
    if isinstance(pool, AttentionPoolLatent):
        return "attention-pool"
    name = type(pool).__name__ if pool is not None else str(getattr(model, "global_pool", "token"))
    if hasattr(model, "head_dist"):
        return "distilled"
    try:
        return {"token": "cls", "avg": "mean"}[name]
    except KeyError:
        raise ModelError(
            f"model {model_name(model)}: its pooling {name!r} has no readout row; "
            "'token', 'avg' and attention pooling by a latent query work"
        ) from None


def patch_grid(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """(rows, columns) of patches for these images.

    Raises:
        ModelError: the model does not cut its input into one grid of patches.
    """
    embed: Any = getattr(model, "patch_embed", None)
    if not hasattr(embed, "dynamic_feat_size") or not hasattr(model, "blocks"):
        raise ModelError(
            f"model {model_name(model)} has no single grid of patches that lasts through all its layers; {SUPPORTED}"
        )
    rows, columns = embed.dynamic_feat_size(tuple(images.shape[-2:]))
    return int(rows), int(columns)


def model_name(model: nn.Module) -> str:
    """The timm architecture where known, else the class name."""
    config = getattr(model, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(model).__name__)
