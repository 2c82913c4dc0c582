"""What can be asked of an interpretation, without torch: the choices by name, and the records that carry them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradattn_core.errors import InterpretError

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES = ("logit", "difference", "ratio", "quotient", "normalised")
PAIR_OBJECTIVES = ("difference", "ratio", "quotient", "normalised")
"""The objectives of two classes."""
PAPER_CORRECTIONS = ("complete", "positive", "absolute", "centred")
"""How the gradient weights attention in a row that is followed back (Cui et al. 2026, and *centred*)."""
CORRECTIONS = ("secant", *PAPER_CORRECTIONS)
"""*secant* is a map of its own: in log-odds, and it adds up."""
SIGNED_CORRECTIONS = ("secant", "complete", "centred")
"""The corrections whose maps have both signs: red for one class and blue for the other."""
AGGREGATIONS = ("product", "sum")
SECANT_OBJECTIVES = ("difference", "logit")
"""The objectives, beside callables, that *secant* explains: a map that adds up needs one that is no fraction."""
READOUTS = ("auto", "cls", "distilled", "mean", "attention-pool")
PRECISIONS = ("auto", "float32", "float16", "bfloat16")
"""Of a forward pass without a map; ``auto`` is float16 on a GPU, and on a CPU bfloat16 where it has units for that."""
ENGINES = ("torch", "openvino")
"""What computes a sweep's forward passes; the latter is an extra, for CPUs."""
MAP_PRECISIONS = ("auto", "float32", "tf32")
"""Of an audit's maps; ``auto`` is TF32 on a GPU that has units for it and float32 elsewhere."""
SIDES = ("left", "right", "top", "bottom")
FITS = ("crop", "pad", "stretch")
OPTIMISERS = ("sgd", "adam")
GRAD_MODES = ("full", "frozen")
MOST_STEPS = 10_000

StepCount = Callable[[int, int], None]
"""Called with (steps done, steps) after every step."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a signed map is made; :func:`~gradattn_core.interpret.interpret` gives the formulas.

    Attributes:
        objective: the scalar that is differentiated, one of :data:`OBJECTIVES`, or a callable from logits [B, K] to
            [B].
        correction: how the gradient weights attention, one of :data:`CORRECTIONS`.
        aggregation: ``product`` of the layers, or the ``sum`` of their rows; ``None`` is the product. *secant* has
            none.
        readout: where the classifier reads the tokens, one of :data:`READOUTS`; ``auto`` finds it from the model.

    Raises:
        InterpretError: one of them is unknown, or two do not go together; the message names them.
    """

    objective: str | Callable[[Tensor], Tensor] = "difference"
    correction: str = "complete"
    aggregation: str | None = None
    readout: str = "auto"

    def __post_init__(self) -> None:
        if not callable(self.objective):
            _check_choice("objective", self.objective, OBJECTIVES)
        _check_choice("correction", self.correction, CORRECTIONS)
        if self.aggregation is not None:
            _check_choice("aggregation", self.aggregation, AGGREGATIONS)
        _check_choice("readout", self.readout, READOUTS)
        if self.correction == "secant":
            self._check_secant()

    def _check_secant(self) -> None:
        if self.aggregation is not None:
            raise InterpretError(
                f"aggregation={self.aggregation!r}: the correction 'secant' adds over all layers by its nature; leave "
                f"aggregation out, or choose one of {', '.join(PAPER_CORRECTIONS)}"
            )
        if isinstance(self.objective, str) and self.objective not in SECANT_OBJECTIVES:
            raise InterpretError(
                f"objective={self.objective!r}: the correction 'secant' explains 'difference', 'logit' or a callable; "
                f"for a fraction choose one of {', '.join(PAPER_CORRECTIONS)}"
            )

    @property
    def objective_name(self) -> str:
        """Of a callable its own name."""
        return self.objective if isinstance(self.objective, str) else getattr(self.objective, "__name__", "callable")

    @property
    def aggregation_name(self) -> str:
        """``product`` or ``sum``; empty for *secant*."""
        return "" if self.correction == "secant" else self.aggregation or "product"

    def check_difference(self, what: str) -> None:
        """Refuse another objective where ``what`` follows the difference of two logits by its nature."""
        if self.objective != "difference":
            raise InterpretError(f"objective={self.objective_name!r}: {what} works with 'difference' alone")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a picture and its guide share the model's input.

    Attributes:
        side: where the guide is: ``left``, ``right``, ``top`` or ``bottom`` of the picture.
        ratio: the picture's share of the input, rounded to whole patches.
        fit: how both are brought to their part's shape: ``crop`` fills the part and cuts what sticks out, ``pad``
            shows all and fills up with the model's mean colour, ``stretch`` shows all and distorts.

    Raises:
        InterpretError: an unknown side or fit; the message names it.
    """

    side: str = "right"
    ratio: float = 0.5
    fit: str = "stretch"

    def __post_init__(self) -> None:
        _check_choice("side", self.side, SIDES)
        _check_choice("fit", self.fit, FITS)


@dataclass(frozen=True, slots=True)
class Descent:
    """How attention is moved in :func:`~gradattn_core.interpret.transfer.transfer`.

    Attributes:
        steps: 1 to 10,000; each costs one forward and one backward pass. With the paper's rate and ``sgd`` a ViT
            usually leaves the class within ten steps, and what it names long after that means nothing any more.
        rate: the learning rate η; the paper's is 4e-4.
        optimiser: ``sgd`` or ``adam`` (the paper does not say which).
        renormalise: keep every row of every map a distribution.
        grad_mode: ``full``: the gradient runs through the softmaxes of later layers too; ``frozen``: it does not.
        snapshots: how many maps to make, evenly from before the first to after the last step.

    Raises:
        InterpretError: one of them is unusable; the message names it.
    """

    steps: int = 12
    rate: float = 4e-4
    optimiser: str = "sgd"
    renormalise: bool = False
    grad_mode: str = "full"
    snapshots: int = 7

    def __post_init__(self) -> None:
        _check_choice("optimiser", self.optimiser, OPTIMISERS)
        _check_choice("grad_mode", self.grad_mode, GRAD_MODES)
        check_steps(self.steps)
        if self.snapshots < 1:
            raise InterpretError(f"snapshots={self.snapshots}: give at least 1")
        if not 0 < self.rate < math.inf:
            raise InterpretError(f"rate={self.rate}: give a positive number such as 4e-4")


def default_correction(objective: str | Callable[[Tensor], Tensor]) -> str:
    """What one picture is explained with unless asked otherwise: *secant*, or *complete* where that has no sum."""
    return "secant" if callable(objective) or objective in SECANT_OBJECTIVES else "complete"


def check_steps(steps: int) -> None:
    """Refuse a number of steps that nobody would wait for, or none at all."""
    if not 1 <= steps <= MOST_STEPS:
        raise InterpretError(f"steps={steps}: give a number from 1 to {MOST_STEPS:,}")


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InterpretError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")
