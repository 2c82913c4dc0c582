"""``gradattn explain``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gradattn_core.audit.config import DEFAULT_MODEL
from gradattn_core.dataset import read_image
from gradattn_core.errors import GradattnError, ModelError
from gradattn_core.interpret import Interpretation, interpret
from gradattn_core.model import ClassNames, ModelSpec, Preprocessing, class_names, find_class, load_model, pick_device
from gradattn_core.records import Evidence
from gradattn_core.regions import map_statistics
from gradattn_core.render import evidence_figure


def run(options: argparse.Namespace) -> int:
    """Interpret one picture and write it."""
    target_file = Path(options.output or f"{Path(options.image).stem}-explained.png")
    if target_file.suffix.lower() not in (".png", ".npz"):
        raise GradattnError(f"output {target_file}: end the name in .png for a picture or in .npz for the numbers")
    if not target_file.absolute().parent.is_dir():
        raise GradattnError(f"output {target_file}: its folder is not there")
    decoded = read_image(Path(options.image))
    spec = ModelSpec(options.model or DEFAULT_MODEL, options.checkpoint, options.model_arguments)
    model = load_model(spec, device=pick_device(options.device))
    preprocessing = Preprocessing.of(model)
    names = class_names(model)
    target, against, result = _interpret(model, names, preprocessing(decoded.image), options)
    crop = preprocessing.crop(decoded.width, decoded.height)
    scores = result.scores[0].cpu().numpy()
    logits = result.logits[0].cpu()
    evidence = Evidence(
        for_label=names.display(target),
        against_label=names.display(against),
        for_logit=float(logits[target]),
        against_logit=float(logits[against]),
        scores=scores,
        crop=crop,
        objective=options.objective,
        correction=options.correction,
        statistics=map_statistics(scores, crop, decoded.width, decoded.height),
    )
    if target_file.suffix.lower() == ".npz":
        np.savez_compressed(
            target_file,
            scores=scores,
            logits=logits.numpy(),
            crop=np.array([crop.left, crop.top, crop.right, crop.bottom]),
            provenance=json.dumps(asdict(result.provenance)),
        )
    else:
        evidence_figure(decoded.image, evidence).save(target_file)
    _tell(options, evidence, logits.softmax(0), (target, against), target_file)
    return 0


def _interpret(
    model: nn.Module, names: ClassNames, pixels: torch.Tensor, options: argparse.Namespace
) -> tuple[int, int, Interpretation]:
    outputs = int(getattr(model, "num_classes", 0))
    if outputs < 2:
        name = options.model or DEFAULT_MODEL
        raise ModelError(f"model {name}: has no classifier to explain; give a checkpoint with one")
    images = pixels[None].to(next(model.parameters()).device)
    target = find_class(options.target, outputs, names)
    if options.against is None:
        with torch.inference_mode():
            order = model(images)[0].argsort(descending=True).tolist()
        against = next(output for output in order if output != target)
    else:
        against = find_class(options.against, outputs, names)
    result = interpret(model, images, target, against, objective=options.objective, correction=options.correction)
    return target, against, result


def _tell(
    options: argparse.Namespace, evidence: Evidence, probabilities: torch.Tensor, pair: tuple[int, int], file: Path
) -> None:
    facts = {
        "for": evidence.for_label,
        "for_probability": round(float(probabilities[pair[0]]), 6),
        "against": evidence.against_label,
        "against_probability": round(float(probabilities[pair[1]]), 6),
        "balance": round(evidence.statistics.balance, 6),
        "output": str(file),
    }
    if options.json:
        print(json.dumps(facts))
    elif not options.quiet:
        print(
            f"red   {evidence.for_label}: {probabilities[pair[0]]:.1%}\n"
            f"blue  {evidence.against_label}: {probabilities[pair[1]]:.1%}\n"
            f"wrote {file}"
        )
