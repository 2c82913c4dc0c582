"""Makes the figures of docs/interpretation.md from the demo's digits and model, for light and for dark pages.

All but the curves is what `gradattn explain` writes. Pictures of two digits are joined from the demo's digits: of some
hundred pairs the one is taken in which the model, which has learnt single digits only, is surest of both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from gradattn_core.cli import main as gradattn
from gradattn_core.demo.digits import write_digits
from gradattn_core.demo.model import GLYPH_VIT, GLYPH_VIT_WEIGHTS, create_glyph_vit
from gradattn_core.evaluate.perturbation import ORDERS, PerturbationCurve, perturbation_curve, random_maps
from gradattn_core.evaluate.statistics import bootstrap
from gradattn_core.interpret.maps import interpret
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import preprocessed
from gradattn_core.render.layout import Paper
from gradattn_core.render.plots import Line, Plot, plot_figure

PAPERS: tuple[Paper, ...] = ("light", "dark")
Labels = NDArray[np.int64]

_PAIRS = 600
_MASKED = 400


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images/interpretation"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these figures, for instance detail guide")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in _figures(Path(folder)).items():
            if options.only is None or name in options.only:
                _draw(arguments, options.out, name, Path(folder))
        if options.only is None or "perturbation" in options.only:
            plots = _perturbation(Path(folder))
            for paper in PAPERS:
                _write(plot_figure(plots, paper), options.out / f"perturbation-{paper}.png")
    return 0


def _figures(folder: Path) -> dict[str, list[str]]:
    """Name → arguments of ``gradattn explain``, after the pictures they need have been written."""
    truth = write_digits(folder / "digits", noise=0.0)
    model = create_glyph_vit()
    digits = [Image.open(folder / "digits" / path).convert("RGB") for path in truth["path"]]
    labels = truth["true_label"].to_numpy().astype(np.int64)
    first, second = _two_digits(model, digits, labels)
    _side_by_side(digits[first], digits[second]).save(folder / "two.png")
    print(f"two digits: {truth['path'][first]} and {truth['path'][second]}")
    one, other = str(labels[first]), str(labels[second])
    picture = str(folder / "digits" / truth["path"][first])
    guides = [str(folder / "digits" / truth["path"][n]) for n in _guides(model, digits, labels, first)]
    pair = ["--for", one, "--against", other]
    return {
        "sums": [picture, "--for", one],
        "multi-class": ["detail", str(folder / "two.png"), one, other],
        "detail": ["detail", str(folder / "digits" / truth["path"][_doubtful(model, digits)]), "3"],
        "guide": ["guide", picture, *guides, "--for", one, "--fit", "crop"],
        "mechanism": [str(folder / "two.png"), *pair, "--correction", "all"],
        "transfer": ["transfer", str(folder / "two.png"), *pair],
        "rewrite": ["rewrite", picture, *pair, "--budget", "16"],
    }


def _answers(model: nn.Module, pictures: Sequence[Image.Image]) -> Tensor:
    """[pictures, classes] probabilities."""
    return answer(model, preprocessed(model, pictures)).softmax(1)


def _side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """The middle halves of two digits, which are narrow, as one picture."""
    joined, quarter = Image.new("RGB", left.size), left.width // 4
    for digit, place in ((left, 0), (right, 2 * quarter)):
        joined.paste(digit.crop((quarter, 0, 3 * quarter, digit.height)), (place, 0))
    return joined


def _sureness(model: nn.Module, digits: list[Image.Image], labels: Labels, pairs: list[list[int]]) -> list[float]:
    """How probable the less probable of the two true classes is when each pair is joined."""
    answers = _answers(model, [_side_by_side(digits[a], digits[b]) for a, b in pairs])
    return [min(float(answer[labels[n]]) for n in pair) for answer, pair in zip(answers, pairs, strict=True)]


def _two_digits(model: nn.Module, digits: list[Image.Image], labels: Labels) -> tuple[int, int]:
    rng = np.random.default_rng(0)
    pairs = [pair for pair in rng.integers(0, len(digits), (_PAIRS, 2)).tolist() if labels[pair[0]] != labels[pair[1]]]
    sureness = _sureness(model, digits, labels, pairs)
    first, second = pairs[int(np.argmax(sureness))]
    return first, second


def _guides(model: nn.Module, digits: list[Image.Image], labels: Labels, picture: int) -> list[int]:
    """Two digits of two other classes beside which the model still sees the picture's class, and theirs."""
    pairs = [[picture, n] for n in range(len(digits)) if labels[n] != labels[picture]]
    order = np.argsort(_sureness(model, digits, labels, pairs))[::-1]
    best: dict[int, int] = {}
    for n in order:
        best.setdefault(int(labels[pairs[n][1]]), pairs[n][1])
    return list(best.values())[:2]


def _doubtful(model: nn.Module, digits: list[Image.Image]) -> int:
    """The digit whose third likeliest class is the likeliest of all digits'."""
    third = _answers(model, digits).topk(3, dim=1).values[:, 2]
    return int(third.argmax())


def _draw(arguments: list[str], out: Path, name: str, folder: Path) -> None:
    drawn = folder / "figure.png"
    settings = {key: value for key, value in GLYPH_VIT.items() if key != "model_name"}
    model = ["--model", GLYPH_VIT["model_name"], "--checkpoint", str(GLYPH_VIT_WEIGHTS)]
    model += ["--model-arguments", json.dumps(settings), "--device", "cpu"]
    for paper in PAPERS:
        status = gradattn(["explain", *arguments, *model, "--paper", paper, "--quiet", "-o", str(drawn)])
        if status != 0:
            raise SystemExit(f"{name}: gradattn explain ended with {status}")
        _write(Image.open(drawn).convert("RGB"), out / f"{name}-{paper}.png")


def _perturbation(folder: Path) -> list[Plot]:
    """How often the model still names a digit while its patches are left out, by five maps."""
    truth = write_digits(folder / "digits", noise=0.0).sample(_MASKED, random_state=0)
    model = create_glyph_vit()
    pictures = [Image.open(folder / "digits" / path).convert("RGB") for path in truth["path"]]
    images = preprocessed(model, pictures)
    labels = torch.tensor(truth["true_label"].astype(int).tolist())
    maps = {
        "secant": interpret(model, images, labels, correction="secant").scores,
        "complete": interpret(model, images, labels).scores,
        "centred": interpret(model, images, labels, correction="centred").scores,
        "positive, of the logit": interpret(model, images, labels, objective="logit", correction="positive").scores,
    }
    maps["random"] = random_maps(maps["complete"])
    plots = []
    for order in ORDERS:
        lines = [
            _line(name, perturbation_curve(model, images, scores, labels, order=order, replace="drop"))
            for name, scores in maps.items()
        ]
        plots.append(Plot(lines, "share left out", f"accuracy, {order} relevant patches first", y_range=(0, 1)))
    return plots


def _line(name: str, measured: PerturbationCurve) -> Line:
    intervals = [bootstrap(column, resamples=1000) for column in measured.accuracy.T]
    mean, low, high = (
        np.array([getattr(interval, part) for interval in intervals], np.float32) for part in ("mean", "low", "high")
    )
    return Line(name, measured.shares.astype(np.float32), mean, low, high, dashed=name == "random")


def _write(figure: Image.Image, target: Path) -> None:
    figure.save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
