"""One picture explained for a person: opened, asked about, put into words and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from gradattn_core.attention.readout import model_name
from gradattn_core.config import DEFAULT_MODEL, ModelSpec
from gradattn_core.dataset.decoding import read_image
from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.interpret.maps import Interpretation, Provenance, signed_maps
from gradattn_core.interpret.measured import measured_evidence
from gradattn_core.interpret.objective import check_finite
from gradattn_core.interpret.regions import map_statistics, red_and_blue
from gradattn_core.methods import Method, default_correction
from gradattn_core.model.backbone import load_model
from gradattn_core.model.classes import ClassNames, class_names, find_class
from gradattn_core.model.device import pick_device
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import Preprocessing, preprocessed
from gradattn_core.records import Box, Evidence, FloatArray
from gradattn_core.sums import Sums

if TYPE_CHECKING:
    from gradattn_core.render.figures import Style


_MEASURED = 3
"""Of so many regions of either sign what hiding them does is measured."""


def explain_image(
    image: str | Path | Image.Image,
    target: int | str | None = None,
    against: int | str | None = None,
    *,
    model: str | nn.Module = DEFAULT_MODEL,
    checkpoint: str | None = None,
    model_arguments: Mapping[str, Any] | None = None,
    device: str = "auto",
    objective: str = "difference",
    correction: str | None = None,
    measured: bool = False,
) -> Explanation:
    """Which parts of a picture speak for one class (red) and which for another (blue).

    Args:
        image: a file, a URL, or a picture.
        target: the class that red speaks for: an output, an ImageNet wnid or a class name; the model's answer where
            ``None``.
        against: the class that blue speaks for; the strongest other one where ``None``.
        model: a timm Vision Transformer with global self-attention, by its name or loaded already.
        checkpoint: with ``model_arguments`` and ``device`` that of a model that is given by its name.
        objective: as for :func:`~gradattn_core.interpret.interpret`.
        correction: likewise; *secant*, whose map adds up to the answer, where ``None``, but for the objectives that it
            does not explain: *complete*.
        measured: measure what the map's strongest regions and the rest of either colour do by leaving them out, some
            twenty more forward passes, and scale the map to it; see :mod:`gradattn_core.interpret.measured`.

    Raises:
        UnreadableImageError: the picture cannot be opened.
        ModelError: the model cannot be loaded, or has no classifier.
        ClassAlignmentError: a class is none of the model's; the message lists the nearest.
        InterpretError: another argument is unusable; the message names it.
    """
    method = Method(objective, correction or default_correction(objective))
    spec = ModelSpec(model, checkpoint, dict(model_arguments or {})) if isinstance(model, str) else model
    view = ModelView.open(image, spec, device)
    explained = view.explain(target, against, method)
    return view.measured(explained) if measured else explained


@dataclass(frozen=True)
class Explanation:
    """A picture's evidence for one class and against another.

    Attributes:
        image: the upright picture, RGB.
        evidence: the signed map, where it lies, its numbers, and the names of both classes.
        target, against: the model's outputs of both classes. With the objective ``logit`` the map says nothing about
            ``against``, which is the strongest other class then.
        logits: [K] float32, the model's answer.
        names: of the model's outputs.
    """

    image: Image.Image
    evidence: Evidence
    target: int
    against: int
    logits: FloatArray
    names: ClassNames
    provenance: Provenance

    @property
    def probabilities(self) -> FloatArray:
        """[K] in [0, 1], softmax over all of the model's classes."""
        return torch.from_numpy(self.logits).softmax(0).numpy()

    def figure(self, style: Style | None = None) -> Image.Image:
        """The picture beside its map; one without a sign is not drawn in the classes' colours."""
        from gradattn_core.render.figures import evidence_figure

        return evidence_figure(self.image, self.evidence, style=style)


