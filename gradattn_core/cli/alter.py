"""``gradattn explain transfer`` and ``rewrite``: what happens to the answer when attention or pixels are moved."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.cli.options import CommandParser, output_style
from gradattn_core.cli.picture import (
    class_options,
    drawing_options,
    map_options,
    open_view,
    output_file,
    picture_options,
    style,
    write_numbers,
)
from gradattn_core.cli.terminal import late_progress, tell
from gradattn_core.estimates import percent
from gradattn_core.methods import GRAD_MODES, OPTIMISERS, Descent, Method

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from gradattn_core.interpret.explanation import ModelView
    from gradattn_core.interpret.rewrite import AdversarialExample
    from gradattn_core.interpret.transfer import Transfer
    from gradattn_core.records import FloatArray
    from gradattn_core.render.plots import Line

_LINES = 6
_FRAME, _PICTURE = 148, 272  # pixels of the longer side
WARNING = (
    "Adversarial example: the pixels were changed on purpose to make the model answer differently.",
    "This says nothing about what the picture shows.",
)


def add_forms(explain: CommandParser) -> None:
    form = explain.add_form(
        "transfer",
        run_transfer,
        "Move only the attention until the class of --for fades, and show the way.",
        "  gradattn explain transfer bird.jpg --for kite\n"
        "  gradattn explain transfer bird.jpg --for kite --against 'bald eagle' --optimiser adam -o film.png",
    )
    picture_options(form, "transfer")
    class_options(form, "none, the map is that of one class")
    _add_descent(form)
    map_options(form, ())
    drawing_options(form)
    output_style(form)
    form = explain.add_form(
        "rewrite",
        run_rewrite,
        "Change the pixels, within a small budget, until the model names the class of --against.",
        "  gradattn explain rewrite bird.jpg\n"
        "  gradattn explain rewrite bird.jpg --for kite --against 'bald eagle' --budget 2",
    )
    picture_options(form, "rewritten")
    class_options(form)
    form.add_argument("--steps", type=int, default=20, metavar="N", help="default 20")
    form.add_argument(
        "--budget", type=float, default=4.0, metavar="X", help="most change of a pixel, in 8-bit steps (default 4)"
    )
    map_options(form, ())
    drawing_options(form)
    output_style(form)


def run_transfer(options: argparse.Namespace) -> int:
    """Move the attention maps until the logit of ``--for`` falls; write the film strip or the numbers."""
    from gradattn_core.interpret.transfer import transfer

    descent = Descent(options.steps, options.rate, options.optimiser, options.renormalise, options.grad_mode)
    file, view = output_file(options), open_view(options)
    target = view.pair(options.target, None)[0]
    against = None if options.against is None else view.output(options.against)
    with late_progress("transfer", quiet=options.quiet) as progress:
        result = transfer(
            view.model,
            view.pixels,
            target,
            against,
            descent=descent,
            method=Method(correction=options.correction),
            progress=progress,
        )
    if file.suffix.lower() == ".npz":
        write_numbers(
            file,
            asdict(result.provenance),
            view.crop,
            snapshots=result.snapshots,
            scores=_array(result.maps),
            leaders=result.leaders,
            leading_scores=_array(result.leading_maps),
            classes=result.classes,
            logits=_array(result.logits),
            probabilities=_array(result.probabilities),
            settings=_settings(result),
        )
    else:
        _transfer_figure(view, result, options).save(file)
    _tell_transfer(options, view, result, file)
    return 0


def run_rewrite(options: argparse.Namespace) -> int:
    """Move the pixels from ``--for`` to ``--against`` within the budget; write figure and picture, or the numbers."""
    from PIL import Image

    from gradattn_core.interpret.rewrite import rewrite

    file, view = output_file(options), open_view(options)
    target, against = view.pair(options.target, options.against)
    with late_progress("rewrite", quiet=options.quiet) as progress:
        result = rewrite(
            view.model,
            view.pixels,
            target,
            against,
            budget=options.budget,
            steps=options.steps,
            method=Method(correction=options.correction),
            progress=progress,
        )
    pixels_file = None
    if file.suffix.lower() == ".npz":
        maps = {"before": result.interpretation_before, "after": result.interpretation_after}
        write_numbers(
            file,
            {**asdict(result.interpretation_after.provenance), "note": " ".join(WARNING)},
            view.crop,
            before=result.before.numpy(),
            after=result.after.numpy(),
            **{f"scores_{when}": _array(shown.scores[0]) for when, shown in maps.items()},
            **{f"logits_{when}": _array(shown.logits[0]) for when, shown in maps.items()},
            classes=[target, against],
            course=_array(result.course),
        )
    else:
        _rewrite_figure(view, result, options).save(file)
        pixels_file = file.with_name(f"{file.stem}-pixels.png")
        Image.fromarray(result.after.numpy()).save(pixels_file)
    _tell_rewrite(options, view, result, file, pixels_file)
    return 0


def _add_descent(parser: argparse.ArgumentParser) -> None:
    default = Descent()
    group = parser.add_argument_group("descent")
    group.add_argument(
        "--steps", type=int, default=default.steps, metavar="N", help=f"how many (default {default.steps})"
    )
    group.add_argument("--rate", type=float, default=default.rate, metavar="X", help="length of a step (default 4e-4)")
    group.add_argument(
        "--optimiser", choices=OPTIMISERS, default=default.optimiser, help=f"default {default.optimiser}"
    )
    group.add_argument("--renormalise", action="store_true", help="let each row of changed attention sum to 1 again")
    group.add_argument(
        "--grad-mode",
        choices=GRAD_MODES,
        default=default.grad_mode,
        help=f"gradient through later layers too, or not (default {default.grad_mode})",
    )


def _array(values: Tensor) -> FloatArray:
    return values.detach().float().cpu().numpy()


def _lines(names: list[str], values: Tensor) -> list[Line]:
    import numpy as np

    from gradattn_core.render.plots import Line

    steps = np.arange(len(values), dtype=np.float32)
    return [Line(name, steps, _array(values[:, column])) for column, name in enumerate(names[:_LINES])]


def _settings(result: Transfer) -> str:
    descent = result.descent
    rows = ", rows renormalised" if descent.renormalise else ""
    return (
        f"{descent.steps} steps of {descent.rate:g} ({descent.optimiser}), {descent.grad_mode} gradient{rows}, "
        f"{result.provenance.correction} correction"
    )


def _transfer_figure(view: ModelView, result: Transfer, options: argparse.Namespace) -> Image.Image:
    from gradattn_core.render.films import Frame, transfer_figure

    names = [view.names.display(output) for output in result.classes]
    frames = [
        Frame(
            step=step,
            logit=float(result.logits[step, 0]),
            scores=_array(result.maps[number]),
            leader=view.names.display(leader),
            probability=float(result.probabilities[step, result.classes.index(leader)]),
            leading_scores=_array(result.leading_maps[number]),
        )
        for number, (step, leader) in enumerate(zip(result.snapshots, result.leaders, strict=True))
    ]
    return transfer_figure(
        view.image,
        view.crop,
        frames,
        _lines(names, result.logits),
        _lines(names, result.probabilities),
        target=names[0],
        against=None if options.against is None else names[1],
        lines=(
            f"Attention transfer: only the attention maps move, to lower the logit of {names[0]}",
            _settings(result),
        ),
        style=style(options, _FRAME),
    )


def _tell_transfer(options: argparse.Namespace, view: ModelView, result: Transfer, file: Path) -> None:
    names = [view.names.display(output) for output in result.classes]
    snapshots, sentences = [], []
    for step, leader in zip(result.snapshots, result.leaders, strict=True):
        logit, own = float(result.logits[step, 0]), float(result.probabilities[step, 0])
        leading = float(result.probabilities[step, result.classes.index(leader)])
        snapshots.append(
            {
                "step": step,
                "logit": round(logit, 6),
                "probability": round(own, 6),
                "leader": view.names.display(leader),
                "leader_probability": round(leading, 6),
            }
        )
        sentences.append(
            f"step {step}: {names[0]} {logit:.1f} ({percent(own, 1)}); "
            f"the model says {view.names.display(leader)} ({percent(leading, 1)})"
        )
    facts = {
        "for": names[0],
        "against": None if options.against is None else names[1],
        **asdict(result.descent),
        "snapshots": snapshots,
        "output": file,
    }
    tell(options, facts, [*sentences, f"wrote {file}"])


def _distance(result: AdversarialExample) -> str:
    change = result.fidelity
    return (
        f"No channel changed by more than {change.linf} of 255; L2 {change.l2:,.0f}; PSNR {change.psnr:.1f} dB; "
        f"{'the aim was reached' if result.succeeded else 'the aim was not reached'}"
    )


def _rewrite_figure(view: ModelView, result: AdversarialExample, options: argparse.Namespace) -> Image.Image:
    from PIL import Image

    from gradattn_core.render.films import Answer, rewrite_figure

    target, against = (view.names.display(output) for output in (result.target, result.against))
    before, after = (
        Answer(
            Image.fromarray(pixels.numpy()),
            _array(interpretation.scores[0]),
            f"{target} {percent(row[0], 1)}, {against} {percent(row[1], 1)}",
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
        _lines([target, against], result.course),
        target=target,
        against=against,
        lines=(*WARNING, _distance(result)),
        style=style(options, _PICTURE),
    )


def _tell_rewrite(
    options: argparse.Namespace, view: ModelView, result: AdversarialExample, file: Path, pixels_file: Path | None
) -> None:
    pair = [result.target, result.against]
    names = [view.names.display(output) for output in pair]
    logits = [
        interpretation.logits[0, pair].tolist()
        for interpretation in (result.interpretation_before, result.interpretation_after)
    ]
    probabilities = result.probabilities.tolist()
    facts = {
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
        **asdict(result.fidelity),
        "output": file,
        "pixels": pixels_file,
    }
    sentences = [
        " ".join(WARNING),
        *(
            f"{when} {names[0]}: {percent(row[0], 1)}, {names[1]}: {percent(row[1], 1)}"
            for when, row in zip(("before", "after "), probabilities, strict=True)
        ),
        _distance(result),
        f"wrote {file}" + (f" and the rewritten picture {pixels_file}" if pixels_file else ""),
    ]
    tell(options, facts, sentences)
