"""Attention transfer: the attention maps as the only parameters, moved until a class's logit falls (Cui 2026, Fig. 6).

All attention maps A_1 … A_L of one forward pass of one picture are the parameters; pixels and weights stay as they
are. Every step t moves them down the gradient of the followed class's logit z,

    A_l(t+1) = Π( A_l(t) − u_l(t) + c_l(t) ),      G_l(t) = ∂z/∂A_l at the maps in effect,

with u = η·G for ``sgd`` and Adam's step made from G for ``adam``. With ``renormalise``, Π cuts what is negative and
divides each row by its sum; otherwise it does nothing, and a "map" may turn negative. The two gradient modes differ in
how later layers answer to a change below. Let own_l(x) = softmax(q_l k_lᵀ·scale + bias) for the tokens x that reach
layer l:

* ``frozen``: c = 0 and every A_l is a leaf by itself. Moving A_l changes the tokens that later layers see and so their
  values, but not whom they attend to. G is the partial derivative with all other maps held: it has lost the paths
  through the softmaxes of later layers, so that the first snapshot is not yet the map that ``interpret`` gives.
* ``full``: c_l(t) = own_l(x(t+1)) − own_l(x(t)). Each layer attends as the network does on its present tokens, plus the
  moves made so far. Later layers answer through queries, keys and values, and G is the total derivative of exactly
  that computation; at t = 0 it is the gradient that ``interpret`` uses.

The signed map of a snapshot is the rollout (eqs. 1-3) of the maps in effect with their own gradients. The N x N
matrices are parameters here and must exist: a set takes 4·L·H·N² bytes (22 MB for ViT-B/16 at 224 pixels, 1.1 GB at
518 pixels in patches of 14), and several are held at once: the parameters, the maps in effect, what the backward pass
needs, the gradients, and Adam's two moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradattn_core.attention.explicit import ExplicitAttention
from gradattn_core.attention.readout import Readout, find_readout, model_name, patch_grid
from gradattn_core.attention.rollout import prepared
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import Provenance, signed_maps
from gradattn_core.methods import PAPER_CORRECTIONS, Descent, Method, StepCount
from gradattn_core.model.forward import Head, check_image, class_logits

_MOST_BYTES = 2 << 30
_FOLLOWED = 4


@dataclass(frozen=True)
class Transfer:
    """How the answers and the map changed while the attention was moved; maps and attention on the model's device.

    Attributes:
        snapshots: [S] the number of steps before each map; the first is 0, the untouched model.
        maps: [S, grid height, grid width] float32, raw signed maps; positive speaks for the target.
        leaders: [S] the class with the greatest logit at each snapshot.
        leading_maps: [S, grid height, grid width] float32, raw signed maps of that class's logit.
        classes: the K followed classes: target, against where given, the four that were most probable at any time, and
            the leaders.
        logits: [steps + 1, K] float32, of ``classes`` after each number of steps; row 0 is the untouched model.
        probabilities: [steps + 1, K] float32 in [0, 1], the softmax over all of the model's classes.
        attention: per layer [H, Nq, Nk], the maps after the last step.
    """

    snapshots: tuple[int, ...]
    maps: Tensor
    leaders: tuple[int, ...]
    leading_maps: Tensor
    classes: tuple[int, ...]
    logits: Tensor
    probabilities: Tensor
    attention: tuple[Tensor, ...]
    provenance: Provenance
    descent: Descent


def transfer(
    model: nn.Module,
    image: Tensor,
    target: int,
    against: int | None = None,
    *,
    descent: Descent = Descent(),
    method: Method = Method(),
    head: Head | None = None,
    progress: StepCount | None = None,
) -> Transfer:
    """Descend the logit of ``target`` with the attention maps as the only parameters; the module gives the formulas.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        image: [channels, H, W], one picture, preprocessed as the model expects.
        target: the class whose logit is descended and that red speaks for.
        against: the class that blue speaks for: the maps explain z_target − z_against, or z_target alone where
            ``None``. What is descended is z_target in both cases.
        descent: steps, their size, and how the maps move.
        method, head: as for ``interpret``; the objective is ``difference``, or ``logit`` without ``against``.
        progress: called with (steps done, steps) after every step.

    Raises:
        InterpretError: an argument is unusable, the rate is so high that the logits overflow, or one set of maps is
            larger than 2 GB; the message names the argument.
        ModelError: the model has no global self-attention.
    """
    check_image(image)
    method.check_difference("transfer")
    if method.correction not in PAPER_CORRECTIONS:
        raise InterpretError(
            f"correction={method.correction!r}: transfer moves the attention itself; choose one of "
            f"{', '.join(PAPER_CORRECTIONS)}"
        )
    if against is None:
        method = replace(method, objective="logit")
    model = getattr(model, "_orig_mod", model)
    # Checks every other argument, and that the attention of this model can be followed at all.
    provenance = signed_maps(model, image[None], target, against, method, head).provenance
    with torch.inference_mode(False), torch.enable_grad(), prepared(model):
        network = _Network(model, image, method, descent, head)
        course, snapshots = _descend(network, target, against, descent, progress)
        probabilities = course.softmax(1)
        leaders = tuple(snapshot.leader for snapshot in snapshots)
        ever = probabilities.amax(0).argsort(descending=True)[:_FOLLOWED].tolist()
        classes = tuple(dict.fromkeys([target, *([] if against is None else [against]), *ever, *leaders]))
        return Transfer(
            snapshots=tuple(snapshot.step for snapshot in snapshots),
            maps=torch.stack([snapshot.scores for snapshot in snapshots]),
            leaders=leaders,
            leading_maps=torch.stack([snapshot.leading_scores for snapshot in snapshots]),
            classes=classes,
            logits=course[:, classes],
            probabilities=probabilities[:, classes],
            attention=tuple(layer.detach()[0] for layer in network.attention.maps),
            provenance=provenance,
            descent=descent,
        )


@dataclass(frozen=True)
class _Snapshot:
    """After ``step`` steps: the asked map, and the class that leads then with the map of its logit."""

    step: int
    scores: Tensor
    leader: int
    leading_scores: Tensor


def _descend(
    network: _Network,
    target: int,
    against: int | None,
    descent: Descent,
    progress: StepCount | None,
) -> tuple[Tensor, list[_Snapshot]]:
    """The logits [steps + 1, K] of the whole way, and the snapshots taken on it."""
    steps, intervals = descent.steps, max(1, descent.snapshots - 1)
    stops = {round(number * steps / intervals) for number in range(descent.snapshots)}
    course: list[Tensor] = []
    snapshots: list[_Snapshot] = []
    kind = torch.optim.SGD if descent.optimiser == "sgd" else torch.optim.Adam
    stepper: torch.optim.Optimizer | None = None
    for step in range(steps + 1):
        logits = network.answer()
        if not bool(torch.isfinite(logits).all()):
            raise InterpretError(
                f"rate={descent.rate}: the logits are not finite after {step} steps; a smaller rate works"
            )
        course.append(logits.detach().cpu())
        if step in stops:
            value = logits[target] if against is None else logits[target] - logits[against]
            leader = int(course[-1].argmax())
            snapshots.append(_Snapshot(step, network.explain(value), leader, network.explain(logits.max())))
        if step < steps:
            stepper = stepper or kind(network.attention.parameters, lr=descent.rate)
            network.attention.step(torch.autograd.grad(logits[target], network.attention.maps), stepper)
            if progress is not None:
                progress(step + 1, steps)
    return torch.stack(course), snapshots


class _Network:
    """One picture in one model whose attention is moved: its logits, and the maps that explain them."""

    def __init__(self, model: nn.Module, image: Tensor, method: Method, descent: Descent, head: Head | None) -> None:
        self.model, self.method, self.head = model, method, head
        # A clone, because a tensor made in inference mode cannot take part in autograd.
        self.pixels = image.detach()[None].clone()
        self.readout, self.grid = find_readout(model, method.readout), patch_grid(model, self.pixels)
        layers = len(model.blocks)  # type: ignore[arg-type]
        self.attention = MovedAttention(layers, full=descent.grad_mode == "full", renormalise=descent.renormalise)

    def answer(self) -> Tensor:
        """[K] logits under the moved attention, float32, with their graph."""
        self.attention.begin()
        with ExplicitAttention(model_name(self.model), self.attention.weigh):
            return class_logits(self.model, self.pixels, self.head)[0].float()

    def explain(self, value: Tensor) -> Tensor:
        """[grid height, grid width] signed map of a scalar of the last answer."""
        gradients = torch.autograd.grad(value, self.attention.maps, retain_graph=True)
        return _signed_map(self.attention.maps, gradients, self.readout, self.method).reshape(self.grid)


class MovedAttention:
    """The moved maps, which answer every call of attention in the place of the model's own.

    Values are always the model's own on its present tokens.

    Attributes:
        parameters: per layer what is optimised: the map (frozen), or what is added to the model's own map (full).
        maps: the maps in effect in the last forward pass, [B, H, Nq, Nk], with their graph.
    """

    def __init__(self, layers: int, *, full: bool, renormalise: bool) -> None:
        self.layers, self.full, self.renormalise = layers, full, renormalise
        self.parameters: list[Tensor] = []
        self.maps: list[Tensor] = []
        self._own: list[Tensor] = []

    def begin(self) -> None:
        """Let go of what the last forward pass left."""
        self.maps, self._own = [], []

    def weigh(self, index: int, softmax: Callable[[], Tensor]) -> Tensor:
        """The map in effect of call ``index``; ``softmax`` gives the model's own."""
        begins = index == len(self.parameters)
        if self.full or begins:
            own = softmax()
        if begins:
            _check_memory(own, self.layers)
            start = torch.zeros_like(own) if self.full else own.detach()
            self.parameters.append(start.requires_grad_(True))
        weights = self.parameters[index]
        if self.full:
            self._own.append(own.detach())
            weights = own + weights
            weights = _distributions(weights) if self.renormalise else weights
        self.maps.append(weights)
        return weights

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], stepper: torch.optim.Optimizer) -> None:
        """Move every map down its gradient."""
        for index, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            if self.full and self.renormalise:
                # The step begins at the map in effect, not at what it was before its negative part was cut.
                parameter.copy_(self.maps[index] - self._own[index])
            parameter.grad = gradient
        # What the next forward pass does not need makes room for it.
        self.begin()
        stepper.step()
        stepper.zero_grad()
        if self.renormalise and not self.full:
            for parameter in self.parameters:
                parameter.copy_(_distributions(parameter))


