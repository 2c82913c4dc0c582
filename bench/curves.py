"""Part (b) of bench/faithfulness.py: what a model says while patches go, the most or the least relevant first.

No masked picture is asked about twice: nothing and everything masked are the same for all methods and both orders, and
so is every mask that two maps agree on. Patches are embedded once a picture, tokens that are left out are not computed,
and passes are in bfloat16 where the processor has units for it. Pictures go in chunks, all methods of one before the
next, so that a run that is stopped has all methods of as many pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bench.protocol import SOME, Run, maps_of, result_of
from bench.subject import Arrays, Batch, Case, key_of
from gradattn_core.attention.readout import find_readout
from gradattn_core.attention.rollout import prepared
from gradattn_core.evaluate.composites import composite
from gradattn_core.evaluate.perturbation import (
    MEASURES,
    ORDERS,
    PerturbationCurve,
    answers_of,
    masking_ranks,
)
from gradattn_core.evaluate.replacing import masked_logits, replacement
from gradattn_core.evaluate.statistics import area
from gradattn_core.interpret.absence import READS_PATCHES
from gradattn_core.model.device import computes_bfloat16
from gradattn_core.peers.registry import PEERS

SETTINGS = {
    "pixels, grey": (False, "zero", False),
    "pixels, blurred": (False, "blur", False),
    "tokens": (False, "drop", False),
    "with guide": (True, "zero", False),
    "with guide, own half": (True, "zero", True),
}
"""Is a guide beside the picture, what a masked patch becomes, is only the picture's own half masked."""
CHUNK = 25
# Of 8 to 128, the quickest for ViT-Ti on one core: what a block makes of 16 pictures fits its cache.
_BATCH = 16


