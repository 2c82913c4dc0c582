"""How faithful every method of explanation is, under one protocol, on any class folder and model.

    python -m bench.faithfulness ROOT --model M --checkpoint FILE [--work FOLDER] [--truth FILE] [--quick]

Six parts, all methods of ``gradattn_core.peers.registry`` in each, a random map and a centre prior among them:

a. photographs: maps against what was measured: single patches and 2 x 2 blocks left out (blocks also in the mean
   colour, blurred, in-painted), random rectangles left out, in-painted and alone, and Shapley values of the blocks;
b. perturbation curves on pixels and tokens, most and least relevant first, with and without a guide beside the picture;
c. pictures made of two classes: side by side, stacked, inset, chequered;
d. generated creatures whose classes differ in one known part, five small models trained on clean and noisy labels;
e. sanity: rewrites that keep the function, randomised weights, noise, swapped classes;
f. passes, time and memory beside a bare forward and backward pass.

Pictures are parted for good by the hash of their file: ``--part tuning`` is for choosing, ``--part report`` for what is
published. Methods of more than 10 passes are asked about a quarter of the pictures, of more than 100 about 8. In
brackets: 95 % bootstrap intervals over pictures. Each result is a file below ``--work`` under what it depends on, so
that a stopped run continues, and a later one computes what is new. Written there: ``faithfulness.md``, ``.csv`` and
``.png``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import curves, protocol
from bench.costs import costs
from bench.protocol import CEILINGS, KEEPING, MODELS, REWRITES, Run
from bench.subject import PARTS, Arrays, open_subject
from bench.truth import TRUTHS
from gradattn_core.config import ModelSpec
from gradattn_core.errors import GradattnError
from gradattn_core.evaluate.agreement import explained
from gradattn_core.evaluate.coalitions import corrected, correlation
from gradattn_core.evaluate.perturbation import ORDERS
from gradattn_core.evaluate.statistics import bootstrap
from gradattn_core.files import write_text
from gradattn_core.peers.registry import PEERS

SECTIONS = "abcdef"


@dataclass(frozen=True)
class Cell:
    """One number of a table: a mean over pictures and its interval, or one number over all of them."""

    value: float
    low: float | None = None
    high: float | None = None
    pictures: int = 0

    @classmethod
    def mean(cls, values: NDArray[np.float64]) -> Cell:
        """Of the pictures where there is a value."""
        there = values[np.isfinite(values)]
        if not len(there):
            return cls(float("nan"))
        found = bootstrap(there, resamples=2000)
        return cls(found.mean, found.low, found.high, len(there))

    def text(self, digits: int = 2, with_interval: bool = False) -> str:
        if not np.isfinite(self.value):
            return "–"
        shown = _short(self.value, digits)
        if with_interval and self.low is not None and self.high is not None:
            return f"{shown} [{_short(self.low, digits)}, {_short(self.high, digits)}]"
        return shown


def _short(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return "0"
    return text.replace("-", "−").replace("0.", ".", 1) if abs(float(text)) < 1 else text.replace("-", "−")


Row = dict[str, Cell]


def photographs(found: Arrays) -> Row:
    row = {}
    names = ("shapley", "patch", *(name for name in TRUTHS if name.startswith("block")))
    for name in (*names, "rectangle drop", "rectangle inpaint", "rectangle alone"):
        if name in found:
            row[f"r {name}"] = Cell.mean(in_truth(found, name))
    if np.isfinite(found["effect"]).any():
        row["R² of regions"] = Cell(explained(found["predicted"], found["effect"]), pictures=len(found["sum"]))
    gap = float(np.abs(found["sum"] - found["f"]).max())
    row["Σ with f − f₀"] = Cell(
        correlation(found["sum"], found["f"]) if gap > 1e-2 else 1.0, pictures=len(found["sum"])
    )
    row["greatest gap"] = Cell(gap, pictures=len(found["sum"]))
    for way, title in (("drop", "hidden"), ("inpaint", "in-painted")):
        both = [found[name] for name in (f"sign +1 {way}", f"sign -1 {way}") if name in found]
        row[f"sign, {title}"] = Cell.mean(np.concatenate(both) if both else np.array([np.nan]))
    row["majority agrees"] = Cell.mean(found["majority"])
    return row


def of_two(found: Arrays) -> Row:
    sums, halves = found["sums"], found["halves"]
    return {
        "share on its side": Cell.mean(found["share"]),
        "AUROC": Cell.mean(found["auroc"]),
        "r of halves' sums": Cell(correlation(sums, halves), pictures=len(sums)),
        "sign of halves' sums": Cell.mean(((sums > 0) == (halves > 0)).mean(1)),
    }


PLACES = {"energy": "energy", "right": "right", "pointing": "pointing", "auroc": "AUROC", "sign": "sign",
          "shapley": "r Shapley", "patch": "r patch left out", "leak": "leak", "gap": "gap"}  # fmt: skip


def in_place(found: Sequence[Arrays]) -> Row:
    """Of several models: pictures of all of them together."""
    return {title: Cell.mean(np.concatenate([in_truth(one, name) for one in found])) for name, title in PLACES.items()}


def in_truth(found: Arrays, name: str) -> NDArray[np.float64]:
    """[pictures] of a result; correlations with Shapley values corrected for how reliable these are."""
    if name != "shapley":
        return found[name]
    there = np.isfinite(found["reliability"])
    return np.clip(corrected(found[name][there], found["reliability"][there]), -1, 1)


def sane(found: Arrays) -> Row:
    kept = np.min([found[name] for name in KEEPING], axis=0)
    turned = np.max([found[f"{name}, turned"] for name in KEEPING], axis=0)
    rest = (*(name for name in REWRITES if name not in KEEPING), "noise on the picture", "classes swapped")
    return {
        "function kept: least r": Cell.mean(kept),
        "function kept: signs turned": Cell.mean(turned),
        **{name: Cell.mean(found[name]) for name in rest},
    }


@dataclass(frozen=True)
class Table:
    """Rows by method's name; a method that refuses the model has its sentence in place of a row."""

    title: str
    rows: dict[str, Row]
    refused: dict[str, str]
    digits: int = 2
    intervals: tuple[str, ...] = ()

    def markdown(self, order: str | None = None) -> str:
        columns = list(dict.fromkeys(column for row in self.rows.values() for column in row))
        names = list(self.rows)
        if order in columns:
            names.sort(key=lambda name: -np.nan_to_num(self.rows[name].get(order, Cell(-9)).value, nan=-9.0))
        lines = [f"| method | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
        for name in names:
            cells = [
                self.rows[name].get(column, Cell(float("nan"))).text(self.digits, column in self.intervals)
                for column in columns
            ]
            lines.append(f"| {title_of(name)} | {' | '.join(cells)} |")
        said = [f"Not asked: {title_of(name)} ({why})." for name, why in self.refused.items()]
        return f"### {self.title}\n\n" + "\n".join([*lines, "", *said]) + "\n"


def title_of(name: str) -> str:
    return f"`{name}`" if name in PEERS else name


def gathered(
    title: str, names: Sequence[str], make: Callable[[str], Row], progress: Progress, **options: object
) -> Table:
    rows: dict[str, Row] = {}
    refused: dict[str, str] = {}
    task = progress.add_task(title, total=len(names))
    for name in names:
        progress.update(task, description=f"{title}: {name}")
        try:
            rows[name] = make(name)
        except (GradattnError, LookupError) as error:
            refused[name] = str(error).rstrip(".")
        progress.advance(task)
    progress.update(task, description=title)
    return Table(title, rows, refused, **options)  # type: ignore[arg-type]


def tables(run: Run, names: Sequence[str], sections: str, progress: Progress, head: str) -> None:
    """Every table of the parts that are asked for; the files are written anew after each."""
    measured = [*names, *CEILINGS]
    found: list[Table] = []

    def add(title: str, which: Sequence[str], make: Callable[[str], Row], **options: object) -> None:
        found.append(gathered(title, which, make, progress, **options))
        written(run, found, head)

    if "a" in sections:
        protocol.truths(run, run.subject.cases(run.pictures, run.seed))
        first = ("r shapley", "r block drop")
        add("Photographs", measured, lambda name: photographs(protocol.photographs(run, name)), intervals=first)
    if "d" in sections:
        clean = [i for i in range(run.models) if not MODELS[i][1]]
        noisy = [i for i in range(run.models) if MODELS[i][1]]
        best = ("right", "r patch left out")
        for group, which in (("clean", clean), ("noisy", noisy)):
            if which:
                title = f"Creatures, {group} labels, {len(which)} models"
                add(title, measured, partial(_creatures, run, which), intervals=best)
        add("Creatures, each model", measured, partial(_each_model, run))
    if "c" in sections:
        add("Pictures of two classes", names, lambda name: of_two(protocol.of_two(run, name)))
    if "e" in sections:
        add("Sanity", names, lambda name: sane(protocol.sane(run, name)))
    if "f" in sections:
        add("Costs", names, lambda name: {k: Cell(v) for k, v in costs(run, name).items()})
    if "b" in sections:
        chunks(run, names, progress)
        add("Perturbation, area under accuracy", names, partial(_areas, run, "accuracy"), digits=3)
        add("Perturbation, area under log-odds", names, partial(_areas, run, "log_odds"))


def _creatures(run: Run, which: Sequence[int], name: str) -> Row:
    return in_place([protocol.in_place(run, name, i) for i in which])


def _each_model(run: Run, name: str) -> Row:
    row: Row = {}
    for i in range(run.models):
        found, model = protocol.in_place(run, name, i), f"{'noisy' if MODELS[i][1] else 'clean'} {MODELS[i][0]}"
        row |= {f"{model}, right": Cell.mean(found["right"]), f"{model}, r left out": Cell.mean(found["patch"])}
    return row


def chunks(run: Run, names: Sequence[str], progress: Progress) -> None:
    """Perturbation curves of all methods, one chunk of pictures after the other."""
    asked = [(start, name) for start in curves.starts(run) for name in names if start < curves.pictures(run, name)]
    task = progress.add_task("Perturbation", total=len(asked))
    for start, name in asked:
        progress.update(task, description=f"Perturbation, from picture {start}: {name}")
        # Where a method refuses the model, its table says why.
        with suppress(GradattnError):
            curves.chunk(run, name, start)
        progress.advance(task)


def _areas(run: Run, measure: str, name: str) -> Row:
    found = curves.curves(run, name)
    return {
        key.removeprefix(f"{measure}, "): Cell.mean(found[key])
        for setting in curves.SETTINGS for order in ORDERS
        for key in [f"{measure}, {setting}, {order}"]
    }  # fmt: skip


def written(run: Run, found: Sequence[Table], head: str) -> None:
    """The three files."""
    lines = [head, ""]
    for table in found:
        lines.append(table.markdown())
    write_text(run.work / "faithfulness.md", "\n".join(lines))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("part", "method", "number", "value", "low", "high", "pictures"))
    for table in found:
        for name, row in table.rows.items():
            for column, cell in row.items():
                writer.writerow((table.title, name, column, cell.value, cell.low, cell.high, cell.pictures))
    write_text(run.work / "faithfulness.csv", buffer.getvalue())
    plot(run.work / "faithfulness.png", found)


