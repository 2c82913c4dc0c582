"""``gradattn explain --transfer`` and ``--rewrite``: what happens to the answer when attention or pixels are moved."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from gradattn_core.cli.opened import Opened, open_picture
from gradattn_core.cli.terminal import late_progress
from gradattn_core.interpret.rewrite import AdversarialExample, rewrite
from gradattn_core.interpret.transfer import Transfer, transfer
from gradattn_core.methods import Descent, Method
from gradattn_core.records import FloatArray
from gradattn_core.render.figures import Style
from gradattn_core.render.films import Answer, Frame, rewrite_figure, transfer_figure
from gradattn_core.render.plots import Line

_CURVES = 6
_FRAME, _PICTURE = 148, 272
WARNING = (
    "Adversarial example: the pixels were changed on purpose to make the model answer differently.",
    "This says nothing about what the picture shows.",
)


def run_transfer(options: argparse.Namespace) -> int:
    """Move the attention maps until the logit of ``--for`` falls; write the film strip or the numbers."""
    opened = open_picture(options, "transfer")
    target = opened.order[0] if options.target is None else opened.find(options.target)
    against = None if options.against is None else opened.find(options.against)
    with late_progress("transfer", quiet=options.quiet) as progress:
        result = transfer(
            opened.model,
            opened.pixels,
            target,
            against,
            descent=Descent(options.steps, options.rate, options.optimiser, options.renormalise, options.grad_mode),
            method=Method(correction=options.correction),
            progress=progress,
        )
    if opened.file.suffix.lower() == ".npz":
        _write_transfer_numbers(opened, result)
    else:
        _transfer_picture(opened, result, options).save(opened.file)
    _tell_transfer(opened, result, options)
    return 0


def run_rewrite(options: argparse.Namespace) -> int:
    """Move the pixels from ``--for`` to ``--against`` within the budget; write figure and picture, or the numbers."""
    opened = open_picture(options, "rewritten")
    target = opened.order[0] if options.target is None else opened.find(options.target)
    strongest_other = opened.order[1] if target == opened.order[0] else opened.order[0]
    against = strongest_other if options.against is None else opened.find(options.against)
    with late_progress("rewrite", quiet=options.quiet) as progress:
        result = rewrite(
            opened.model,
            opened.pixels,
            target,
            against,
            method=Method(correction=options.correction),
            budget=options.budget,
            steps=options.steps,
            progress=progress,
        )
    pixels_file = None
    if opened.file.suffix.lower() == ".npz":
        _write_rewrite_numbers(opened, result)
    else:
        _rewrite_picture(opened, result, options).save(opened.file)
        pixels_file = opened.file.with_name(f"{opened.file.stem}-pixels.png")
        Image.fromarray(result.after.numpy()).save(pixels_file)
    _tell_rewrite(opened, result, options, pixels_file)
    return 0


def _style(options: argparse.Namespace, side: int) -> Style:
    unsigned = options.correction == "absolute"
    return Style(side, options.opacity, smooth=not options.patches, palette=options.palette, unsigned=unsigned)


def _array(values: Tensor) -> FloatArray:
    return values.detach().cpu().numpy().astype(np.float32)


def _curves(names: list[str], values: Tensor) -> list[Line]:
    steps = np.arange(len(values), dtype=np.float32)
    return [Line(name, steps, _array(values[:, column])) for column, name in enumerate(names[:_CURVES])]


def _settings(result: Transfer) -> str:
    descent = result.descent
    kept = ", rows renormalised" if descent.renormalise else ""
    return (
        f"{descent.steps} steps of {descent.rate:g} ({descent.optimiser}), {descent.grad_mode} gradient{kept}, "
        f"{result.provenance.correction} correction"
    )


def _transfer_picture(opened: Opened, result: Transfer, options: argparse.Namespace) -> Image.Image:
    names = [opened.names.display(index) for index in result.classes]
    frames = [
        Frame(
            step=step,
            logit=float(result.logits[step, 0]),
            scores=_array(result.maps[number]),
            leader=opened.names.display(leader),
            probability=float(result.probabilities[step, result.classes.index(leader)]),
            leading_scores=_array(result.leading_maps[number]),
        )
        for number, (step, leader) in enumerate(zip(result.snapshots, result.leaders, strict=True))
    ]
    return transfer_figure(
        opened.image,
        opened.crop,
        frames,
        _curves(names, result.logits),
        _curves(names, result.probabilities),
        target=names[0],
        against=None if options.against is None else names[1],
        lines=(
            f"Attention transfer: only the attention maps move, to lower the logit of {names[0]}",
            _settings(result),
        ),
        style=_style(options, _FRAME),
    )


def _write_transfer_numbers(opened: Opened, result: Transfer) -> None:
    np.savez_compressed(
        opened.file,
        snapshots=np.array(result.snapshots),
        scores=_array(result.maps),
        leaders=np.array(result.leaders),
        leading_scores=_array(result.leading_maps),
        classes=np.array(result.classes),
        logits=_array(result.logits),
        probabilities=_array(result.probabilities),
        crop=np.array([opened.crop.left, opened.crop.top, opened.crop.right, opened.crop.bottom]),
        settings=_settings(result),
        provenance=json.dumps(asdict(result.provenance)),
    )


def _tell_transfer(opened: Opened, result: Transfer, options: argparse.Namespace) -> None:
    names = [opened.names.display(index) for index in result.classes]
    snapshots = [
        {
            "step": step,
            "logit": round(float(result.logits[step, 0]), 6),
            "probability": round(float(result.probabilities[step, 0]), 6),
            "leader": opened.names.display(leader),
            "leader_probability": round(float(result.probabilities[step, result.classes.index(leader)]), 6),
        }
        for step, leader in zip(result.snapshots, result.leaders, strict=True)
    ]
    if options.json:
        facts: dict[str, Any] = {
            "for": names[0],
            "against": None if options.against is None else names[1],
            **{name: value for name, value in asdict(result.descent).items() if name != "snapshots"},
            "snapshots": snapshots,
            "output": str(opened.file),
        }
        print(json.dumps(facts))
    elif not options.quiet:
        for row in snapshots:
            print(
                f"step {row['step']}: {names[0]} {row['logit']:.1f} ({row['probability']:.1%}); "
                f"the model says {row['leader']} ({row['leader_probability']:.1%})"
            )
        print(f"wrote {opened.file}")


def _apart(result: AdversarialExample) -> str:
    change = result.fidelity
    return (
        f"No channel changed by more than {change.linf} of 255; L2 {change.l2:,.0f}; PSNR {change.psnr:.1f} dB; "
        f"{'the aim was reached' if result.succeeded else 'the aim was not reached'}"
    )


def _rewrite_picture(opened: Opened, result: AdversarialExample, options: argparse.Namespace) -> Image.Image:
    target, against = (opened.names.display(index) for index in (result.target, result.against))
    before, after = (
        Answer(
            Image.fromarray(pixels.numpy()),
            _array(interpretation.scores[0]),
            f"{target} {row[0]:.1%}, {against} {row[1]:.1%}",
        )
        for pixels, interpretation, row in zip(
            (result.before, result.after),
            (result.interpretation_before, result.interpretation_after),
            result.probabilities.tolist(),
            strict=True,
        )
    )
    return rewrite_figure(
        before,
        after,
        _curves([target, against], result.course),
        target=target,
        against=against,
        lines=(*WARNING, _apart(result)),
        style=_style(options, _PICTURE),
    )


def _write_rewrite_numbers(opened: Opened, result: AdversarialExample) -> None:
    np.savez_compressed(
        opened.file,
        before=result.before.numpy(),
        after=result.after.numpy(),
        scores_before=_array(result.interpretation_before.scores[0]),
        scores_after=_array(result.interpretation_after.scores[0]),
        logits_before=_array(result.interpretation_before.logits[0]),
        logits_after=_array(result.interpretation_after.logits[0]),
        classes=np.array([result.target, result.against]),
        course=_array(result.course),
        provenance=json.dumps({**asdict(result.interpretation_after.provenance), "note": " ".join(WARNING)}),
    )


def _tell_rewrite(
    opened: Opened, result: AdversarialExample, options: argparse.Namespace, pixels_file: Path | None
) -> None:
    names = [opened.names.display(index) for index in (result.target, result.against)]
    probabilities = result.probabilities.tolist()
    logits = [
        interpretation.logits[0, [result.target, result.against]].tolist()
        for interpretation in (result.interpretation_before, result.interpretation_after)
    ]
    if options.json:
        facts: dict[str, Any] = {
            "warning": " ".join(WARNING),
            "for": names[0],
            "against": names[1],
            "reached": result.succeeded,
            "steps": result.steps,
            "budget": result.budget,
            **{
                f"{when}_{what}": {name: round(value, 6) for name, value in zip(("for", "against"), row, strict=True)}
                for what, rows in (("probability", probabilities), ("logit", logits))
                for when, row in zip(("before", "after"), rows, strict=True)
            },
            # JSON has no infinity, which is the PSNR of equal pictures.
            **{name: value if math.isfinite(value) else None for name, value in asdict(result.fidelity).items()},
            "output": str(opened.file),
            "pixels": None if pixels_file is None else str(pixels_file),
        }
        print(json.dumps(facts))
    elif not options.quiet:
        print(" ".join(WARNING))
        for when, row in zip(("before", "after "), probabilities, strict=True):
            print(f"{when} {names[0]}: {row[0]:.1%}, {names[1]}: {row[1]:.1%}")
        print(_apart(result))
        print(f"wrote {opened.file}" + (f" and the rewritten picture {pixels_file}" if pixels_file else ""))
