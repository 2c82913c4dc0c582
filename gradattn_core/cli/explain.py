"""``gradattn explain``: one pair of classes, several classes in pairs, or a picture joined with guides."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gradattn_core.cli.opened import Opened, open_picture
from gradattn_core.dataset.decoding import read_image
from gradattn_core.errors import GradattnError
from gradattn_core.interpret.detail import detail
from gradattn_core.interpret.guide import GuidedMap, guide, seen_classes
from gradattn_core.interpret.maps import Interpretation, Provenance, signed_maps
from gradattn_core.interpret.regions import map_statistics
from gradattn_core.methods import CORRECTIONS, Layout, Method
from gradattn_core.records import Box, Evidence
from gradattn_core.render.figures import Style, corrections_figure, detail_figure, evidence_figure, guide_figure

_MOST_CLASSES = 12
_PAIR = 288  # pixels of the longer side


def run_pair(options: argparse.Namespace) -> int:
    """One class against another: the picture beside its map, or beside its map by each correction."""
    if options.objective == "logit" and options.against is not None:
        raise GradattnError("--objective logit looks at one class; leave --against out, or choose difference")
    opened = open_picture(options, "explained")
    target = _target(opened, options)
    if options.against is None:
        against = next(output for output in opened.order if output != target)
    else:
        against = opened.find(options.against)
    corrections = CORRECTIONS if options.correction == "all" else (options.correction,)
    results = {
        correction: signed_maps(
            opened.model, opened.pixels[None], target, against, Method(options.objective, correction)
        )
        for correction in corrections
    }
    evidence = {correction: _evidence(opened, result, target, against) for correction, result in results.items()}
    first = next(iter(results.values()))
    if _wants_numbers(opened):
        scores = np.stack([shown.scores for shown in evidence.values()])
        _save(
            opened,
            [result.provenance for result in results.values()] if options.correction == "all" else first.provenance,
            scores=scores if options.correction == "all" else scores[0],
            logits=first.logits[0].cpu().numpy(),
        )
    else:
        _pair_picture(opened, evidence, options).save(opened.file)
    _tell_pair(opened, first, next(iter(evidence.values())), (target, against), options)
    return 0


def run_detail(options: argparse.Namespace) -> int:
    """Several classes, each against each of the others."""
    if options.objective == "logit":
        raise GradattnError("--objective logit looks at one class, and --detail at pairs; choose difference")
    typed = options.detail
    if len(typed) == 1 and not typed[0].isdecimal():
        raise GradattnError(f"--detail {typed[0]}: give how many classes to compare, or two or more classes")
    if max(len(typed), int(typed[0]) if len(typed) == 1 else 0) > _MOST_CLASSES:
        raise GradattnError(f"--detail: more than {_MOST_CLASSES} classes do not fit into one figure")
    opened = open_picture(options, "detail")
    result = detail(
        opened.model,
        opened.pixels[None],
        int(typed[0]) if len(typed) == 1 else [opened.find(text) for text in typed],
        method=Method(options.objective, options.correction),
    )
    classes = result.classes[0].tolist()
    names = [opened.names.display(index) for index in classes]
    probabilities = result.probabilities[0].tolist()
    scores = result.scores[0].cpu().numpy()
    if _wants_numbers(opened):
        _save(
            opened,
            result.provenance,
            scores=scores,
            classes=np.array(classes),
            logits=result.logits[0].cpu().numpy(),
        )
    else:
        figure = detail_figure(opened.image, opened.crop, names, probabilities, scores, style=_style(options))
        figure.save(opened.file)
    told = [
        {"class": name, "index": index, "probability": round(probability, 6)}
        for name, index, probability in zip(names, classes, probabilities, strict=True)
    ]
    text = [f"{row['class']}: {row['probability']:.1%}" for row in told]
    _tell(options, {"classes": told, "output": str(opened.file)}, text, opened.file)
    return 0


def run_guide(options: argparse.Namespace) -> int:
    """The picture joined with pictures of other classes; its map cut out of theirs."""
    opened = open_picture(options, "guided")
    target = _target(opened, options)
    guides = [read_image(file).image for file in options.guide]
    against = _guide_classes(opened, guides, target, options)
    method = Method(options.objective, options.correction)
    layout = Layout(options.side, options.ratio, options.fit)
    result = guide(opened.model, opened.image, guides, target, against, layout=layout, method=method)
    if _wants_numbers(opened):
        _save(
            opened,
            result.provenance,
            covers=result.box,
            scores=result.scores.cpu().numpy(),
            each=result.each.cpu().numpy(),
            joined_scores=result.joined_scores.cpu().numpy(),
            joined=np.stack([np.asarray(picture) for picture in result.joined]),
            classes=np.array([target, *against]),
            logits=result.logits.cpu().numpy(),
        )
    else:
        # The same question without a guide, averaged over the guides' classes in the same way.
        copies = opened.pixels.expand(len(guides), -1, -1, -1)
        alone = signed_maps(opened.model, copies, target, torch.tensor(against), method)
        _guide_picture(opened, alone, result, options).save(opened.file)
    _tell_guide(opened, result, options)
    return 0


def _guide_picture(
    opened: Opened, alone: Interpretation, result: GuidedMap, options: argparse.Namespace
) -> Image.Image:
    names = [opened.names.display(index) for index in result.against]
    return guide_figure(
        opened.image,
        (alone.normalised.mean(0).cpu().numpy(), opened.crop),
        (result.scores.cpu().numpy(), result.box),
        list(zip(result.joined, result.joined_scores.cpu().numpy(), names, strict=True)),
        opened.names.display(result.target),
        lines=(f"Beside a guide on the {options.side}", f"{options.correction} correction of the {options.objective}"),
        style=_style(options),
    )


def _tell_guide(opened: Opened, result: GuidedMap, options: argparse.Namespace) -> None:
    """How probable both classes are in each joined picture."""
    own = opened.names.display(result.target)
    told = [
        {
            "guide": str(file),
            "against": opened.names.display(other),
            "for_probability": round(float(row[result.target]), 6),
            "against_probability": round(float(row[other]), 6),
        }
        for file, other, row in zip(options.guide, result.against, result.logits.softmax(1), strict=True)
    ]
    text = [
        f"joined with {row['against']}: {own} {row['for_probability']:.1%}, "
        f"{row['against']} {row['against_probability']:.1%}"
        for row in told
    ]
    _tell(options, {"for": own, "guides": told, "output": str(opened.file)}, text, opened.file)


def _target(opened: Opened, options: argparse.Namespace) -> int:
    return opened.order[0] if options.target is None else opened.find(options.target)


def _style(options: argparse.Namespace, side: int = Style.side) -> Style:
    unsigned = options.correction == "absolute"
    return Style(side, options.opacity, smooth=not options.patches, palette=options.palette, unsigned=unsigned)


def _guide_classes(opened: Opened, guides: list[Image.Image], target: int, options: argparse.Namespace) -> list[int]:
    """What each guide shows, as said or as the model sees it; another class than the picture's."""
    if options.against is not None:
        against = opened.find(options.against)
        if against == target:
            name = opened.names.display(target)
            raise GradattnError(
                f"--against {options.against}: a guide of the picture's own class ({name}) guides nothing"
            )
        return [against] * len(guides)
    seen = seen_classes(opened.model, guides)
    for file, label in zip(options.guide, seen, strict=True):
        if label == target:
            raise GradattnError(
                f"guide {file}: the model sees {opened.names.display(target)} in it, as in the picture; give a picture "
                "of another class, or say with --against what it shows"
            )
    return seen