def plot(path: Path, found: Sequence[Table]) -> None:
    """Every method's agreement with what was measured, with intervals, the best on top."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [
        (table, column)
        for table in found
        for column in ("r block drop", "r shapley", "right", "share on its side")
        if any(column in row for row in table.rows.values())
    ]
    if not shown:
        return
    ranking, by = shown[0]
    names = sorted(ranking.rows, key=lambda name: np.nan_to_num(ranking.rows[name].get(by, Cell(-1)).value, nan=-1.0))
    figure, axes = pyplot.subplots(
        1, len(shown), figsize=(3.2 * len(shown) + 2.5, 0.24 * len(names) + 1.2), sharey=True, squeeze=False
    )
    for axis, (table, column) in zip(axes[0], shown, strict=True):
        for place, name in enumerate(names):
            cell = table.rows.get(name, {}).get(column)
            if cell is None or not np.isfinite(cell.value):
                continue
            colour = "#b2182b" if name.startswith("secant") else "#777777" if name in CEILINGS else "#2166ac"
            if cell.low is not None and cell.high is not None:
                axis.plot((cell.low, cell.high), (place, place), color=colour, linewidth=1)
            axis.plot(cell.value, place, "o", color=colour, markersize=4)
        axis.set_title(f"{table.title}:\n{column}", fontsize=8)
        axis.grid(axis="x", linewidth=0.3)
        axis.margins(y=0.01)
        axis.tick_params(labelsize=7)
    axes[0][0].set_yticks(range(len(names)), names, fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--checkpoint")
    parser.add_argument("--model-arguments", type=json.loads, default={}, help="JSON for timm.create_model")
    parser.add_argument("--blocks", type=int, help="cut the model after so many blocks")
    parser.add_argument("--truth", type=Path, help="CSV (path, true_label) where some labels are wrong")
    parser.add_argument("--part", choices=PARTS, default="report")
    parser.add_argument("--pool", type=int, help="ask about so many pictures of each part; all where not given")
    parser.add_argument("--work", type=Path, default=Path("faithfulness"))
    parser.add_argument("--sections", default=SECTIONS, help=f"some of {SECTIONS}")
    parser.add_argument("--methods", help="names, comma-separated; all where not given")
    parser.add_argument("--truths", default=",".join(TRUTHS), help="what part a measures, comma-separated")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=500, help="pairs of sets for each picture's Shapley values")
    parser.add_argument("--curves", type=int, default=200, help="pictures of part b")
    parser.add_argument("--steps", type=int, default=5, help="of a curve, from nothing masked to everything")
    parser.add_argument("--composites", type=int, default=60)
    parser.add_argument("--creatures", type=int, default=48, help="pictures for each model of part d")
    parser.add_argument("--models", type=int, default=len(MODELS), help="models of part d")
    parser.add_argument("--many", type=int, default=100, help="methods of more passes get few pictures …")
    parser.add_argument("--few", type=int, default=8, help="… so many; every method does in part e")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few pictures, no many-pass methods, no costs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begun = time.perf_counter()
    names = list(PEERS) if options.methods is None else options.methods.split(",")
    if options.quick:
        few = {
            "pictures": 4,
            "pairs": 130,
            "curves": 2,
            "composites": 4,
            "creatures": 6,
            "models": 1,
            "few": 1,
            "pool": 200,
        }
        vars(options).update(few, truths="block drop,shapley")
        options.sections = options.sections.replace("f", "")
        names = [name for name in names if name in PEERS and PEERS[name].passes <= protocol.SOME]
    spec = ModelSpec(options.model, options.checkpoint, options.model_arguments)
    place = options.work / f"{options.model}-{options.part}"
    subject = open_subject(
        options.dataset, spec, place, options.part, truth=options.truth, blocks=options.blocks, pool=options.pool
    )
    run = Run(
        subject, options.pictures, options.pairs, options.curves, options.steps, options.composites,
        options.creatures, options.models, options.seed, tuple(options.truths.split(",")), options.many, options.few,
        protocol.code_digest(),
    )  # fmt: skip
    head = (
        f"{options.model} on {options.dataset.name}, part *{options.part}* ({len(subject.names)} pictures, "
        f"{(subject.logits.argmax(1) == subject.labels).mean():.1%} rightly called), seed {options.seed}, "
        f"torch {torch.__version__}, code {run.code}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        tables(run, names, options.sections, progress, head)
    print((run.work / "faithfulness.md").read_text())
    print(f"{time.perf_counter() - begun:.0f} s; {run.work / 'faithfulness.md'}")


if __name__ == "__main__":
    main()
