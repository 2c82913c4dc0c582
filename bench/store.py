"""How long the store takes on an audit of a million images: ``python bench/store.py [--images N] [--suspects N]``.

Builds a synthetic audit (14 x 14 maps for the suspects, two regions each) as parquet, merges it, and prints the median
and the 95th percentile of the wall-clock time of everything that the page and the command line ask for.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.dataset.decoding import content_hash
from gradattn_core.store.candidates import ORDERS
from gradattn_core.store.outbox import Sent
from gradattn_core.store.store import Store

CLASSES = [f"class {number:04d}" for number in range(1000)]
KINDS = ["mislabel", "two objects", "confusable", "out of place", "duplicate", "nothing to see"]
CLUSTERS = 500
EXEMPLARS = 8
GRID = 14


def build(
    folder: Path, images: int, suspects: int, shards: int = 50, picture: Callable[[str], bytes] | None = None
) -> dict[str, list[Path]]:
    """Parquet shards of a random audit, in the order of its listing, the suspects scattered over it.

    Args:
        picture: makes the file of a suspect or typical image at a path, so that the page finds what the audit says of
            it; without, all hashes are made up.
    """
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
    sure = table.sort_values("suspicion").groupby("given_label").head(EXEMPLARS)
    table["content_hash"] = [random.bytes(16).hex() for _ in range(images)]
    if picture is not None:
        drawn = table.index[table["is_suspect"]].union(sure.index)
        table.loc[drawn, "content_hash"] = [content_hash(picture(path)) for path in table.loc[drawn, "path"]]
    files: dict[str, list[Path]] = {}
    for shard, rows in enumerate(np.array_split(np.arange(images), shards)):
        for name, part in _tables(table.iloc[rows], random).items():
            file = folder / f"{name}-{shard:03d}.parquet"
            pq.write_table(part, file)
            files.setdefault(name, []).append(file)
    pairs = table[table["is_suspect"]].groupby(["given_label", "suggested_label"])["suspicion"]
    files["class_pairs"] = [folder / "class_pairs.parquet"]
    facts = pairs.agg(suspects="size", mean_suspicion="mean", expected="sum").reset_index()
    facts.assign(class_size=images // len(CLASSES), share=0.1, lift=2.0).to_parquet(files["class_pairs"][0])
    files["exemplars"] = [folder / "exemplars.parquet"]
    position = sure.groupby("given_label").cumcount() + 1
    sure.assign(label=sure["given_label"], position=position).to_parquet(files["exemplars"][0])
    return files


def _tables(part: pd.DataFrame, random: np.random.Generator) -> dict[str, pa.Table]:
    rows = len(part)
    number = random.random(rows).astype(np.float32)
    top = [[given, suggested] for given, suggested in zip(part["given_label"], part["suggested_label"], strict=True)]
    doubtful = part[part["is_suspect"]]
    frames = {
        "images": part.assign(size=1, width=500, height=375),
        "predictions": part.assign(
            fold=0, predicted_label=part["suggested_label"], given_logit=number, predicted_logit=number + 1,
            given_probability=number, predicted_probability=number, margin=-number, entropy=number,
            top_labels=pd.Series(top, part.index), top_probabilities=pd.Series([[0.5, 0.3]] * rows, part.index),
            outside_label=part["suggested_label"],
            outside_probability=number,
        ),
        "scores": part.assign(
            suggested_probability=0.1 + 0.6 * number, given_probability=0.3 - 0.3 * number,
            runner_up_label=part["given_label"], runner_up_probability=0.1, outside_suspicion=0.01 * part["suspicion"],
            class_noise_suspicion=number,
            instance_noise_suspicion=number,
            likely_labels=pd.Series(top, part.index),
            likely_probabilities=pd.Series([[0.3 - 0.3 * each, 0.1 + 0.6 * each] for each in number], part.index),
            components=pd.Series([{"margin": 0.5, "neighbours": 0.25}] * rows, part.index),
            kind=pd.Series(np.resize(KINDS, rows), part.index).where(part["is_suspect"]),
            kind_numbers=pd.Series([{"hidden_margin": 0.5, "given_probability": 0.1}] * rows, part.index).where(
                part["is_suspect"], None
            ),
            cluster=pd.Series(random.integers(0, CLUSTERS, rows), part.index).where(part["is_suspect"]).astype("Int32"),
        ),
        "interpretations": doubtful.assign(
            for_label=doubtful["given_label"], against_label=doubtful["suggested_label"],
            for_logit=0.5, against_logit=1.5, objective="difference", correction="complete", aggregation="mean",
            grid_height=GRID, grid_width=GRID,
            crop_left=0.0, crop_top=0.0, crop_right=375.0, crop_bottom=375.0,
            map=list(random.standard_normal((len(doubtful), GRID * GRID)).astype(np.float32)),
            concentration=0.4, overlap=0.5, model_log_odds=-1.0, log_odds_without_picture=0.2, average_log_odds=0.1,
            red_log_odds=0.8, blue_log_odds=-2.0, head="bench", numbers="map",
            hidden_for_logit=1.5, hidden_against_logit=0.5, hidden_label=doubtful["given_label"],
            hidden_probability=0.6,
        ),
        "regions": pd.concat(
            [
                doubtful[["path"]].assign(
                    sign=sign, rank=1, mass_share=0.5, area_share=0.1, peak=0.7 * sign,
                    log_odds=0.5 * sign, measured=None,
                    box_left=10.0, box_top=20.0, box_right=200.0, box_bottom=220.0,
                )
                for sign in (1, -1)
            ]
        ),
        "neighbours": pd.concat(
            [
                doubtful[["path"]].assign(
                    position=position, similarity=1 - position / 10, neighbour_label=doubtful["given_label"],
                    neighbour_path=np.roll(doubtful["path"].to_numpy(), position),
                )
                for position in range(1, 7)
            ]
        ),
    }  # fmt: skip
    return {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}


def populate(
    folder: Path, images: int, suspects: int, decisions: int, picture: Callable[[str], bytes] | None = None
) -> tuple[Store, float]:
    """A store in ``folder`` with the audit ``bench`` and that many decisions of two reviewers; seconds of the merge.

    Args:
        picture: as of :func:`build`.
    """
    files = build(folder, images, suspects, picture=picture)
    store = Store(folder)
    # As if the files had been there for a while.
    audit = {
        "audit_id": "bench", "dataset": "bench", "root": str(folder), "model": "none", "classes": CLASSES,
        "started_at": datetime.now(UTC) + timedelta(seconds=5), "finished_at": datetime.now(UTC),
        "images": images, "suspects": suspects, "estimated_errors": images / 20,
        "estimated_low": images / 25, "estimated_high": images / 15,
    }  # fmt: skip
    start = time.perf_counter()
    store.audits.merge(audit, files)
    seconds = time.perf_counter() - start
    for file in (file for part in files.values() for file in part):
        file.unlink()
    paths = store.candidates.page("bench", top=min(decisions, suspects))["path"].tolist()
    half = len(paths) // 2
    store.decisions.append_many("bench", paths[:half], "keep", reviewer="ann", note="as it should be")
    store.decisions.append_many("bench", paths[half:], "relabel", new_label=CLASSES[0], reviewer="bob")
    # Every tenth is disputed, every twentieth taken back.
    store.decisions.append_many("bench", paths[::10], "remove", reviewer="bob")
    store.decisions.undo_many("bench", paths[::20], reviewer="ann")
    return store, seconds


def timed(work: Callable[[int], object], repeats: int) -> list[float]:
    """Seconds of ``work(0)``, ``work(1)``, …"""
    seconds = []
    for repeat in range(repeats):
        start = time.perf_counter()
        work(repeat)
        seconds.append(time.perf_counter() - start)
    return seconds


def queries(store: Store, suspects: int) -> dict[str, Callable[[int], object]]:
    """What the page and the command line ask for, by name; each takes the number of its repetition."""
    first = store.candidates.page("bench", top=200)
    paths, given, suggested = list(first["path"]), str(first["given_label"][0]), str(first["suggested_label"][0])
    middle = suspects // 2

    def page(**filters: Any) -> Callable[[int], object]:
        return lambda _: store.candidates.page("bench", **{"top": 96, **filters})

    def count(**filters: Any) -> Callable[[int], object]:
        return lambda _: store.candidates.count("bench", **filters)

    pages: dict[str, dict[str, Any]] = {
        "first": {},
        "in the middle": {"offset": middle},
        "last": {"offset": max(suspects - 96, 0)},
        "by pair": {"order": "pair", "offset": middle},
        "by similarity": {"order": "similar", "offset": middle},
        "by path": {"order": "path", "offset": middle},
        "newest decision first": {"order": "decided"},
        "of a given class": {"given": given},
        "of a suggested class": {"suggested": suggested},
        "of a pair": {"given": given, "suggested": suggested},
        "of a kind": {"kind": "two objects", "order": "similar"},
        "of a range of suspicion": {"min_suspicion": 0.5, "max_suspicion": 0.6},
        "by part of the path": {"path_contains": "7_0"},
        "undecided": {"decided": "no"},
        "undecided, by pair": {"decided": "no", "order": "pair", "offset": middle},
        "decided": {"decided": "yes"},
        "of a reviewer": {"reviewer": "bob"},
        "named one by one": {"paths": paths[:96]},
        "of all images": {"everything": True, "offset": middle},
        "of all images, by pair": {"everything": True, "order": "pair"},
    }
    counts: dict[str, dict[str, Any]] = {
        "suspects": {},
        "undecided": {"decided": "no"},
        "a pair": {"given": given, "suggested": suggested},
        "a range of suspicion": {"min_suspicion": 0.5, "max_suspicion": 0.6},
        "by part of the path": {"path_contains": "7_0"},
        "of a reviewer": {"reviewer": "bob"},
    }
    behind = store.candidates.stretch("bench", decided="no").places[-1]

    def stretch(**asked: Any) -> Callable[[int], object]:
        return lambda _: store.candidates.stretch("bench", **{"decided": "no", **asked})

    stretches: dict[str, dict[str, Any]] = {
        "first": {},
        "behind a place": {"after": behind},
        "beginning with an image": {"at": paths[150]},
        **{f"in the order {order}": {"order": order} for order in ORDERS},
        "of part 2 of 3 with an overlap": {"part": (2, 3), "overlap": 0.1},
        "of what nobody has decided": {"nobody": True},
        "of a second look": {"decided": "any", "second_look": "ann", "order": "mixed", "everything": True},
        "of a tag": {"tag": "blurry"},
        "of a selection": {"selection": store.selections.keep("bench", paths, reviewer="ann")},
    }
    store.tags.change("bench", paths[::2], add=["blurry"], reviewer="ann")
    return {
        **{f"24 rows, {name}": stretch(**asked) for name, asked in stretches.items()},
        **{f"96 rows, {name}": page(**filters) for name, filters in pages.items()},
        **{f"count, {name}": count(**filters) for name, filters in counts.items()},
        "one candidate": lambda n: store.candidates.one("bench", paths[n]),
        "evidence": lambda n: store.images.evidence("bench", paths[n]),
        "prediction": lambda n: store.images.prediction("bench", paths[n]),
        "neighbours": lambda n: store.images.neighbours("bench", paths[n]),
        "exemplars": lambda n: store.images.exemplars("bench", CLASSES[n]),
        "pair map": lambda _: store.audits.pair_map("bench", given, suggested),
        "places of 96 images": lambda _: store.images.files("bench", paths[:96]),
        "audits": lambda _: store.audits.all(),
        "classes": lambda _: store.audits.classes("bench"),
        "class pairs": lambda _: store.audits.class_pairs("bench"),
        "class health": lambda _: store.audits.class_health("bench"),
        "kinds": lambda _: store.audits.kinds("bench"),
        "one audit": lambda _: store.audits.one("bench"),
        "review progress": lambda _: store.review.progress("bench"),
        "expected found": lambda _: store.audits.expected_found("bench", 5000),
        "difference to itself": lambda _: store.audits.difference("bench", "bench"),
        "decisions, first 100": lambda _: store.decisions.page(top=100),
        "decisions, conflicts": lambda _: store.decisions.page(conflicts=True, top=100),
        "decisions, count standing": lambda _: store.decisions.count(standing=True),
        "reviewers": lambda _: store.decisions.reviewers(),
        "agreement": lambda _: store.decisions.agreement(),
        "corrected labels, first 20": lambda _: store.review.corrected("bench", top=20),
        "removals": lambda _: store.review.removals("bench"),
        "spot check of 100": lambda _: store.draws.spot_check("bench", 100),
        "drawn pictures that wait": lambda _: store.draws.waiting("bench"),
        "what spot checks say": lambda _: store.draws.checked("bench"),
        "how far until 1 % is left": lambda _: store.draws.until("bench", 0.01),
        "next page until 1 % is left": lambda _: store.draws.next_page("bench", 0.01),
        "tags with counts": lambda _: store.tags.counts("bench"),
        "decide as the page does": lambda n: store.decisions.append_seen(
            "bench", [Sent(str(uuid.uuid4()), paths[n], "keep", force=True)], reviewer="ann"
        ),
        "take the last one back": lambda _: store.decisions.undo_last("bench", "ann", str(uuid.uuid4())),
        "decide": lambda n: store.decisions.append("bench", paths[n], "keep", reviewer="ann"),
        "undo": lambda n: store.decisions.undo("bench", paths[n], reviewer="ann"),
        "decide 96": lambda _: store.decisions.append_many("bench", paths[:96], "keep", reviewer="ann"),
        "undo 96": lambda _: store.decisions.undo_many("bench", paths[:96], reviewer="ann"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--suspects", type=int, default=50_000)
    parser.add_argument("--decisions", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", default="", help="only queries with this in their name")
    parser.add_argument("--keep", type=Path, help="make the database here, or use the one that is here")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="gradattn-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        store = Store(folder)
        print(f"| {options.images:,} images, {options.suspects:,} suspects | p50 | p95 |\n|---|---:|---:|")
        if not store.database.exists():
            store, seconds = populate(folder, options.images, options.suspects, options.decisions)
            print(f"| merge | {1000 * seconds:,.0f} ms | |")
        for name, query in queries(store, options.suspects).items():
            if options.only in name:
                half, most = np.quantile(timed(query, options.repeats), [0.5, 0.95])
                print(f"| {name} | {1000 * half:,.0f} ms | {1000 * most:,.0f} ms |", flush=True)
        print(f"\ndatabase: {store.database.stat().st_size / 2**20:,.0f} MiB, decisions: {store.decisions.count():,}")
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
