"""What every method is asked, and how a method says what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gradattn_core.attention.readout import Readout, model_name
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.objective import check_finite, class_value
from gradattn_core.model.forward import Head, class_logits


@dataclass(frozen=True, slots=True)
class Question:
    """One batch in one model and the classes that are asked about.

    Attributes:
        model: prepared: in evaluation mode, parameters frozen, attention through one function.
        images: [B, channels, H, W], a copy that may be differentiated.
        grid: rows and columns of patches.
        readout: where the classifier reads the tokens.
        target: [B] the classes that are explained.
        against: [B] the other classes; ``None`` where one class is explained.
        head: from pre-logit features to logits; the model's classifier where ``None``.
        chunk_size: how many pictures a pass may hold.
        seeds: one for each picture, so that no map depends on its neighbours in the batch.
    """

    model: nn.Module
    images: Tensor
    grid: tuple[int, int]
    readout: Readout
    target: Tensor
    against: Tensor | None
    head: Head | None
    chunk_size: int
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """The model's, for messages."""
        return model_name(self.model)

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.model.blocks)  # type: ignore[arg-type]

    def answer(self, pixels: Tensor) -> Tensor:
        """Logits [B, K], float32 or better, with their graph where gradients are on.

        Raises:
            InterpretError: they are not finite, or the head gives none of their graph.
        """
        logits = class_logits(self.model, pixels, self.head)
        if torch.is_grad_enabled() and not logits.requires_grad:
            raise InterpretError("head: its logits carry no gradient (a no_grad or detach inside?)")
        check_finite(logits)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def value(self, logits: Tensor) -> Tensor:
        """f [B]: the target's logit, or its log-odds against the other class."""
        return class_value(logits, self.target, self.against)

    def probability(self, logits: Tensor) -> Tensor:
        """[B] in [0, 1], softmax over all classes: the target's, or the target's minus the other class's."""
        return self.value(logits.softmax(dim=1))

    def each_class(self) -> list[Question]:
        """The same about the target alone, and about the other class alone where there is one."""
        one = replace(self, against=None)
        return [one] if self.against is None else [one, replace(one, target=self.against)]

    def take(self, index: Tensor) -> Question:
        """The same about the pictures [n] that ``index`` names, which may name one several times."""
        return replace(
            self,
            images=self.images[index],
            target=self.target[index],
            against=None if self.against is None else self.against[index],
            seeds=tuple(self.seeds[i] for i in index.tolist()),
        )

    def generators(self) -> list[torch.Generator]:
        """One fresh generator for each picture, on the CPU, so that every device draws the same numbers."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def passes(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All pairs of a step and a picture, at most ``chunk_size`` at a time.

        Yields:
            the steps' numbers and the pictures' numbers, both [n].
        """
        pairs = torch.arange(steps * len(self.images), device=self.images.device)
        for chunk in pairs.split(self.chunk_size):
            yield chunk // len(self.images), chunk % len(self.images)

    def refuse(self, method: str, reason: str) -> InterpretError:
        """The error that says why ``method`` cannot be asked about this model."""
        return InterpretError(f"method {method!r}: {self.name} {reason}")


@contextmanager
def patches_as_leaf(model: nn.Module) -> Iterator[list[Tensor]]:
    """Begin the graph of each forward pass at what the patch embedding gives; the leaves, as they come."""
    leaves: list[Tensor] = []

    def detach(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_(True))
        return leaves[-1]

    hook = model.patch_embed.register_forward_hook(detach)  # type: ignore[union-attr]
    try:
        yield leaves
    finally:
        hook.remove()


# Passes of a method that a page draws while somebody waits.
_CHEAP = 3


def difference(maps: Sequence[Tensor]) -> Tensor:
    """The map of one class, or that of the target minus that of the other."""
    return maps[0] if len(maps) == 1 else maps[0] - maps[1]


@dataclass(frozen=True, slots=True)
class Peer:
    """A method of explanation.

    Attributes:
        name: as it is asked for.
        title: as a table shows it.
        source: authors, year, title of the publication.
        maps: from a question to the maps [B, patches], row by row, or [B, rows, columns].
        passes: forward and backward passes for one picture and one f, counted one each, without those that all pictures
            of a batch share; where the number depends on the picture or the model, a typical one.
        cost: the same in words, such as ``21 forward + backward``.
        explains: ``pair``: f is the log-odds and one map answers it (a method linear in f, or made for two classes);
            ``class``: one class, and a pair by the difference of two maps; ``picture``: knows no class.
        shares_passes: ``maps`` answers a pair by that difference itself, as much of the work is the same for both.
        is_signed: a map of one f has both signs.
        is_detail: finds the part in which two classes differ: in at least three tenths of |S|, of the right sign, on
            the generated pictures of bench/faithfulness.py (a random map: less than one). The registry sets what was
            measured.
        adds_up: the sum over the patches is f minus what the method compares with, to rounding.
        notes: what a reader should know: deviations from the authors' code, patents, refusals.
        is_sided: what is positive speaks for the target; otherwise it only matters, for whomever.
    """

    name: str
    title: str
    source: str
    maps: Callable[[Question], Tensor]
    passes: int
    cost: str
    explains: str = "class"
    shares_passes: bool = False
    is_signed: bool = False
    is_detail: bool = False
    adds_up: bool = False
    notes: str = ""
    is_sided: bool = True

    @property
    def is_class_specific(self) -> bool:
        return self.explains != "picture"

    @property
    def is_cheap(self) -> bool:
        """Whether one waits for it without noticing."""
        return self.passes <= _CHEAP

    @property
    def has_sides(self) -> bool:
        """Whether its map says for which class a patch speaks; one that does not has no negative number."""
        return self.is_signed or (self.is_sided and self.is_class_specific)

    @property
    def properties(self) -> str:
        """What a reader of its map should know, in a few words."""
        if not self.is_class_specific:
            sides = "the same map for every class"
        elif self.is_signed:
            sides = "signed"
        elif self.explains == "class":
            sides = "without a sign, so that two classes are the difference of two maps"
        else:
            sides = "without a sign"
        return f"{sides}; {'adds up to the log-odds' if self.adds_up else 'does not add up'}; {self.cost}"
