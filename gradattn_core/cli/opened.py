"""One picture opened for a command that explains it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from gradattn_core.config import DEFAULT_MODEL, ModelSpec
from gradattn_core.dataset.decoding import read_image
from gradattn_core.errors import GradattnError, ModelError
from gradattn_core.model.backbone import load_model, pick_device
from gradattn_core.model.classes import ClassNames, class_names, find_class
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import Box


@dataclass(frozen=True)
class Opened:
    """A picture and the model that is asked about it; ``order`` holds all classes, the model's answer first."""

    image: Image.Image
    pixels: Tensor
    crop: Box
    model: nn.Module
    names: ClassNames
    order: list[int]
    file: Path

    def find(self, text: str) -> int:
        return find_class(text, len(self.order), self.names)


def open_picture(options: argparse.Namespace, what: str) -> Opened:
    """Read the picture and load the model.

    Args:
        options: of ``gradattn explain``.
        what: ends the output's name where none is given: IMAGE-what.png.

    Raises:
        GradattnError: the output, the picture or the model cannot be used.
    """
    file = Path(options.output or f"{Path(options.image).stem}-{what}.png")
    if file.suffix.lower() not in (".png", ".npz"):
        raise GradattnError(f"output {file}: end the name in .png for a picture or in .npz for the numbers")
    if not file.absolute().parent.is_dir():
        raise GradattnError(f"output {file}: its folder is not there")
    decoded = read_image(options.image)
    spec = ModelSpec(options.model or DEFAULT_MODEL, options.checkpoint, options.model_arguments)
    model = load_model(spec, device=pick_device(options.device))
    outputs = int(getattr(model, "num_classes", 0))
    if outputs < 2:
        raise ModelError(f"model {spec.name}: has no classifier to explain; give a checkpoint with one")
    preprocessing = Preprocessing.of(model)
    pixels = preprocessing(decoded.image).to(next(model.parameters()).device)
    order = answer(model, pixels[None])[0].argsort(descending=True).tolist()
    return Opened(
        decoded.image,
        pixels,
        preprocessing.crop(decoded.width, decoded.height),
        model,
        class_names(model),
        order,
        file,
    )
