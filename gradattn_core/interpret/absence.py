"""What a model answers when patches, or the whole picture, are left out.

A patch is left out by leaving its token out of the sequence: no other token sees it, and those that are left keep their
positions. A Vision Transformer knows no other absence that needs no invented pixels. A classifier that reads the
patches' own tokens (average or attention pool) must still read something there: the grey picture's token, of zeros
after normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradattn_core.attention.readout import Readout, find_readout, model_name, patch_grid
from gradattn_core.attention.rollout import check_model, check_sizes, prepared
from gradattn_core.attention.secant import added
from gradattn_core.attention.tape import Asked
from gradattn_core.errors import InterpretError
from gradattn_core.model.forward import Head, check_head, check_images, final_tokens, head_logits

READS_PATCHES = ("mean", "attention-pool")
"""The readouts that read the patches' own tokens."""


def without_patches(model: nn.Module, images: Tensor, absent: Tensor, head: Head | None = None) -> Tensor:
    """Logits [B, K] float32 with some patches left out, each image its own; one forward pass, without a graph.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, channels, H, W], preprocessed.
        absent: bool, [B, grid height, grid width], true where a patch is left out.
        head: maps the model's pre-logit features to logits; the classifier where ``None``.

    Raises:
        InterpretError: an argument is unusable; the message names it.
        ModelError: the model has no global self-attention, or none of its tokens can be left out.
    """
    with ready(model, images, head) as (model, images, readout):
        grid = patch_grid(model, images)
        place = [len(images), *grid]
        if not isinstance(absent, Tensor) or absent.dtype != torch.bool or list(absent.shape) != place:
            seen = f"{absent.dtype} {list(absent.shape)}" if isinstance(absent, Tensor) else type(absent).__name__
            raise InterpretError(f"absent: expected a tensor of booleans {place}, a place for each patch, got {seen}")
        tokens = _tokens_without(model, images, absent.flatten(1).to(images.device), readout)
        return answer_of(model, tokens, head)


def runs_on_fewer(model: nn.Module) -> bool:
    """Whether tokens can be left out of the sequence itself, which is quicker than that no other may look at them.

    That is so of timm's plain Vision Transformer with a class token; others may need all places, or read the patches.
    """
    return type(model) is VisionTransformer and find_readout(model).kind not in READS_PATCHES


@contextmanager
def tokens_dropped(model: nn.Module, masked: Tensor) -> Iterator[None]:
    """Within it the ``masked`` [B, patches] tokens are left out behind the position embedding, as many of every image.

    Only of a model that :func:`runs_on_fewer`.
    """
    network: Any = model
    visible = (~masked).nonzero()[:, 1].view(len(masked), -1) + network.num_prefix_tokens
    prefix = torch.arange(network.num_prefix_tokens, device=masked.device).expand(len(masked), -1)
    index = torch.cat((prefix, visible), dim=1).unsqueeze(-1)

    def drop(_module: nn.Module, _inputs: Any, tokens: Tensor) -> Tensor:
        return tokens.gather(1, index.expand(-1, -1, tokens.shape[-1]))

    hook = network.pos_drop.register_forward_hook(drop)
    try:
        yield
    finally:
        hook.remove()


def without_picture(model: nn.Module, images: Tensor) -> Tensor:
    """Pre-logit features [1, D] float32 when there is no picture, of which ``head(features)`` gives the logits.

    They are those of the class and register tokens alone; where the classifier reads the patches' own tokens, with the
    grey picture's in their place. They are the same for all images of one size: one pass for a whole audit.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, channels, H, W], preprocessed; only their size counts.

    Raises:
        InterpretError: the images are unusable.
        ModelError: the model has no global self-attention, or none of its tokens can be left out.
    """
    with ready(model, images, None) as (model, images, readout):
        tokens = picture_free_tokens(model, images, readout)
        features: Tensor = model.forward_head(tokens, pre_logits=True)  # type: ignore[operator]
        return features.float()


