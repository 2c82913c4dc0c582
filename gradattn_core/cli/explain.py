"""``gradattn explain``: which parts of one picture speak for a class (red) and which for another (blue)."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.cli import alter, guided, side_by_side
from gradattn_core.cli.options import CommandParser, Commands, command, output_style
from gradattn_core.cli.picture import (
    chosen_method,
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
from gradattn_core.methods import (
    CORRECTIONS,
    OBJECTIVES,
    PAIR_OBJECTIVES,
    PAPER_CORRECTIONS,
    Method,
)

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from gradattn_core.interpret.detail import Detail
    from gradattn_core.interpret.explanation import Explanation
    from gradattn_core.records import Evidence

_MOST_CLASSES = 12
_PAIR = 288  # pixels of the longer side of a picture that has only one beside it


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "explain",
        run_pair,
        "Show which parts of one picture speak for a class (red) and which for another (blue).",
        "  gradattn explain bird.jpg                                        # the model's answer against its second\n"
        "  gradattn explain bird.jpg --for kite --against 'bald eagle' -o bird.png\n"
        "  gradattn explain bird.jpg --model vit_tiny_patch16_224 --checkpoint my.safetensors --for 21 -o bird.npz\n"
        "  gradattn explain bird.jpg --for kite --correction all            # the paper's four side by side\n"
        "  gradattn explain bird.jpg --measured                             # what hiding the strongest parts does\n"
        "  gradattn explain bird.jpg --method secant,gae,rollout            # ours beside the methods of others\n"
        "  gradattn explain --list-methods                                  # what they are called and say\n"
        "  gradattn explain detail zoo.jpg 3                                # the three likeliest classes in pairs\n"
        "  gradattn explain guide bird.jpg eagle.jpg                        # beside a picture of another class\n"
        "  gradattn explain transfer bird.jpg --for kite                    # move the attention\n"
        "  gradattn explain rewrite bird.jpg --for kite                     # move the pixels\n"
        "  gradattn explain ./detail                                        # a file that is called like a form",
    )
    picture_options(parser, "explained")
    class_options(parser)
    map_options(parser, OBJECTIVES, (*CORRECTIONS, "all"))
    parser.add_argument(
        "--measured",
        action="store_true",
        help="measure by leaving patches out what red, blue and the strongest regions do (some twenty more passes)",
    )
    side_by_side.add_options(parser)
    drawing_options(parser)
    output_style(parser)
    _add_detail(parser)
    guided.add_form(parser)
    alter.add_forms(parser)


def run_pair(options: argparse.Namespace) -> int:
    """One class against another: the picture beside its map, or beside its map by each correction."""
    if options.objective == "logit" and options.against is not None:
        raise GradattnError("--objective logit looks at one class; leave --against out, or choose difference")
    of_paper = options.correction == "all"
    if options.measured and (of_paper or options.method is not None):
        raise GradattnError("--measured goes with one map that adds up; leave --method and --correction all out")
    if options.method is not None:
        return side_by_side.run_methods(options)
    methods = (
        [Method(options.objective, correction) for correction in PAPER_CORRECTIONS]
        if of_paper
        else [chosen_method(options)]
    )
    file, view = output_file(options), open_view(options)
    explanations = [view.explain(options.target, options.against, method) for method in methods]
    if options.measured:
        explanations = [view.measured(explanations[0])]
    if file.suffix.lower() == ".npz":
        _write_pair(file, explanations)
    elif of_paper:
        _corrections_figure(explanations, options).save(file)
    else:
        explanations[0].figure(style(options, _PAIR)).save(file)
    _tell_pair(options, explanations[0], file)
    return 0


def run_detail(options: argparse.Namespace) -> int:
    """Several classes, each against each of the others."""
    from gradattn_core.interpret.detail import detail
    from gradattn_core.render.figures import detail_figure

    words = options.classes
    if len(words) == 1 and not words[0].isdecimal():
        raise GradattnError(f"{words[0]}: give how many classes to compare, or two or more classes")
    if max(len(words), int(words[0]) if len(words) == 1 else 0) > _MOST_CLASSES:
        raise GradattnError(f"more than {_MOST_CLASSES} classes do not fit into one figure")
    file, view = output_file(options), open_view(options)
    classes = int(words[0]) if len(words) == 1 else [view.output(word) for word in words]
    result = detail(view.model, view.pixels[None], classes, method=chosen_method(options))
    outputs, probabilities = result.classes[0].tolist(), result.probabilities[0].tolist()
    names = [view.names.display(output) for output in outputs]
    scores = result.scores[0].cpu().numpy()
    if file.suffix.lower() == ".npz":
        logits = result.logits[0].cpu().numpy()
        pairs = {name: ends[0].cpu().numpy() for name, ends in _ends(result).items()}
        write_numbers(
            file, asdict(result.provenance), view.crop, scores=scores, classes=outputs, logits=logits, **pairs
        )
    else:
        drawn = view.image, view.crop, names, probabilities, scores
        detail_figure(*drawn, adds_up=bool(_ends(result)), style=style(options)).save(file)
    rows = list(zip(names, outputs, probabilities, strict=True))
    facts = [{"class": name, "index": output, "probability": round(share, 6)} for name, output, share in rows]
    sentences = [*(f"{name}: {percent(share, 1)}" for name, _, share in rows), f"wrote {file}"]
    ends = {name: values[0].tolist() for name, values in _ends(result).items()}
    tell(options, {"classes": facts, **ends, "output": file}, sentences)
    return 0


def _ends(result: Detail) -> dict[str, Tensor]:
    """Each pair's answer and what it is without any picture, row against column; empty where maps do not add up."""
    if result.log_odds is None or result.base is None:
        return {}
    return {"log_odds": result.log_odds, "base": result.base}


