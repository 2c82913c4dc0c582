"""What surrounds the forward pass of a sweep: decoding, and shards to and from disk; this tree beside an older one.

    python bench/feeding.py ROOT [ROOT …] --before CHECKOUT
    python bench/feeding.py ROOT --before CHECKOUT --sweep vit_tiny_patch16_224 [--images 256] [--precision bfloat16]

Each side is a process of its own, with one thread, and they take turns; processor time, so that other work on the
machine changes little. With ``--sweep`` a whole sweep is held against its ceiling in the same process: where model
and decoders share their cores, forward passes alone plus decoding alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

_HERE = Path(__file__).resolve().parents[1]
_IMAGES, _WIDTH = 300, 3072
_Measured = Mapping[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", metavar="ROOT", nargs="+", type=Path)
    parser.add_argument("--before", metavar="CHECKOUT", type=Path, required=True)
    parser.add_argument("--sweep", metavar="MODEL", help="with random weights")
    parser.add_argument("--images", type=int, default=256, metavar="N")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return _answer(options)
    sides = {"before": _begin(options.before), "now": _begin(_HERE)}
    questions = ["sweep"] if options.sweep else [*(f"decode {root}" for root in options.datasets), "shards"]
    for question in questions:
        rounds = [{side: _ask(process, question) for side, process in sides.items()} for _ in range(options.rounds)]
        print(f"\n{question}\n\n| what | before | now | now / before, the rounds' median |\n|---|---:|---:|---:|")
        for what in rounds[0]["now"]:
            before = [each["before"].get(what) for each in rounds]
            now = [each["now"][what] for each in rounds]
            ratios = [one / other for one, other in zip(now, before, strict=True) if other]
            print(f"| {what} | {_middle(before)} | {_middle(now)} | {median(ratios):.2f} |" if ratios else
                  f"| {what} | – | {_middle(now)} | – |", flush=True)  # fmt: skip
    for process in sides.values():
        process.communicate()
    return 0


def _middle(values: list[float | None] | list[float]) -> str:
    there = [value for value in values if value is not None]
    return f"{median(there):,.3f}" if there else "–"


def _begin(checkout: Path) -> subprocess.Popen[str]:
    """This file in a process that imports the product from a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *sys.argv[1:], "--side"]
    return subprocess.Popen(
        command, env=environment, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ask(process: subprocess.Popen[str], question: str) -> _Measured:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(question + "\n")
    process.stdin.flush()
    measured: _Measured = json.loads(process.stdout.readline())
    return measured


def _answer(options: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        question, _, rest = line.strip().partition(" ")
        if question == "decode":
            measured = _decoding(Path(rest))
        else:
            measured = _shards() if question == "shards" else _sweeping(options)
        print(json.dumps(measured), flush=True)
    return 0


def _decoding(root: Path) -> _Measured:
    """Milliseconds a picture from a file to the model's pixels, as threads decode and as processes do."""
    import timm

    from gradattn_core.audit.loading import _Pictures
    from gradattn_core.dataset.listing import list_dataset
    from gradattn_core.model.preprocessing import Preprocessing

    files = sorted(file for file in root.glob("*") if file.suffix.lower() in (".jpeg", ".jpg"))
    if files:  # a folder of pictures is no dataset
        from gradattn_core.records import ImageRecord

        images = [ImageRecord(file.name, "", 0) for file in files] * 10
    else:
        listed = list_dataset(str(root)).images
        images = list(listed[:: max(1, len(listed) // _IMAGES)])
    preprocessing = Preprocessing.of(timm.create_model("vit_tiny_patch16_224"))
    ways = {"as threads, ms": _Pictures(str(root), preprocessing)}
    if "unheard" in _Pictures.__init__.__code__.co_varnames:
        ways["as processes, ms"] = _Pictures(str(root), preprocessing, unheard=True)
    else:
        ways["as processes, ms"] = ways["as threads, ms"]
    measured = {}
    for what, pictures in ways.items():
        start = time.process_time()
        for image in images:
            pictures.load(image)
        measured[what] = 1000 * (time.process_time() - start) / len(images)
    return measured


def _shards() -> _Measured:
    """Microseconds an image to write and to read a shard of the width of ViT-S, and its bytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gradattn_core.files import write_parquet

    random = np.random.default_rng(0)
    count = 1024
    # As features are: of few sizes, and smooth from one to the next in no direction.
    scale = np.exp(random.normal(size=_WIDTH))
    features = (random.normal(size=(count, _WIDTH)) * scale).astype(np.float16)
    table = pa.table(
        {
            "path": [f"class {row % 10}/picture {row:06}.jpg" for row in range(count)],
            "content_hash": [random.bytes(16).hex() for _ in range(count)],
            "size": random.integers(5_000, 200_000, count),
            "readout": pa.array(list(features[:, :384].astype(np.float32)), pa.list_(pa.float32())),
            "features": pa.array(list(features), pa.list_(pa.float16())),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shard.parquet"
        written = min(_processor(lambda: write_parquet(file, table)) for _ in range(3))
        read = min(_processor(lambda: pq.read_table(file, page_checksum_verification=True)) for _ in range(3))
        size = file.stat().st_size
    return {
        "write, us an image": 1e6 * written / count,
        "read, us an image": 1e6 * read / count,
        "bytes an image": size / count,
    }


def _sweeping(options: argparse.Namespace) -> _Measured:
    """Of a sweep of shards one after the other, and of what it cannot do without, in milliseconds an image."""
    from dataclasses import replace

    import timm
    import torch
    from safetensors.torch import save_file

    from gradattn_core.audit.loading import audit_model, load_batches
    from gradattn_core.audit.plan import make_plan, survey_dataset
    from gradattn_core.audit.stages import SWEEP
    from gradattn_core.audit.workers import run_stage
    from gradattn_core.config import AuditConfig
    from gradattn_core.model.forward import forward
    from gradattn_core.model.preprocessing import Preprocessing

    with tempfile.TemporaryDirectory() as folder:
        weights, cpu = f"{folder}/weights.safetensors", torch.device("cpu")
        torch.manual_seed(0)
        save_file(timm.create_model(options.sweep, num_classes=10).state_dict(), weights)
        config = AuditConfig(
            str(options.datasets[0]), f"{folder}/out", model=options.sweep, checkpoint=weights, head="probe",
            device="cpu", workers=1, precision=options.precision, shard_size=max(1, options.images // 4),
        )  # fmt: skip
        survey = survey_dataset(config)
        few = survey.listing.images[:: len(survey.listing.images) // options.images][: options.images]
        plan = make_plan(config, replace(survey, listing=replace(survey.listing, images=tuple(few))))
        model = audit_model(config)
        preprocessing = Preprocessing.of(model)
        batches = [batch.pixels for batch in load_batches(plan.root, few[:64], preprocessing, config, cpu)]

        def passes() -> None:
            for pixels in batches:
                forward(model, preprocessing.normalised(pixels), options.precision)

        def decode() -> None:
            for _ in load_batches(plan.root, few, preprocessing, config, cpu):
                pass

        passes()
        first = _processor(passes) / 64
        decoding = _processor(decode) / len(few)
        sweep = _processor(lambda: run_stage(plan, SWEEP, None)) / len(few)
        forward_pass = (first + _processor(passes) / 64) / 2
    return {
        "sweep, ms": 1000 * sweep,
        "forward alone, ms": 1000 * forward_pass,
        "decoding alone, ms": 1000 * decoding,
        "of its ceiling": (forward_pass + decoding) / sweep,
    }


def _processor(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    raise SystemExit(main())
