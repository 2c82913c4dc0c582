"""What explains an audit's suspects: a head, the origins of its maps, and a batch of suspects to its evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from gradattn_core.attention.precision import products_in
from gradattn_core.audit.finetune import fold_model
from gradattn_core.audit.heads import LinearHeads
from gradattn_core.audit.loading import LoadedImage, audit_model
from gradattn_core.audit.origins import Origins
from gradattn_core.audit.plan import Plan
from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.interpret.absence import answer_without_picture, without_picture
from gradattn_core.interpret.hiding import ask_again
from gradattn_core.interpret.maps import Interpretation, interpret
from gradattn_core.interpret.measured import measured_evidence, measured_regions
from gradattn_core.interpret.objective import class_value
from gradattn_core.interpret.regions import map_statistics, red_and_blue
from gradattn_core.model.device import map_precision
from gradattn_core.model.forward import Head
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import Evidence, Hidden
from gradattn_core.sums import Sums

CANNOT = (InterpretError, ModelError)
"""What is raised where a picture or a model has no map: the audit goes on without it, and says why."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One image to interpret.

    Attributes:
        given_output, other_output: the outputs that speak for its label and for the other class.
        head: position of the head that judges it, among those of the audit.
        to_measure: whether its strongest regions are measured.
    """

    image: LoadedImage
    pixels: Tensor
    given_output: int
    other_output: int
    other_label: str
    head: int
    to_measure: bool


@dataclass(frozen=True, slots=True)
class Explainer:
    """What explains the suspects.

    Attributes:
        heads: the probe of each fold if there is one.
        outputs: of each class.
        precision: of the maps and of what is measured of them, ``float32`` or ``tf32``.
        absent: what the model says without any picture: logits [1, K], or, for probes, the features [1, D] that they
            read; None where maps do not add up.
    """

    plan: Plan
    model: nn.Module
    preprocessing: Preprocessing
    heads: LinearHeads | None
    outputs: dict[str, int]
    origins: Origins
    precision: str
    absent: Tensor | None

    @classmethod
    def of(cls, plan: Plan, fold: int | None, outputs: dict[str, int]) -> Explainer:
        """Raises:
        InterpretError, ModelError: nothing can be left out of this model.
        """
        model = audit_model(plan.config) if fold is None else fold_model(plan, fold)
        preprocessing = Preprocessing.of(model)
        heads = LinearHeads.load(plan.files.heads) if plan.head == "probe" else None
        own = next(model.parameters())
        precision = map_precision(plan.config.map_precision, own.device)
        absent = None
        if plan.config.adds_up:
            blank = torch.zeros(1, *preprocessing.input_size, device=own.device, dtype=own.dtype)
            with products_in(precision):
                absent = answer_without_picture(model, blank) if heads is None else without_picture(model, blank)
        return cls(plan, model, preprocessing, heads, outputs, Origins.load(plan.files.origins), precision, absent)

    def head(self, suspects: list[Suspect], device: torch.device) -> Head | None:
        """The probes of these images' folds, or None for the model's own classifier."""
        return None if self.heads is None else self.heads.of([suspect.head for suspect in suspects], device)

    def base(self, given: Tensor, other: Tensor, head: Head | None) -> Tensor | None:
        """[B], the log-odds of each image's classes without any picture; None where maps do not add up."""
        if self.absent is None:
            return None
        rows = self.absent.expand(len(given), -1)
        return class_value(rows if head is None else head(rows), given, other)


def evidence_of(explainer: Explainer, suspects: list[Suspect]) -> list[Evidence]:
    """The evidence of a batch: its maps, what is measured of them, and what is said with evidence hidden."""
    with products_in(explainer.precision):
        return _evidence_of(explainer, suspects)


