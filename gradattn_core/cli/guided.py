"""``gradattn explain guide``: a picture joined with pictures of other classes, and its map cut out of theirs."""

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
from gradattn_core.cli.terminal import tell
from gradattn_core.errors import GradattnError
from gradattn_core.estimates import percent
from gradattn_core.methods import FITS, OBJECTIVES, SIDES, Layout, Method

if TYPE_CHECKING:
    from PIL import Image

    from gradattn_core.interpret.explanation import ModelView
    from gradattn_core.interpret.guide import GuidedMap


def add_form(explain: CommandParser) -> None:
    form = explain.add_form(
        "guide",
        run_guide,
        "The picture joined with pictures of other classes, and its map cut out of theirs.",
        "  gradattn explain guide bird.jpg eagle.jpg --for kite\n"
        "  gradattn explain guide bird.jpg dog.jpg cat.jpg --side left --ratio 0.6 --fit crop    # the mean of both",
    )
    picture_options(form, "guided")
    form.add_argument("guides", nargs="+", metavar="GUIDE", help="picture of another class; of several, the mean")
    class_options(form, "what the model sees in each guide")
    map_options(form, OBJECTIVES)
    group = form.add_argument_group("joining")
    group.add_argument("--side", choices=SIDES, default="right", help="where the guide is (default right)")
    group.add_argument(
        "--ratio",
        type=float,
        default=0.5,
        metavar="R",
        help="share of the model's input for the picture itself (default 0.5)",
    )
    group.add_argument(
        "--fit", choices=FITS, default="stretch", help="how both are brought to their parts' shape (default stretch)"
    )
    drawing_options(form)
    output_style(form)


def run_guide(options: argparse.Namespace) -> int:
    """The picture joined with pictures of other classes; its map cut out of theirs."""
    import numpy as np

    from gradattn_core.dataset.decoding import read_image
    from gradattn_core.interpret.guide import guide

    of_guide = Method(options.objective, options.correction)
    layout = Layout(options.side, options.ratio, options.fit)
    file, view = output_file(options), open_view(options)
    target = view.pair(options.target, None)[0]
    guides = [read_image(path).image for path in options.guides]
    against = _guide_classes(view, guides, target, options)
    result = guide(view.model, view.image, guides, target, against, layout=layout, method=of_guide)
    if file.suffix.lower() == ".npz":
        write_numbers(
            file,
            asdict(result.provenance),
            result.box,
            scores=result.scores.cpu().numpy(),
            each=result.each.cpu().numpy(),
            joined_scores=result.joined_scores.cpu().numpy(),
            joined=np.stack([np.asarray(picture) for picture in result.joined]),
            classes=[target, *against],
            logits=result.logits.cpu().numpy(),
        )
    else:
        _guide_figure(view, result, of_guide, options).save(file)
    _tell_guide(options, view, result, file)
    return 0


def _guide_classes(view: ModelView, guides: list[Image.Image], target: int, options: argparse.Namespace) -> list[int]:
    """What each guide shows, as said or as the model sees it; another class than the picture's."""
    from gradattn_core.interpret.guide import seen_classes

    name = view.names.display(target)
    if options.against is not None:
        against = view.output(options.against)
        if against == target:
            raise GradattnError(
                f"--against {options.against}: a guide of the picture's own class ({name}) guides nothing"
            )
        return [against] * len(guides)
    classes = seen_classes(view.model, guides)
    for path, output in zip(options.guides, classes, strict=True):
        if output == target:
            raise GradattnError(
                f"guide {path}: the model sees {name} in it, as in the picture; give a picture of another class, or "
                "say with --against what it shows"
            )
    return classes


def _guide_figure(view: ModelView, result: GuidedMap, of_guide: Method, options: argparse.Namespace) -> Image.Image:
    import torch

    from gradattn_core.interpret.maps import signed_maps
    from gradattn_core.render.figures import guide_figure

    # The same question without a guide, averaged over the guides' classes in the same way.
    copies = view.pixels.expand(len(result.against), -1, -1, -1)
    alone = signed_maps(view.model, copies, result.target, torch.tensor(result.against), of_guide)
    names = [view.names.display(output) for output in result.against]
    return guide_figure(
        view.image,
        (alone.normalised.mean(0).cpu().numpy(), view.crop),
        (result.scores.cpu().numpy(), result.box),
        list(zip(result.joined, result.joined_scores.cpu().numpy(), names, strict=True)),
        view.names.display(result.target),
        lines=(f"Beside a guide on the {options.side}", f"{options.correction} correction of the {options.objective}"),
        style=style(options),
    )


def _tell_guide(options: argparse.Namespace, view: ModelView, result: GuidedMap, file: Path) -> None:
    """How probable both classes are in each joined picture."""
    own = view.names.display(result.target)
    facts, sentences = [], []
    for path, output, row in zip(options.guides, result.against, result.logits.softmax(1).tolist(), strict=True):
        other, red, blue = view.names.display(output), row[result.target], row[output]
        facts.append(
            {
                "guide": path,
                "against": other,
                "for_probability": round(red, 6),
                "against_probability": round(blue, 6),
            }
        )
        sentences.append(f"joined with {other}: {own} {percent(red, 1)}, {other} {percent(blue, 1)}")
    tell(options, {"for": own, "guides": facts, "output": file}, [*sentences, f"wrote {file}"])
