"""A sweep by torch and by OpenVINO in turn: what it takes, and whether the ranking says the same.

    python -m bench.engines ROOT --truth ROOT.truth.csv --model vit_tiny_patch16_224 --checkpoint FILE
                            [--head probe as-is] [--precision bfloat16 float32] [--images N] [--rounds 1] [--whole]

Each audit runs in a process of its own, from the listing to the ranked list, with ``--whole`` to the end. Seconds are
on the wall, medians over the rounds, and say something on an idle machine only; a sweep decodes, computes, writes, and
with OpenVINO converts the model. Rank correlation is Spearman's of the suspicions with those of the first way, torch in
the first precision; *the same* is the share of as many first images as labels are wrong that both have. Another
precision of torch shows what roundings of this size do anyway.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from bench.rerank import wrong_labels
from bench.sweep import subset
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.stages import RANK, SWEEP
from gradattn_core.audit.sweep import sweep_shards
from gradattn_core.config import AuditConfig
from gradattn_core.methods import ENGINES
from gradattn_core.progress import silent
from gradattn_core.store.store import Store

_HERE = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="ROOT")
    parser.add_argument("--truth", type=Path, metavar="FILE")
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--head", nargs="+", default=["probe"])
    parser.add_argument("--precision", nargs="+", default=["bfloat16"])
    parser.add_argument("--images", type=int, default=0, metavar="N", help="so many, drawn with a fixed seed; 0 is all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--whole", action="store_true", help="audit to the end, maps included")
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        warnings.simplefilter("ignore")
        print(json.dumps(measured(AuditConfig.of(json.loads(options.one)), options.whole)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        dataset = options.dataset
        if options.images:
            dataset = str(subset(options.dataset, options.images, Path(folder) / "manifest.csv"))
        for head in options.head:
            found: dict[str, list[dict[str, Any]]] = {}
            for turn in range(options.rounds):
                for precision in options.precision:
                    for engine in ENGINES:
                        asked = {
                            "dataset": dataset, "out": f"{folder}/{head}-{precision}-{engine}-{turn}",
                            "model": options.model, "checkpoint": options.checkpoint, "head": head,
                            "precision": precision, "engine": engine, "device": "cpu",
                        }  # fmt: skip
                        found.setdefault(f"{engine}, {precision}", []).append(_apart(asked, options))
            show(f"{Path(options.dataset).name}, {options.model}, {head}", found, options.truth)
    return 0


def _apart(asked: Mapping[str, object], options: argparse.Namespace) -> dict[str, Any]:
    """:func:`measured` in a process of its own."""
    command = [sys.executable, "-m", "bench.engines", options.dataset, "--model", options.model]
    command += ["--one", json.dumps(asked), *(["--whole"] if options.whole else [])]
    result = subprocess.run(command, cwd=_HERE, env=os.environ, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def measured(config: AuditConfig, whole: bool) -> dict[str, Any]:
    """Seconds by stage, peak memory in GB, and suspicion by path."""
    if whole:
        summary = audit_images(config)
        seconds = dict(summary.seconds)
        rows = Store(Path(config.out)).candidates.page(summary.audit_id, everything=True)
    else:
        seconds, start = {}, time.perf_counter()
        plan = make_plan(config, survey_dataset(config))
        seconds["plan"] = time.perf_counter() - start
        start = time.perf_counter()
        sweep_shards(plan, range(plan.shards))
        seconds[SWEEP.name] = time.perf_counter() - start
        start = time.perf_counter()
        RANK.run(plan, 0, silent)
        seconds[RANK.name] = time.perf_counter() - start
        rows = pq.read_table(plan.files.rank).to_pandas()
    return {
        "seconds": seconds,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "threads": torch.get_num_threads(),
        "suspicion": dict(zip(rows["path"], rows["suspicion"].astype(float), strict=True)),
        "suspects": int(rows["is_suspect"].sum()) if "is_suspect" in rows else len(rows),
    }


def show(title: str, found: Mapping[str, list[dict[str, Any]]], truth: Path | None) -> None:
    """A row for each way: seconds beside torch's in the same precision, and the ranking beside the first row's."""
    any_of = next(iter(found.values()))[0]
    print(f"\n{title}, {len(any_of['suspicion']):,} images, {any_of['threads']} threads\n")
    stages = list(any_of["seconds"])
    head = ["way", *(f"{stage}, s" for stage in stages), "together, s", "torch's sweep to it", "peak memory, GB"]
    print(f"| {' | '.join([*head, 'average precision', 'rank correlation', 'the same'])} |")
    print(f"|---|{'---:|' * (len(stages) + 6)}")
    for way, rounds in found.items():
        precision = way.split(", ")[1]
        torchs = found[f"torch, {precision}"]
        taken = [statistics.median(each["seconds"][stage] for each in rounds) for stage in stages]
        pairs = zip(torchs, rounds, strict=True)
        ratio = statistics.median(one["seconds"][SWEEP.name] / other["seconds"][SWEEP.name] for one, other in pairs)
        cells = [
            *(f"{each:.1f}" for each in (*taken, sum(taken))),
            f"{ratio:.2f}",
            f"{statistics.median(each['memory'] for each in rounds):.2f}",
            *_compared(any_of["suspicion"], rounds[0]["suspicion"], truth),
        ]
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


def _compared(before: Mapping[str, float], now: Mapping[str, float], truth: Path | None) -> tuple[str, str, str]:
    """Average precision of ``now``, its rank correlation with ``before``, and the share of the first that both have."""
    paths = sorted(now)
    one, other = np.array([before[path] for path in paths]), np.array([now[path] for path in paths])
    count, precision = round(0.1 * len(paths)), "–"
    if truth is not None:
        wrong = wrong_labels(pd.Series(paths), truth)
        count, precision = int(wrong.sum()), f"{average_precision_score(wrong, other):.4f}"
    first = [set(np.argsort(-values, kind="stable")[:count].tolist()) for values in (one, other)]
    return precision, f"{spearmanr(one, other).statistic:.4f}", f"{len(first[0] & first[1]) / count:.1%}"


if __name__ == "__main__":
    raise SystemExit(main())