def _evidence_of(explainer: Explainer, suspects: list[Suspect]) -> list[Evidence]:
    config, model = explainer.plan.config, explainer.model
    device = next(model.parameters()).device
    images = explainer.preprocessing.normalised(_together(suspects).to(device, non_blocking=True))
    given = torch.tensor([suspect.given_output for suspect in suspects], device=device)
    other = torch.tensor([suspect.other_output for suspect in suspects], device=device)
    head = explainer.head(suspects, device)
    result = interpret(
        model,
        images,
        given,
        other,
        objective=config.objective,
        correction=config.correction,
        head=head,
        base=explainer.base(given, other, head),
    )
    if not bool(result.scores.isfinite().all()):
        raise InterpretError("its gradients are not finite, so it has no map")
    scores, result = result.scores, _fetched(result)
    # A GPU answers while the maps' own numbers are made here; measuring everything may change the maps first.
    again = ask_again(model, images, scores, head) if config.measured != "all" else None
    found = [_of_map(explainer, suspect, result, row) for row, suspect in enumerate(suspects)]
    if config.measured == "all":
        sizes = [(suspect.image.width, suspect.image.height) for suspect in suspects]
        found = measured_evidence(model, images, found, sizes, given, other, head=head)
    else:
        chosen = [row for row, suspect in enumerate(suspects) if suspect.to_measure]
        some = [suspects[row] for row in chosen]
        if some:
            measured = measured_regions(
                *(model, images[chosen], [found[row] for row in chosen], given[chosen], other[chosen]),
                head=explainer.head(some, device),
            )
            for row, evidence in zip(chosen, measured, strict=True):
                found[row] = evidence
    if again is None:
        scores = torch.from_numpy(np.stack([evidence.scores for evidence in found])).to(device)
        again = ask_again(model, images, scores, head)
    answers = _hidden(explainer.outputs, suspects, again.cpu())
    return [replace(evidence, hidden=hidden) for evidence, hidden in zip(found, answers, strict=True)]


def _fetched(result: Interpretation) -> Interpretation:
    """The maps and their numbers on the CPU: a device is waited for once a batch, not for each number."""
    known = {name: value.cpu() for name in ("log_odds", "base") if (value := getattr(result, name)) is not None}
    return replace(result, scores=result.scores.cpu(), logits=result.logits.cpu(), **known)


def _together(suspects: list[Suspect]) -> Tensor:
    """Their pixels [B, channels, H, W], in memory that a GPU can fetch from by itself where they lie in such."""
    first = suspects[0].pixels
    out = torch.empty((len(suspects), *first.shape), dtype=first.dtype, pin_memory=first.is_pinned())
    return torch.stack([suspect.pixels for suspect in suspects], out=out)


def _of_map(explainer: Explainer, suspect: Suspect, result: Interpretation, row: int) -> Evidence:
    config, image = explainer.plan.config, suspect.image
    crop = explainer.preprocessing.crop(image.width, image.height)
    scores, logits = result.scores[row].numpy(), result.logits[row]
    return Evidence(
        for_label=image.record.label,
        against_label=suspect.other_label,
        for_logit=float(logits[suspect.given_output]),
        against_logit=float(logits[suspect.other_output]),
        scores=scores,
        crop=crop,
        objective=config.objective,
        correction=config.correction,
        statistics=map_statistics(scores, crop, image.width, image.height, adds_up=config.adds_up),
        sums=_sums(explainer.origins, suspect, result, row),
    )


def _sums(origins: Origins, suspect: Suspect, result: Interpretation, row: int) -> Sums | None:
    """What a map adds up to; None where it does not."""
    if result.log_odds is None or result.base is None:
        return None
    red, blue = red_and_blue(result.scores[row].numpy())
    return Sums(
        log_odds=float(result.log_odds[row]),
        base=float(result.base[row]),
        average=origins.average(suspect.head, suspect.image.record.label, suspect.other_label),
        red=red,
        blue=blue,
        head=origins.heads[suspect.head],
    )


def _hidden(outputs: dict[str, int], suspects: list[Suspect], logits: Tensor) -> list[Hidden | None]:
    """What the head says with the evidence for the other class hidden, among the dataset's classes and that one.

    Args:
        logits: [B, K] of each suspect, on the CPU.
    """
    names, finite = list(outputs), logits.isfinite().all(dim=1).tolist()
    likely = logits[:, list(outputs.values())].double().softmax(dim=1)
    best, most = likely.argmax(dim=1).tolist(), likely.amax(dim=1).tolist()
    found: list[Hidden | None] = []
    for row, suspect in enumerate(suspects):
        if not finite[row]:
            found.append(None)
            continue
        name, probability = names[best[row]], most[row]
        if outputs.get(suspect.other_label) != suspect.other_output:
            # No class of the dataset: it is asked about beside them.
            asked = {**outputs, suspect.other_label: suspect.other_output}
            wider = logits[row, list(asked.values())].double().softmax(dim=0)
            name, probability = list(asked)[int(wider.argmax())], float(wider.max())
        given, other = float(logits[row, suspect.given_output]), float(logits[row, suspect.other_output])
        found.append(Hidden(given, other, name, probability))
    return found
