"""How long the store takes on an audit of a million images: ``python bench/store.py [--images N] [--suspects N]``.

Builds a synthetic audit (14 x 14 maps for the suspects, two regions each) as parquet, merges it, and prints a table of
the best and the median wall-clock time of what the page and the command line ask for.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.store import Store

CLASSES = [f"class {number:04d}" for number in range(1000)]
GRID = 14


def build(folder: Path, images: int, suspects: int, shards: int = 50) -> dict[str, list[Path]]:
    """Parquet shards of a random audit, in the order of its listing, the suspects scattered over it."""
    random = np.random.default_rng(7)
    names = np.array(CLASSES)
    given = np.sort(random.integers(0, len(CLASSES), images))
    suspicion = random.random(images)
    rank = np.empty(images, dtype=np.int64)
    rank[np.argsort(-suspicion)] = np.arange(1, images + 1)
    table = pd.DataFrame(
        {
            "path": [f"train/{CLASSES[label]}/picture_{row:08d}.jpg" for row, label in enumerate(given)],
            "given_label": names[given],
            "suggested_label": names[(given + 1 + rank % 5) % len(CLASSES)],
            "suspicion": suspicion,
            "rank": rank,
            "is_suspect": rank <= suspects,
        }
    )
    files: dict[str, list[Path]] = {}
    for shard, rows in enumerate(np.array_split(np.arange(images), shards)):
        for name, part in _tables(table.iloc[rows], random).items():
            file = folder / f"{name}-{shard:03d}.parquet"
            pq.write_table(part, file)
            files.setdefault(name, []).append(file)
    return files


def _tables(part: pd.DataFrame, random: np.random.Generator) -> dict[str, pa.Table]:
    rows = len(part)
    number = random.random(rows).astype(np.float32)
    top = [[given, suggested] for given, suggested in zip(part["given_label"], part["suggested_label"], strict=True)]
    doubtful = part[part["is_suspect"]]
    frames = {
        "images": part.assign(
            content_hash=[random.bytes(16).hex() for _ in range(rows)], size=1, width=500, height=375
        ),
        "predictions": part.assign(
            fold=0, predicted_label=part["suggested_label"], given_logit=number, predicted_logit=number + 1,
            given_probability=number, predicted_probability=number, margin=-number, entropy=number,
            top_labels=pd.Series(top, part.index), top_probabilities=pd.Series([[0.5, 0.3]] * rows, part.index),
            outside_label=part["suggested_label"],
            outside_probability=number,
        ),
        "scores": part.assign(
            suggested_probability=number, given_probability=number, runner_up_label=part["given_label"],
            components=pd.Series([{"margin": 0.5, "neighbours": 0.25}] * rows, part.index),
        ),
        "interpretations": doubtful.assign(
            for_label=doubtful["given_label"], against_label=doubtful["suggested_label"],
            for_logit=0.5, against_logit=1.5, objective="difference", correction="complete", aggregation="mean",
            grid_height=GRID, grid_width=GRID,
            crop_left=0.0, crop_top=0.0, crop_right=375.0, crop_bottom=375.0,
            map=list(random.standard_normal((len(doubtful), GRID * GRID)).astype(np.float32)),
            positive_mass=1.0, negative_mass=2.0, balance=-0.3, concentration=0.4, overlap=0.5,
        ),
        "regions": pd.concat(
            [
                doubtful[["path"]].assign(
                    sign=sign, rank=1, mass_share=0.5, area_share=0.1, peak=0.7 * sign,
                    box_left=10.0, box_top=20.0, box_right=200.0, box_bottom=220.0,
                )
                for sign in (1, -1)
            ]
        ),
    }  # fmt: skip
    return {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}


def timed(work: Callable[[int], object], repeats: int) -> tuple[float, float]:
    """Best and median seconds of ``work(0)``, ``work(1)``, …"""
    seconds = []
    for repeat in range(repeats):
        start = time.perf_counter()
        work(repeat)
        seconds.append(time.perf_counter() - start)
    return min(seconds), statistics.median(seconds)


def measure(folder: Path, images: int, suspects: int) -> list[tuple[str, float, float]]:
    """Rows of (what, best seconds, median seconds)."""
    files = build(folder, images, suspects)
    store = Store(folder)
    audit = {
        "audit_id": "bench", "dataset": "bench", "root": str(folder), "model": "none", "classes": CLASSES,
        "finished_at": datetime.now(UTC), "images": images, "suspects": suspects,
    }  # fmt: skip
    rows = [(f"merge of {images:,} images", *timed(lambda _: store.merge(audit, files), 1))]
    rows.append(("merge again, replacing it", *timed(lambda _: store.merge(audit, files), 1)))
    first = store.candidates("bench", top=200)
    paths, given = list(first["path"]), str(first["given_label"][0])
    rows.append(("decide", *timed(lambda n: store.decide("bench", paths[n], "keep", reviewer="bench"), 50)))
    queries: dict[str, Callable[[int], object]] = {
        "first page of 50": lambda _: store.candidates("bench", top=50),
        "page of 50 in the middle": lambda _: store.candidates("bench", top=50, offset=suspects // 2),
        "last page of 50": lambda _: store.candidates("bench", top=50, offset=max(suspects - 50, 0)),
        "page of one given class": lambda _: store.candidates("bench", given=given, top=50),
        "page of one suggested class": lambda _: store.candidates("bench", suggested=given, top=50),
        "page of undecided": lambda _: store.candidates("bench", decided="no", top=50),
        "page of decided": lambda _: store.candidates("bench", decided="yes", top=50),
        "page by part of the path": lambda _: store.candidates("bench", path_contains="7_0", top=50),
        "page of everything": lambda _: store.candidates("bench", everything=True, top=50, offset=images // 2),
        "count": lambda _: store.count_candidates("bench"),
        "count of undecided": lambda _: store.count_candidates("bench", decided="no"),
        "evidence of one image": lambda n: store.evidence("bench", paths[n]),
        "prediction of one image": lambda n: store.prediction("bench", paths[n]),
        "places of 50 images": lambda n: store.image_files("bench", paths[:50]),
        "class list": lambda _: store.classes("bench"),
        "summary": lambda _: store.summary("bench"),
        "all suspects": lambda _: store.candidates("bench"),
    }
    rows += [(name, *timed(query, 7)) for name, query in queries.items()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--suspects", type=int, default=50_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gradattn-bench-"))
    try:
        rows = measure(folder, options.images, options.suspects)
        print(f"| {options.images:,} images, {options.suspects:,} suspects | best | median |\n|---|---:|---:|")
        for name, best, median in rows:
            print(f"| {name} | {1000 * best:,.0f} ms | {1000 * median:,.0f} ms |")
        print(f"\ndatabase: {Store(folder).database.stat().st_size / 2**20:,.0f} MiB")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
