"""How faithful maps are on a dataset: patches are masked in the order of each map, and the model is asked again.

    python bench/perturbation.py DATASET --model vit_tiny_patch16_224 --checkpoint FILE [--images 500] [--threads 2]

DATASET is any class folder whose classes the model knows. One run takes the same images, evenly from all classes,
through three settings and prints one markdown table of each:

* ``plain``: the picture alone; ``difference`` speaks against each picture's strongest other class.
* ``stitched``: as in the paper, the picture on the left half of the input and on the right half a guide, which is a
  picture of another class drawn by ``--seed`` (each is cut to the half's shape); ``difference`` speaks against the
  guide's class. All patches are ranked. Masking the guide alone raises the label here, whatever the map says about the
  picture.
* ``stitched, own half``: the same pictures and maps, but only the picture's own patches are ranked and masked.

A cell is the area under the curve (shares 0 to 0.9; a constant curve has its own value) with its 95 % bootstrap
interval over images: ``most`` where the most relevant patches go first (lower is better), ``least`` where the least
relevant do (higher is better). In brackets is the paired difference from a random map; a star says that its 95 %
interval leaves out zero. ``absolute`` maps have no sign and do not say for which class a patch speaks.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradattn_core.config import ModelSpec
from gradattn_core.dataset.decoding import read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.evaluate.perturbation import MEASURES, ORDERS, perturbation_curve, random_maps
from gradattn_core.evaluate.replacing import REPLACEMENTS
from gradattn_core.evaluate.statistics import area, bootstrap, paired_difference
from gradattn_core.interpret.guide import Canvas, Split
from gradattn_core.interpret.maps import interpret
from gradattn_core.methods import CORRECTIONS
from gradattn_core.model.backbone import load_model, pick_device
from gradattn_core.model.classes import align_classes, class_names
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import ImageRecord

SETTINGS = ("plain", "stitched", "stitched, own half")
METHODS = (*((objective, correction) for objective in ("difference", "logit") for correction in CORRECTIONS), None)
BATCH = 25


@dataclass(frozen=True)
class Case:
    """Pictures of one setting as the model sees them, what is explained, and which patches may be masked."""

    images: Tensor
    labels: Tensor
    against: Tensor | None
    allowed: Tensor | None


def chosen(root: Path, count: int, seed: int) -> list[ImageRecord]:
    """``count`` pictures of the dataset, evenly from its classes."""
    by_class: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in list_dataset(root).images:
        by_class[record.label].append(record)
    shuffler = random.Random(seed)
    for label in sorted(by_class):
        shuffler.shuffle(by_class[label])
    rounds = itertools.zip_longest(*(by_class[label] for label in sorted(by_class)))
    return [record for group in rounds for record in group if record is not None][:count]


def settings(root: Path, records: list[ImageRecord], model: nn.Module, seed: int) -> dict[str, Case]:
    """The pictures of every setting."""
    device = next(model.parameters()).device
    classes = sorted({record.label for record in records})
    outputs = int(model.num_classes)  # type: ignore[arg-type]
    outputs_of = dict(zip(classes, align_classes(classes, outputs, class_names(model)).indices, strict=True))
    pictures = [read_image(root / record.path).image for record in records]
    shuffler = random.Random(seed)
    guides = [shuffler.choice([i for i, other in enumerate(records) if other.label != one.label]) for one in records]
    labels = torch.tensor([outputs_of[record.label] for record in records], device=device)
    preprocessing = Preprocessing.of(model)
    alone = torch.stack([preprocessing(picture) for picture in pictures]).to(device)
    canvas = Canvas.of(model)
    split = Split.of(canvas, "right", 0.5)
    joined = [canvas.exact(split.join(one, pictures[g], "crop")) for one, g in zip(pictures, guides, strict=True)]
    rows, columns, _ = split.covered(pictures[0].size, "crop")
    own = torch.zeros(canvas.size[1] // canvas.patch[1], canvas.size[0] // canvas.patch[0], dtype=torch.bool)
    own[rows, columns] = True
    together = torch.stack(joined).to(device)
    return {
        "plain": Case(alone, labels, None, None),
        "stitched": Case(together, labels, labels[guides], None),
        "stitched, own half": Case(together, labels, labels[guides], own),
    }


def maps_of(model: nn.Module, case: Case, method: tuple[str, str] | None, seed: int) -> Tensor:
    """[images, rows, columns]; a method of ``None`` is the random map."""
    if method is None:
        grid: Any = interpret(model, case.images[:1], case.labels[:1]).scores.shape[1:]
        return random_maps(torch.empty(len(case.images), *grid), seed)
    objective, correction = method
    parts = []
    for start in range(0, len(case.images), BATCH):
        part = slice(start, start + BATCH)
        against = None if case.against is None else case.against[part]
        options: dict[str, Any] = {"objective": objective, "correction": correction}
        parts.append(interpret(model, case.images[part], case.labels[part], against, **options).scores.cpu())
    return torch.cat(parts)


def table(name: str, model: nn.Module, case: Case, options: argparse.Namespace) -> None:
    """Print one setting."""
    areas: dict[tuple[Any, str], np.ndarray[Any, Any]] = {}
    for method in METHODS:
        maps = maps_of(model, case, method, options.seed)
        for order in ORDERS:
            curve = perturbation_curve(
                model, case.images, maps, case.labels, order=order, replace=options.replace, allowed=case.allowed,
                batch_size=BATCH, seed=options.seed,
            )  # fmt: skip
            areas[method, order] = area(curve, options.measure)
    print(f"\n**{name}** ({curve.patches} patches may be masked)\n")
    print("| objective | correction | most ↓ | least ↑ |\n|---|---|---|---|")
    for method in METHODS:
        cells = [cell(areas[method, order], areas[None, order], method is None) for order in ORDERS]
        print(f"| {' | '.join(method or ('random map', ''))} | {' | '.join(cells)} |", flush=True)


def cell(values: Any, baseline: Any, is_baseline: bool) -> str:
    found = bootstrap(values)
    text = f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    if is_baseline:
        return text
    beyond = paired_difference(values, baseline)
    return f"{text} ({beyond.mean:+.3f}{'*' if beyond.low > 0 or beyond.high < 0 else ''})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--checkpoint")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--measure", choices=MEASURES, default="accuracy")
    parser.add_argument("--replace", choices=REPLACEMENTS, default="zero")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    model = load_model(ModelSpec(options.model, options.checkpoint), device=pick_device(options.device))
    records = chosen(options.dataset, options.images, options.seed)
    cases = settings(options.dataset, records, model, options.seed)
    classes = len({record.label for record in records})
    print(
        f"{options.model} on {len(records)} pictures of {classes} classes of {options.dataset.name}; area of "
        f"{options.measure}, patches replaced by {options.replace!r}, seed {options.seed}"
    )
    for name in options.settings:
        table(name, model, cases[name], options)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