@dataclass
class Asked:
    """A model's answers about the labels of some pictures under masks, each mask of a picture asked once.

    Attributes:
        images, labels: [B, C, H, W] and [B].
        replace: what a masked patch becomes, ``zero``, ``mean``, ``blur`` or ``drop``.
        precision: of matrix products, ``float32`` or ``bfloat16``.
        known: what was answered, by picture and mask.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    replace: str
    precision: str
    known: dict[tuple[int, bytes], NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Others may not look at each patch by itself, and a pool reads the grey picture where a patch is left out.
        self.embedded: list[Tensor] | None = None
        pools = find_readout(self.model).kind in READS_PATCHES
        if type(self.model) is VisionTransformer and not (pools and self.replace == "drop"):
            network: Any = self.model
            grid = network.patch_embed.grid_size
            filled = () if self.replace == "drop" else (replacement(self.images, grid, self.replace),)
            with self._passes():
                self.embedded = [network.patch_embed(images) for images in (self.images, *filled)]

    def __call__(self, masked: Tensor) -> NDArray[np.float64]:
        """[measures, B, S] of masks [B, S, rows, columns], measures as in :data:`MEASURES`."""
        packed = np.packbits(masked.flatten(2).numpy(), axis=2)
        keys = [[(row, mask.tobytes()) for mask in masks] for row, masks in enumerate(packed)]
        places = {key: (row, step) for row, line in enumerate(keys) for step, key in enumerate(line)}
        fresh = [place for key, place in places.items() if key not in self.known]
        fresh.sort(key=lambda place: int(masked[place].sum()))
        with self._passes():
            for some in self._batches(fresh, masked):
                rows = torch.tensor([row for row, _ in some])
                logits = self._logits(rows, torch.stack([masked[place] for place in some]))
                found = np.stack(answers_of(logits[:, None], self.labels[rows]))[..., 0]
                self.known |= {keys[row][step]: found[:, i] for i, (row, step) in enumerate(some)}
        return np.array([[self.known[key] for key in line] for line in keys]).transpose(2, 0, 1)

    def _batches(self, places: list[tuple[int, int]], masked: Tensor) -> Iterator[list[tuple[int, int]]]:
        """Pictures that lose as many tokens share a pass; where none is left out, any do."""
        counts = [int(masked[place].sum()) if self.replace == "drop" else 0 for place in places]
        for count in sorted(set(counts)):
            alike = [place for place, mine in zip(places, counts, strict=True) if mine == count]
            for start in range(0, len(alike), _BATCH):
                yield alike[start : start + _BATCH]

    def _logits(self, rows: Tensor, masked: Tensor) -> Tensor:
        if self.embedded is None:
            return masked_logits(self.model, self.images[rows], masked, self.replace)
        tokens = self.embedded[0][rows]
        images = self.images[:1].expand(len(rows), -1, -1, -1)
        if self.replace == "drop":
            with _tokens_given(self.model, tokens):
                return masked_logits(self.model, images, masked, "drop")
        with _tokens_given(self.model, torch.where(masked.flatten(1)[..., None], self.embedded[1][rows], tokens)):
            logits: Tensor = self.model(images)
            return logits.float()

    @contextmanager
    def _passes(self) -> Iterator[None]:
        """The precision; in bfloat16 a fifth quicker with attention in steps, whose softmax stays in float32."""
        with prepared(self.model), torch.inference_mode():
            if self.precision == "float32":
                yield
                return
            attentions = [each for each in self.model.modules() if getattr(each, "fused_attn", False)]
            try:
                for attention in attentions:
                    attention.fused_attn = False  # type: ignore[assignment]
                with torch.autocast("cpu", torch.bfloat16):
                    yield
            finally:
                for attention in attentions:
                    attention.fused_attn = True  # type: ignore[assignment]


@contextmanager
def _tokens_given(model: Any, tokens: Tensor) -> Iterator[None]:
    """In place of embedding patches the model takes ``tokens`` [B, patches, D]."""
    model.patch_embed.forward = lambda _images: tokens
    try:
        yield
    finally:
        del model.patch_embed.forward


def quick_precision() -> str:
    return "bfloat16" if computes_bfloat16(torch.device("cpu")) else "float32"


def shares(steps: int) -> tuple[float, ...]:
    return tuple(step / steps for step in range(steps + 1))


def starts(run: Run) -> range:
    """The first picture of every chunk."""
    return range(0, _most(run), CHUNK)


def pictures(run: Run, name: str) -> int:
    """How many pictures a method is asked about: few where it is of many passes, and otherwise all."""
    most = _most(run)
    return min(run.few, most) if name in PEERS and PEERS[name].passes > SOME else most


def _most(run: Run) -> int:
    """As many as are asked for and are there."""
    return min(run.curves, len(run.subject.names))


def curves(run: Run, name: str) -> Arrays:
    """Areas under accuracy and log-odds, one entry a picture: ``measure, setting, order``.

    Plain pictures are explained by the map of their label alone, as in the literature; with a guide beside the picture,
    label against the guide's class.
    """
    parts = [chunk(run, name, start) for start in starts(run) if start < pictures(run, name)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def chunk(run: Run, name: str, start: int) -> Arrays:
    """The same of the pictures of one chunk."""
    count = min(pictures(run, name), start + CHUNK) - start
    steps = shares(run.steps)

    def made() -> Arrays:
        areas: Arrays = {}
        asked = _asked(run, start)
        for setting, (has_guide, replace, is_own) in SETTINGS.items():
            batch, all_answers = asked[has_guide, replace]
            few = Batch(batch.images[:count], batch.target[:count], batch.against[:count])
            maps = torch.from_numpy(maps_of(run, name, run.subject.model, few, has_guide).astype(np.float32))
            own = _own(run) if is_own else None
            for order in ORDERS:
                ranks, patches = masking_ranks(maps, order, own, run.seed)
                masked = torch.stack([ranks < round(share * patches) for share in steps], 1)
                found = dict(zip(MEASURES, all_answers(masked), strict=True))
                curve = PerturbationCurve(np.array(steps), order=order, replace=replace, patches=patches, **found)
                for measure in ("accuracy", "log_odds"):
                    areas[f"{measure}, {setting}, {order}"] = area(curve, measure)
        return areas

    facts = (run.subject.digest, steps, quick_precision(), count, _facts(run, start))
    return result_of(run, "curves", name, facts, made)


@lru_cache(maxsize=1)
def _asked(run: Run, start: int) -> dict[tuple[bool, str], tuple[Batch, Asked]]:
    """Of a chunk: its pictures without and with a guide, and what has been answered about them."""
    end = min(start + CHUNK, _most(run))
    plain = Batch.of(run.subject.labelled(end, run.seed, start))
    guided = Batch.of([_joined(run, *pair) for pair in run.subject.pairs(end, run.seed + 1, start)])
    found = {}
    for has_guide, replace, _ in SETTINGS.values():
        batch = guided if has_guide else plain
        asked = Asked(run.subject.model, batch.images, batch.target, replace, quick_precision())
        found[has_guide, replace] = batch, asked
    return found


@cache
def _facts(run: Run, start: int) -> str:
    """What is asked of a chunk: known of all of them, so that what was kept is read without the pictures."""
    return key_of(*(batch.images for batch, _ in _asked(run, start).values()))


def _joined(run: Run, first: Case, second: Case) -> Case:
    """A picture on the left with a guide of another class on the right."""
    image, _ = composite(first.image, second.image, "beside", run.subject.grid)
    return Case(first.name, "with guide", image, first.target, second.target)


def _own(run: Run) -> Tensor:
    """Which patches are the picture's, not the guide's."""
    own = torch.zeros(run.subject.grid, dtype=torch.bool)
    own[:, : own.shape[1] // 2] = True
    return own
