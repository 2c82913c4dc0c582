"""What a model answers: logits of its own classifier or of another head, and features from several depths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gradattn_core.attention.precision import full_float32
from gradattn_core.attention.readout import model_name
from gradattn_core.attention.rollout import check_model, prepared
from gradattn_core.errors import InterpretError
from gradattn_core.model.device import computes_bfloat16
from gradattn_core.model.half import half_copy, half_layers
from gradattn_core.model.products import PlainProducts
from gradattn_core.model.transit import fetched

Way = tuple[str, bool]
"""How a forward pass is computed: its precision, and whether by a half copy of the model or else by autocast."""
Head = Callable[[Tensor], Tensor]
"""From a model's pre-logit features [B, D] to logits [B, K]."""

# After blocks 6, 8 and 10 of 12 (and the last): label noise shows better in several depths than in the last alone.
_DEPTHS = (1 / 2, 2 / 3, 5 / 6)
TOGETHER = 8
"""Pictures at a time on a CPU: what so few take is used again while it is in the cache, and never given back to the
system between two layers, see `keep_freed_memory`."""
# The ways in which numbers of a model became too large in this process: they are not tried with it again.
_too_narrow: WeakKeyDictionary[nn.Module, set[Way]] = WeakKeyDictionary()


def answer(model: nn.Module, images: Tensor, head: Head | None = None) -> Tensor:
    """What the model says about a batch in evaluation mode: logits [B, K], float32, without a graph.

    Args:
        model: a timm Vision Transformer. It is left as it was found.
        images: [B, channels, H, W], preprocessed, on the model's device and of its precision.
        head: takes the place of the model's classifier.

    Raises:
        ModelError: it is not a timm classifier.
        InterpretError: the images or the head are unusable; the message names the argument.
    """
    model = getattr(model, "_orig_mod", model)
    check_model(model)
    check_images(model, images)
    with torch.no_grad(), prepared(model):
        return class_logits(model, images, head).float()


def class_logits(model: nn.Module, images: Tensor, head: Head | None = None) -> Tensor:
    """Logits [B, K] in the model's precision and in the state it is in, with their graph where gradients are on.

    Raises:
        InterpretError: the model cannot take images of this size, or the head is none; the message names the argument.
    """
    check_head(head)
    tokens = final_tokens(model, images)
    features: Tensor = model.forward_head(tokens, pre_logits=head is not None)  # type: ignore[operator]
    return features if head is None else head_logits(head, features)


def final_tokens(model: nn.Module, images: Tensor) -> Tensor:
    """The tokens [B, N, D] that the classifier reads, in the model's precision and in the state it is in.

    Raises:
        InterpretError: the model cannot take images of this size.
    """
    try:
        tokens: Tensor = model.forward_features(images)  # type: ignore[operator]
    except AssertionError as error:
        # timm asserts that the input fits its patch grid and position embedding, and says what would.
        raise InterpretError(f"images: {model_name(model)} cannot take {list(images.shape)}: {error}") from error
    return tokens


def head_logits(head: Head, features: Tensor) -> Tensor:
    """Logits [B, K] of a head of one's own, from pre-logit features [B, D].

    Raises:
        InterpretError: they are none; the message names the argument.
    """
    logits = head(features)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(features):
        seen = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InterpretError(f"head: expected logits [{len(features)}, K], got {seen}")
    return logits


def check_head(head: object) -> None:
    """Refuse what cannot take the classifier's place."""
    if head is not None and not callable(head):
        raise InterpretError(f"head: expected a callable from features to logits, got {type(head).__name__}")