def _distributions(maps: Tensor) -> Tensor:
    """Rows without their negative part, divided by their sum; a row with nothing left stays zero."""
    cut = maps.clamp_min(0)
    return cut / cut.sum(-1, keepdim=True).clamp_min(torch.finfo(cut.dtype).tiny)


def _check_memory(maps: Tensor, layers: int) -> None:
    _, heads, tokens, _ = maps.shape
    size = 4 * maps.numel() * layers
    if size > _MOST_BYTES:
        raise InterpretError(
            f"image: {tokens:,} tokens in {layers} layers of {heads} heads make {size / 1e9:.1f} GB of attention maps, "
            f"all of them parameters; up to {_MOST_BYTES / 1e9:.1f} GB work: give a smaller picture or larger patches"
        )


def _signed_map(maps: Sequence[Tensor], gradients: Sequence[Tensor], readout: Readout, method: Method) -> Tensor:
    """S [patches] float32 of the maps in effect: C − r0 without the prefix, one row followed back (eqs. 1-3)."""
    mixed = [_weighted(a.detach()[0], g[0], method.correction).mean(0) for a, g in zip(maps, gradients, strict=True)]
    tokens = mixed[0].shape[-1]
    if readout.kind == "attention-pool":
        pooled = mixed.pop().mean(0)
        start, origin = F.pad(pooled, (tokens - len(pooled), 0)), torch.zeros_like(mixed[0][0])
    else:
        start = origin = readout.row(tokens)[0].to(mixed[0])
    row = start
    for layer in reversed(mixed):
        row = row + (start if method.aggregation == "sum" else row) @ layer
    return (row - origin)[readout.prefix_tokens :].float()


def _weighted(maps: Tensor, gradients: Tensor, correction: str) -> Tensor:
    """W ⊙ A of one layer, [H, Nq, Nk]; for ``absolute`` |G ⊙ A|, which has no sign where a moved A has one."""
    if correction == "centred":
        gradients = gradients - (maps * gradients).sum(-1, keepdim=True)
    elif correction == "positive":
        gradients = gradients.relu()
    weighted = gradients * maps
    return weighted.abs() if correction == "absolute" else weighted