@dataclass(frozen=True)
class ModelView:
    """An upright picture as a model sees it.

    Attributes:
        image: RGB.
        crop: the part of it that the model sees.
        model: with a classifier; ``names`` are what its outputs are called.
        pixels: [channels, H, W], the picture as the model takes it, on its device and in its precision.
        logits: [K] float32, the model's answer.
    """

    image: Image.Image
    crop: Box
    model: nn.Module
    names: ClassNames
    pixels: Tensor
    logits: Tensor

    @classmethod
    def open(cls, image: str | Path | Image.Image, model: ModelSpec | nn.Module, device: str = "auto") -> ModelView:
        """Open a file, a URL or a picture, load the model, and ask it what it sees.

        Raises:
            UnreadableImageError: the picture cannot be opened.
            ModelError: the model cannot be loaded, or has no classifier.
        """
        if isinstance(image, Image.Image):
            image = ImageOps.exif_transpose(image).convert("RGB")
        else:
            image = read_image(image).image
        if isinstance(model, ModelSpec):
            model = load_model(model, device=pick_device(device))
        if int(getattr(model, "num_classes", 0)) < 2:
            raise ModelError(f"model {model_name(model)}: has no classifier to explain; give a checkpoint with one")
        pixels = preprocessed(model, [image])
        crop = Preprocessing.of(model).crop(*image.size)
        return cls(image, crop, model, class_names(model), pixels[0], answer(model, pixels)[0])

    def output(self, label: int | str) -> int:
        """The output that is meant by an index, an ImageNet wnid or a class name.

        Raises:
            ClassAlignmentError: none of the model's; the message lists the nearest.
        """
        return find_class(str(label), len(self.logits), self.names)

    def pair(self, target: int | str | None, against: int | str | None) -> tuple[int, int]:
        """The outputs of both classes: the model's answer, and the strongest other one, where they are not said."""
        order = self.logits.argsort(descending=True).tolist()
        a = order[0] if target is None else self.output(target)
        b = next(output for output in order if output != a) if against is None else self.output(against)
        return a, b

    def explain(
        self,
        target: int | str | None = None,
        against: int | str | None = None,
        method: Method = Method(correction="secant"),
    ) -> Explanation:
        """One class against another, as :func:`explain_image` does."""
        if method.objective == "logit" and against is not None:
            raise InterpretError("objective='logit' looks at one class; leave against out, or choose 'difference'")
        a, b = self.pair(target, against)
        check_finite(self.logits)
        result = signed_maps(self.model, self.pixels[None], a, b, method, logits=self.logits[None])
        scores, logits = result.scores[0].cpu().numpy(), result.logits[0].cpu().numpy()
        evidence = Evidence(
            for_label=self.names.display(a),
            against_label=self.names.display(b),
            for_logit=float(logits[a]),
            against_logit=float(logits[b]),
            scores=scores,
            crop=self.crop,
            objective=method.objective_name,
            correction=method.correction,
            statistics=map_statistics(scores, self.crop, *self.image.size, adds_up=result.log_odds is not None),
            sums=_sums(result, scores),
        )
        return Explanation(self.image, evidence, a, b, logits, self.names, result.provenance)

    def measured(self, explained: Explanation) -> Explanation:
        """The same with numbers that are measured, as :func:`explain_image` offers it.

        Raises:
            InterpretError: its map does not add up to the log-odds of two classes, or nothing can be left out.
        """
        evidence = explained.evidence
        if evidence.sums is None or evidence.objective != "difference":
            raise InterpretError(
                f"measured: the {evidence.correction} map of the {evidence.objective} has no log-odds of two classes "
                "to measure; choose the difference and secant"
            )
        told = [evidence], [self.image.size], explained.target, explained.against
        [found] = measured_evidence(self.model, self.pixels[None], *told, ranks=_MEASURED)
        return replace(explained, evidence=found)


def _sums(result: Interpretation, scores: FloatArray) -> Sums | None:
    """What the first image's map adds up to; None where it does not."""
    if result.log_odds is None or result.base is None:
        return None
    return Sums(float(result.log_odds[0]), float(result.base[0]), None, *red_and_blue(scores))