def check_images(model: nn.Module, images: Tensor) -> None:
    """Refuse what is no batch for this model.

    Raises:
        InterpretError: another shape, device or precision than the model takes.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or 0 in images.shape:
        seen = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InterpretError(f"images: expected a batch [B, channels, H, W], got {seen}")
    embed = getattr(model, "patch_embed", None)
    convolutions = [module for module in embed.modules() if isinstance(module, nn.Conv2d)] if embed is not None else []
    if convolutions and convolutions[0].in_channels != images.shape[1]:
        raise InterpretError(
            f"images: {images.shape[1]} channels, but {model_name(model)} takes {convolutions[0].in_channels}"
        )
    own = next(model.parameters())
    cast = images.is_floating_point() and torch.is_autocast_enabled(images.device.type)
    if images.device != own.device or (images.dtype != own.dtype and not cast):
        raise InterpretError(
            f"images: {images.dtype} on {images.device}, but the model computes in {own.dtype} on {own.device}"
        )


def check_image(image: Tensor) -> None:
    """Refuse what is no single preprocessed picture [channels, H, W].

    Raises:
        InterpretError: it is something else.
    """
    if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
        kind = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise InterpretError(f"image: expected one preprocessed picture [channels, H, W], got {kind}")


@dataclass(frozen=True)
class Forward:
    """What one forward pass gives; all float32 on the CPU.

    Attributes:
        logits: [B, K] of the model's own classifier; [B, 0] where it has none.
        readout: [B, D] the features a linear head reads.
        features: [B, F] class token and mean patch token at half, two thirds, five sixths and the whole depth, joined.
        precision: they were computed in.
    """

    logits: Tensor
    readout: Tensor
    features: Tensor
    precision: str = "float32"

    @property
    def is_finite(self) -> bool:
        """Whether every number is one."""
        return all(bool(values.isfinite().all()) for values in (self.logits, self.readout, self.features))


def forward(model: nn.Module, images: Tensor, precision: str = "float32") -> Forward:
    """Run a timm Vision Transformer in evaluation mode.

    Args:
        model: with ``blocks``, ``forward_features`` and ``forward_head``.
        images: [B, channels, H, W], preprocessed, on the model's device and of its precision.
        precision: ``float32``, or ``float16`` or ``bfloat16`` for the matrix products (sums, softmax and norms add in
            float32); on a GPU also for what runs between the layers, by a half copy of the model, unless that has a
            number that is too large. A model for which a number becomes too large is computed in one of :func:`wider`
            from then on.
    """
    known = _too_narrow.get(model, set())
    narrow: list[Way] = []
    for way in _ways(precision, images.device):
        if way in known:
            continue
        result = _forward(model, images, *way)()
        if result.is_finite:
            if narrow:
                _too_narrow[model] = known.union(narrow)
            break
        narrow.append(way)
    return result


def begun_forward(model: nn.Module, images: Tensor, precision: str = "float32") -> Callable[[], Forward]:
    """:func:`forward`, which on a GPU goes on while this process does other things.

    Returns:
        a function that waits for the answer; where it is not finite, :func:`forward` is to find another precision.
    """
    known = _too_narrow.get(model, set())
    return _forward(model, images, *next(way for way in _ways(precision, images.device) if way not in known))


def _ways(precision: str, device: torch.device) -> Iterator[Way]:
    """In which a pass is tried, the fastest first."""
    for each in (precision, *wider(precision, device)):
        if each != "float32" and device.type == "cuda":
            yield each, True
        yield each, False


def wider(precision: str, device: torch.device) -> tuple[str, ...]:
    """What takes the place of a precision in which a number is too large, the fastest on this device first."""
    if precision == "float32":
        return ()
    has_bfloat16 = precision == "float16" and device.type == "cuda" and computes_bfloat16(device)
    return ("bfloat16", "float32") if has_bfloat16 else ("float32",)


def sweep_precision(name: str, device: torch.device) -> str:
    """The precision of :func:`forward`: ``auto`` is float16 on a GPU, and bfloat16 on a CPU that computes in it."""
    if name != "auto":
        return name
    if device.type == "cpu":
        return "bfloat16" if computes_bfloat16(device) else "float32"
    return "float16" if device.type == "cuda" else "float32"


def _forward(model: nn.Module, images: Tensor, precision: str, by_copy: bool = False) -> Callable[[], Forward]:
    if images.device.type == "cpu" and len(images) > TOGETHER:
        parts = images.split(TOGETHER)
        whole = joined([_forward(model, part, precision, by_copy)() for part in parts])
        return lambda: whole
    dtype = getattr(torch, precision)
    half = half_copy(model, dtype) if by_copy else None
    casts = torch.autocast(images.device.type, dtype) if half is None and precision != "float32" else nullcontext()
    on_cpu = precision == "bfloat16" and images.device.type == "cpu"
    products = PlainProducts(torch.bfloat16, half_layers(model)) if on_cpu else nullcontext()
    if half is not None:
        model, images = half, images.to(dtype)
    with torch.inference_mode(), full_float32(images.device), casts, products:
        logits, readout, features = outputs(model, images)
        arrived = fetched([logits.float(), readout.float(), features])

    def answered() -> Forward:
        said, read, seen = arrived()
        return Forward(said, read, seen, precision)

    return answered


def outputs(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, readout and features of :class:`Forward`, in the precision and on the device of the model."""
    with _block_summaries(model) as summaries:
        last = model.forward_features(images)  # type: ignore[operator]
    readout = model.forward_head(last, pre_logits=True)  # type: ignore[operator]
    classes = int(getattr(model, "num_classes", 0))
    logits = model.forward_head(last) if classes else readout[:, :0]  # type: ignore[operator]
    return logits, readout, torch.cat([*summaries, *_summary(model, last)], dim=1)


def joined(parts: Sequence[Forward]) -> Forward:
    """What some passes give, one after the other, as if it were one."""
    rows = zip(*((part.logits, part.readout, part.features) for part in parts), strict=True)
    logits, readout, features = (torch.cat(each) for each in rows)
    return Forward(logits, readout, features, parts[0].precision)


def _summary(model: nn.Module, tokens: Tensor) -> list[Tensor]:
    """Class token, where there is one, and mean patch token of [B, N, D], each [B, D] float32."""
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    mean = tokens[:, prefix:].float().mean(dim=1)
    return [tokens[:, 0].float(), mean] if prefix else [mean]


@contextmanager
def _block_summaries(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what the chosen blocks give, summarised at once: the tokens themselves would be many times the memory.

    The last block's come normalised from the model itself.
    """
    blocks: list[nn.Module] = list(model.blocks)  # type: ignore[arg-type]
    count = len(blocks)
    depths = [depth for depth in sorted({round(count * f) for f in _DEPTHS}) if 0 < depth < count]
    found: list[Tensor] = []
    handles = [
        blocks[depth - 1].register_forward_hook(lambda _module, _inputs, output: found.extend(_summary(model, output)))
        for depth in depths
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
