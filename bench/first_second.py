"""How long a user waits before anything happens: the help, a summary, and an audit until its first batch is swept.

    python -m bench.first_second [--out OUT] [--before CHECKOUT]

OUT is the folder of a finished audit; without one of 24 generated pictures. Processor time of the process, which is the
wall time of an idle machine but for its disk, and wall time as it was. The audit is of a small untrained model, whose
weights take no time to read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

_HERE = Path(__file__).resolve().parents[1]
_GOALS: Mapping[str, float] = {"gradattn --help": 0.3, "gradattn summary": 1.0, "gradattn audit, first sweep": 6.0}
_MODEL = "vit_tiny_patch16_224"


@dataclass(frozen=True, slots=True)
class _Spent:
    processor: float
    wall: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="OUT", type=Path)
    parser.add_argument("--before", metavar="CHECKOUT", type=Path)
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    options = parser.parse_args()
    sides = {"now": _HERE} if options.before is None else {"before": options.before, "now": _HERE}
    print("| what | goal, s | side | processor, s | wall, s |\n|---|---:|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        command = _audit(Path(folder))
        if options.out is None:
            subprocess.run([*_gradattn(), *command, "--out", f"{folder}/made"], env=_environment(_HERE), check=True)
        out = str(options.out or f"{folder}/made")
        for what, goal in _GOALS.items():
            spent: dict[str, list[_Spent]] = {side: [] for side in sides}
            for _ in range(options.repeats):
                for side, checkout in sides.items():
                    spent[side].append(_timed(what, checkout, command, out))
            for side, times in spent.items():
                least = min(times, key=lambda each: each.processor)
                print(f"| `{what}` | {goal} | {side} | {least.processor:.2f} | {least.wall:.2f} |", flush=True)
    return 0


def _audit(folder: Path) -> list[str]:
    """The arguments of an audit of a few pictures."""
    random = np.random.default_rng(0)
    for number in range(24):
        file = folder / "photos" / f"class {number % 3}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (224, 224, 3), np.uint8)).save(file)
    torch.manual_seed(0)
    weights = folder / "weights.safetensors"
    save_file(timm.create_model(_MODEL, num_classes=3).state_dict(), weights)
    photos = str(folder / "photos")
    return ["audit", photos, "--model", _MODEL, "--checkpoint", str(weights), "--log-format", "json"]


def _timed(what: str, checkout: Path, audit: list[str], out: str) -> _Spent:
    if what == "gradattn --help":
        return _run(["--help"], checkout)
    if what == "gradattn summary":
        return _run(["summary", "--out", out], checkout)
    with tempfile.TemporaryDirectory() as empty:
        return _until_swept([*audit, "--out", empty], checkout)


def _run(arguments: list[str], checkout: Path) -> _Spent:
    before, start = os.times(), time.perf_counter()
    command = [*_gradattn(), *arguments]
    subprocess.run(command, env=_environment(checkout), cwd=checkout, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return _Spent(processor, time.perf_counter() - start)


def _until_swept(arguments: list[str], checkout: Path) -> _Spent:
    """Until the audit says that its first batch is swept; it is ended then."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [*_gradattn(), *arguments], env=_environment(checkout), cwd=checkout,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("{") and json.loads(line).get("step") == "sweep":
                return _Spent(_processor(process.pid), time.perf_counter() - start)
        raise RuntimeError("the audit ended before it had swept anything")
    finally:
        process.kill()
        process.communicate()


def _processor(pid: int) -> float:
    """Seconds that a process has computed for so far, on Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _gradattn() -> list[str]:
    return [sys.executable, "-m", "gradattn_core"]


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


if __name__ == "__main__":
    raise SystemExit(main())