def _evidence(opened: Opened, result: Interpretation, target: int, against: int) -> Evidence:
    scores, logits = result.scores[0].cpu().numpy(), result.logits[0].cpu()
    return Evidence(
        for_label=opened.names.display(target),
        against_label=opened.names.display(against),
        for_logit=float(logits[target]),
        against_logit=float(logits[against]),
        scores=scores,
        crop=opened.crop,
        objective=result.provenance.objective,
        correction=result.provenance.correction,
        statistics=map_statistics(scores, opened.crop, opened.image.width, opened.image.height),
    )


def _pair_picture(opened: Opened, evidence: dict[str, Evidence], options: argparse.Namespace) -> Image.Image:
    first = next(iter(evidence.values()))
    if len(evidence) == 1:
        return evidence_figure(opened.image, first, style=_style(options, _PAIR))
    maps = {correction: shown.scores for correction, shown in evidence.items()}
    against = None if options.objective == "logit" else first.against_label
    return corrections_figure(opened.image, opened.crop, maps, first.for_label, against, style=_style(options))


def _wants_numbers(opened: Opened) -> bool:
    return opened.file.suffix.lower() == ".npz"


def _save(
    opened: Opened, provenance: Provenance | list[Provenance], *, covers: Box | None = None, **arrays: Any
) -> None:
    """``crop`` is what ``scores`` cover: left, top, right, bottom in pixels of the original."""
    box = covers or opened.crop
    many = isinstance(provenance, list)
    made = [asdict(one) for one in (provenance if isinstance(provenance, list) else [provenance])]
    if many:
        arrays["corrections"] = np.array([one["correction"] for one in made])
    np.savez_compressed(
        opened.file,
        crop=np.array([box.left, box.top, box.right, box.bottom]),
        provenance=json.dumps(made if many else made[0]),
        **arrays,
    )


def _tell_pair(
    opened: Opened, result: Interpretation, evidence: Evidence, pair: tuple[int, int], options: argparse.Namespace
) -> None:
    probabilities = result.logits[0].softmax(0)
    red, blue = (float(probabilities[index]) for index in pair)
    other = opened.names.display(pair[1])
    facts = {
        "for": evidence.for_label,
        "for_probability": round(red, 6),
        "against": None if options.objective == "logit" else other,
        "against_probability": None if options.objective == "logit" else round(blue, 6),
        "balance": round(evidence.statistics.balance, 6),
        "output": str(opened.file),
    }
    text = [f"red   {evidence.for_label}: {red:.1%}", f"blue  {other}: {blue:.1%}"]
    _tell(options, facts, text[:1] if options.objective == "logit" else text, opened.file)


def _tell(options: argparse.Namespace, facts: dict[str, Any], text: list[str], file: Path) -> None:
    if options.json:
        print(json.dumps(facts))
    elif not options.quiet:
        print("\n".join([*text, f"wrote {file}"]))
