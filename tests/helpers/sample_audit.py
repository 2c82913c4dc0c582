"""A made-up audit with everything in it: its tables, and a store that holds it. No model made its predictions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradattn_core.store.store import Store

KINDS = ["mislabel", "two objects", "confusable", "out of place", "duplicate", "nothing to see"]

Tables = dict[str, pd.DataFrame]


def audit_row(audit_id: str = "first", root: str = "/data/birds", **changes: Any) -> dict[str, Any]:
    start = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    row: dict[str, Any] = {
        "audit_id": audit_id,
        "dataset": "birds",
        "root": root,
        "model": "vit_tiny_patch16_224",
        "checkpoint": None,
        "head": "probe",
        "classes": ["kite", "bald eagle", "albatross"],
        "parameters": {"folds": 5, "name": "é"},
        "versions": {"torch": "2.15.0"},
        "fingerprint": "f00d",
        "started_at": start,
        "finished_at": start + timedelta(minutes=5),
        "state": "complete",
        "images": 10,
        "failures": 1,
        "skipped": 2,
        "suspects": 6,
        "estimated_errors": 4.5,
        "estimated_low": 2.5,
        "estimated_high": 7.0,
        "warnings": ["one class is small"],
        "features": "features/first",
    }
    return row | changes


def tables(
    paths: list[str],
    *,
    suspects: int,
    interpreted: int | None = None,
    given: list[str] | None = None,
    exemplars: int = 2,
) -> Tables:
    """An audit with ``paths[0]`` the most suspect; the first ``interpreted`` (default: suspects) have a 2 x 3 map.

    ``exemplars`` of each label are its least suspect images.
    """
    count = len(paths)
    random = np.random.default_rng(count)
    label = given if given is not None else ["kite" if row % 2 == 0 else "albatross" for row in range(count)]
    explained = paths[: suspects if interpreted is None else interpreted]
    number = random.random(count)
    return {
        "images": pd.DataFrame(
            {
                "path": paths,
                "content_hash": [f"hash of {path}" for path in paths],
                "given_label": label,
                "size": 1000 + np.arange(count),
                "width": 640,
                "height": 480,
            }
        ),
        "predictions": pd.DataFrame(
            {
                "path": paths,
                "fold": np.arange(count) % 5,
                "predicted_label": "bald eagle",
                "given_logit": number,
                "predicted_logit": number + 1,
                "given_probability": 0.25,
                "predicted_probability": 0.75,
                "margin": -1.0 - np.arange(count),
                "entropy": 0.5,
                "top_labels": pd.Series([["bald eagle", name] for name in label]),
                "top_probabilities": pd.Series([[0.75, 0.25]] * count),
                "outside_label": pd.Series([None if row % 2 else "tape player" for row in range(count)], dtype=object),
                "outside_probability": pd.Series([None if row % 2 else 0.5 for row in range(count)], dtype=object),
            }
        ),
        "scores": pd.DataFrame(
            {
                "path": paths,
                "rank": np.arange(1, count + 1),
                "suspicion": np.linspace(1, 0, count),
                "is_suspect": np.arange(count) < suspects,
                "suggested_label": ["bald eagle" if row % 3 else "kite" for row in range(count)],
                "suggested_probability": 0.875,
                "given_probability": 0.125,
                "runner_up_label": "osprey",
                "runner_up_probability": 0.0625,
                "class_noise_suspicion": np.linspace(1, 0, count) ** 2,
                "instance_noise_suspicion": np.linspace(1, 0.25, count),
                "outside_suspicion": None,
                "kind": pd.Series([KINDS[row % 6] if row < suspects else None for row in range(count)], dtype=object),
                "kind_numbers": pd.Series(
                    [{"hidden_margin": 0.25, "row": float(row)} if row < suspects else None for row in range(count)],
                    dtype=object,
                ),
                # Two clusters by turns, the first image's is 0.
                "cluster": pd.array([row % 2 if row < suspects else None for row in range(count)], dtype="Int32"),
                "components": pd.Series([{"margin": 0.5, "neighbours": float(row)} for row in range(count)]),
            }
        ),
        "interpretations": _interpretations(explained),
        "regions": pd.DataFrame(
            [
                {
                    "path": path, "sign": sign, "rank": rank, "mass_share": 0.5 / rank, "area_share": 0.25,
                    "peak": 0.75 * sign, "box_left": 10.4 * rank, "box_top": 20.6,
                    "box_right": 100.0, "box_bottom": 120.0,
                    "log_odds": 3.0 * sign / rank, "measured": 1.5 * sign if rank == 1 else None,
                }
                for path in explained
                for sign in (-1, 1)
                for rank in (2, 1)
            ],
        ),
        "class_pairs": pd.DataFrame(
            {
                "given_label": ["albatross", "kite"],
                "suggested_label": "bald eagle",
                "suspects": [2, 4],
                "class_size": [5, 5],
                "share": [0.4, 0.8],
                "mean_suspicion": 0.7,
                "expected": [1.5, 3.5],
                "lift": [0.75, 2.5],
            }
        ),
        "neighbours": _neighbours(paths[:suspects], paths, label),
        "exemplars": _exemplars(paths, label, exemplars),
        "embeddings": pd.DataFrame({"path": paths, "x": number, "y": -number}),
        "failures": pd.DataFrame(
            {"path": ["kite/broken.jpg"], "stage": "decode", "reason": "truncated", "given_label": "kite"}
        ),
    }  # fmt: skip


def _interpretations(paths: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": paths,
            "for_label": "kite",
            "against_label": "bald eagle",
            "for_logit": 1.5,
            "against_logit": 4.0,
            "objective": "difference",
            "correction": "complete",
            "aggregation": "mean",
            "grid_height": 2,
            "grid_width": 3,
            "crop_left": 80.0,
            "crop_top": 0.0,
            "crop_right": 560.0,
            "crop_bottom": 480.0,
            "map": pd.Series([[1.0, -2.0, 3.0, -4.0, 5.0, float(row)] for row in range(len(paths))], dtype=object),
            "concentration": 0.5,
            "overlap": 0.75,
            **{"model_log_odds": -2.5, "log_odds_without_picture": -5.5, "average_log_odds": -1.0, "head": "sample"},
            **{"red_log_odds": 9.0, "blue_log_odds": -6.0, "numbers": "map"},
            # With the evidence for the other class hidden, even rows name the given label and odd ones were not asked.
            "hidden_for_logit": [None if row % 2 else 3.5 for row in range(len(paths))],
            "hidden_against_logit": [None if row % 2 else 0.5 for row in range(len(paths))],
            "hidden_label": pd.Series([None if row % 2 else "kite" for row in range(len(paths))], dtype=object),
            "hidden_probability": [None if row % 2 else 0.625 for row in range(len(paths))],
        }
    )


def _neighbours(suspects: list[str], paths: list[str], label: list[str]) -> pd.DataFrame:
    """Each suspect's neighbours are the images that follow it, up to six."""
    rows = [
        {
            "path": path, "position": position, "neighbour_path": paths[other], "neighbour_label": label[other],
            "similarity": 1 - position / 8,
        }
        for row, path in enumerate(suspects)
        for position, other in enumerate(((row + step) % len(paths) for step in range(1, min(7, len(paths)))), start=1)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["path", "position", "neighbour_path", "neighbour_label", "similarity"])