def _add_detail(parser: CommandParser) -> None:
    form = parser.add_form(
        "detail",
        run_detail,
        "Several classes, each against each of the others.",
        "  gradattn explain detail zoo.jpg 3                                # the three likeliest classes\n"
        "  gradattn explain detail zoo.jpg zebra 'African elephant' ostrich",
    )
    picture_options(form, "detail")
    form.add_argument(
        "classes", nargs="+", metavar="K", help="how many of the likeliest classes, or two or more classes"
    )
    map_options(form, PAIR_OBJECTIVES, CORRECTIONS)
    drawing_options(form)
    output_style(form)


def _write_pair(file: Path, explanations: list[Explanation]) -> None:
    import numpy as np

    first, *others = explanations
    crop = first.evidence.crop
    if not others:
        sums, numbers = first.evidence.sums, first.evidence.numbers
        ends = {} if sums is None else {"log_odds": sums.log_odds, "base": sums.base, "numbers": numbers}
        write_numbers(file, asdict(first.provenance), crop, scores=first.evidence.scores, logits=first.logits, **ends)
        return
    provenance = [asdict(explanation.provenance) for explanation in explanations]
    scores = np.stack([explanation.evidence.scores for explanation in explanations])
    write_numbers(file, provenance, crop, scores=scores, logits=first.logits, corrections=list(PAPER_CORRECTIONS))


def _corrections_figure(explanations: list[Explanation], options: argparse.Namespace) -> Image.Image:
    from gradattn_core.render.figures import corrections_figure

    first = explanations[0]
    maps = {explanation.evidence.correction: explanation.evidence.scores for explanation in explanations}
    against = None if options.objective == "logit" else first.evidence.against_label
    names = (first.evidence.for_label, against)
    return corrections_figure(first.image, first.evidence.crop, maps, *names, style=style(options))


def _tell_pair(options: argparse.Namespace, explanation: Explanation, file: Path) -> None:
    from gradattn_core.reasons import account, strongest_parts, without_numbers

    evidence = explanation.evidence
    red, blue = (float(explanation.probabilities[output]) for output in (explanation.target, explanation.against))
    is_single = evidence.objective == "logit"
    facts = {
        "for": evidence.for_label,
        "for_probability": round(red, 6),
        "against": None if is_single else evidence.against_label,
        "against_probability": None if is_single else round(blue, 6),
        "answer": explanation.names.display(int(explanation.logits.argmax())),
        "correction": evidence.correction,
        **_sums(evidence),
        "numbers": evidence.numbers if evidence.sums else None,
        "regions": [asdict(region) for region in evidence.statistics.regions],
        "output": file,
    }
    answer = f"the model's answer, of all its classes: {facts['answer']}"
    sentences = [answer, f"red   {evidence.for_label}: {percent(red, 1)}"]
    if not is_single:
        sentences.append(f"blue  {evidence.against_label}: {percent(blue, 1)}")
    numbers = account(evidence)
    names = (evidence.for_label, evidence.against_label)
    sentences.append(numbers.sentences(names) if numbers else without_numbers(evidence))
    if options.measured:
        sentences += strongest_parts(evidence, explanation.image.size, names=names)
    tell(options, facts, [*sentences, f"wrote {file}"])


def _sums(evidence: Evidence) -> dict[str, float | None]:
    """What the map adds up to: without picture + red + blue is the answer."""
    sums = evidence.sums
    values = (None,) * 4 if sums is None else (sums.log_odds, sums.base, sums.red, sums.blue)
    names = ("log_odds", "log_odds_without_picture", "red_log_odds", "blue_log_odds")
    return {name: None if value is None else round(value, 6) for name, value in zip(names, values, strict=True)}