def answer_without_picture(model: nn.Module, images: Tensor, head: Head | None = None) -> Tensor:
    """Logits [B, K] float32 when there is no picture: equal in all rows but for a ``head`` that differs by image.

    They are what :func:`without_patches` gives with every patch left out. Arguments and errors are those of
    :func:`without_picture`, and ``head`` maps its features [B, D] to logits; the classifier where ``None``.
    """
    with ready(model, images, head) as (model, images, readout):
        tokens = picture_free_tokens(model, images, readout)
        return answer_of(model, tokens, head, len(images))


def picture_free_tokens(model: nn.Module, images: Tensor, readout: Readout) -> Tensor:
    """The final tokens [1, N, D] without any picture, of which a class token's model reads the prefix alone.

    The model must be prepared and gradients off. For a model that reads the patches' tokens those are the grey
    picture's, t₀; the prefix tokens, where it reads them too, have seen no patch.
    """
    blank = torch.zeros_like(images[:1])
    if readout.kind in READS_PATCHES and not (readout.includes_prefix and readout.prefix_tokens):
        return final_tokens(model, blank)
    rows, columns = patch_grid(model, images)
    return _tokens_without(model, blank, torch.ones(1, rows * columns, dtype=torch.bool, device=blank.device), readout)


def answer_of(model: nn.Module, tokens: Tensor, head: Head | None, count: int | None = None) -> Tensor:
    """Logits [B, K] float32 of final tokens; of one picture's for ``count`` images, each with a head of its own."""
    features: Tensor = model.forward_head(tokens, pre_logits=head is not None)  # type: ignore[operator]
    if count is not None:
        features = features.expand(count, -1)
    return (features if head is None else head_logits(head, features)).float()


@contextmanager
def ready(model: nn.Module, images: Tensor, head: Head | None) -> Iterator[tuple[nn.Module, Tensor, Readout]]:
    """A model prepared for exact passes without a graph, images in its precision, and its readout."""
    model = getattr(model, "_orig_mod", model)
    check_model(model)
    check_images(model, images)
    check_head(head)
    patch_grid(model, images)
    readout = find_readout(model)
    own = next(model.parameters()).dtype
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast(images.device.type, enabled=False),
        prepared(model),
    ):
        yield model, images.to(own), readout


def _tokens_without(model: nn.Module, images: Tensor, absent: Tensor, readout: Readout) -> Tensor:
    """The final tokens [B, N, D] with the patches ``absent`` [B, patches] left out of every softmax but their own."""
    grey = final_tokens(model, torch.zeros_like(images[:1])) if readout.kind in READS_PATCHES else None
    with _LeftOut(model_name(model), absent, readout.prefix_tokens) as left_out:
        tokens = final_tokens(model, images)
    blocks = len(model.blocks)  # type: ignore[arg-type]
    check_sizes(left_out.sizes, len(images), left_out.tokens, blocks, False, left_out.model)
    if grey is not None:
        prefix = readout.prefix_tokens
        read = torch.where(absent.unsqueeze(-1), grey[:, prefix:], tokens[:, prefix:])
        tokens = torch.cat((tokens[:, :prefix], read), dim=1)
    return tokens


class _LeftOut(TorchFunctionMode):
    """Within it no token sees an absent one, in whatever family; a token always sees itself."""

    def __init__(self, model: str, absent: Tensor, prefix: int) -> None:
        super().__init__()
        self.model, self.tokens = model, prefix + absent.shape[1]
        self.sizes: list[tuple[int, int, int]] = []
        hidden = F.pad(absent, (prefix, 0))[:, None, None]
        itself = torch.eye(self.tokens, dtype=torch.bool, device=absent.device)
        self._seen = ~hidden | itself
        self._bias: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        return self._attend(Asked(*args, **kwargs))

    def _attend(self, asked: Asked) -> Tensor:
        asked.check_kind(self.model)
        query, key, mask = asked.query, asked.key, asked.attn_mask
        self.sizes.append((query.shape[0], query.shape[2], key.shape[2]))
        if self.sizes[-1] == (len(self._seen), self.tokens, self.tokens):
            if self._bias is None:
                zero = query.new_zeros(())
                self._bias = torch.where(self._seen, zero, -torch.inf)
            mask = added(mask, self._bias)
        return F.scaled_dot_product_attention(query, key, asked.value, mask, asked.dropout_p, scale=asked.scale)