def _exemplars(paths: list[str], label: list[str], count: int) -> pd.DataFrame:
    surest = {name: [row for row in reversed(range(len(paths))) if label[row] == name] for name in dict.fromkeys(label)}
    rows = [
        {"label": name, "position": position, "path": paths[row], "suspicion": 0.01 * position}
        for name, of_label in surest.items()
        for position, row in enumerate(of_label[:count], start=1)
    ]
    return pd.DataFrame(rows, columns=["label", "position", "path", "suspicion"])


def as_parquet(frames: Tables, folder: Path, shards: int = 2) -> dict[str, list[Path]]:
    """The same tables as shards on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[Path]] = {}
    for name, frame in frames.items():
        for shard, rows in enumerate(np.array_split(np.arange(len(frame)), shards)):
            files.setdefault(name, []).append(folder / f"{name}-{shard}.parquet")
            frame.iloc[rows].to_parquet(files[name][-1])
    return files


PATHS = [f"{'kite' if row % 2 == 0 else 'albatross'}/{row:02d}.jpg" for row in range(10)]


def sample_store(folder: Path, **changes: Any) -> Store:
    """A store with one audit, ``first``, of ten images: six suspects, four of them interpreted."""
    store = Store(folder)
    store.audits.merge(audit_row(**changes), tables(PATHS, suspects=6, interpreted=4))
    return store
