"""What boxes cost: memory for a large file of COCO's, and decoding of pictures with many boxes.

``python -m bench.detection`` draws both. Each reading runs in a process of its own, whose peak memory is told as a
multiple of the file's size, less that of a process that reads nothing; decoding is processor time of the same boxes cut
from pictures that are kept, over that of decoding each picture for each of its boxes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from gradattn_core.dataset import decoding
from gradattn_core.dataset.boxes import Kept
from gradattn_core.dataset.coco import read_coco
from gradattn_core.dataset.listing import list_dataset

_READINGS = ("nothing", "read_coco", "json.loads")


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=int, default=60_000, help="of the file (COCO's train2017 has 860,001)")
    parser.add_argument("--boxes", type=int, default=8, help="of each picture (COCO's has 7.3)")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(_peak(*options.read))
        return
    with tempfile.TemporaryDirectory() as folder:
        _memory(Path(folder), options.annotations)
        _decoding(Path(folder), options.boxes)


def _memory(folder: Path, annotations: int) -> None:
    rng = np.random.default_rng(0)
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": 640, "height": 480} for n in range(annotations // 7 + 1)]
    boxes = [
        {
            "segmentation": [np.round(rng.uniform(0, 480, 50), 2).tolist()],
            "area": 1234.5,
            "iscrowd": 0,
            "image_id": n // 7,
            "bbox": np.round(rng.uniform(1, 200, 4), 2).tolist(),
            "category_id": n % 80,
            "id": n,
        }
        for n in range(annotations)
    ]
    file = folder / "instances.json"
    categories = [{"id": number, "name": f"class {number}"} for number in range(80)]
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    size = file.stat().st_size
    peaks = {}
    for reading in _READINGS:
        command = [sys.executable, "-m", "bench.detection", "--read", reading, str(file)]
        peaks[reading] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"{size / 1e6:.0f} MB of COCO with {annotations:,} boxes")
    for reading in _READINGS[1:]:
        print(f"  {reading:12} {(peaks[reading] - peaks['nothing']) / size:.1f} times the file's size in memory")


def _peak(reading: str, file: str) -> int:
    """Bytes of memory that this process has had at most."""
    if reading != "nothing":
        data = Path(file).read_bytes()
        assert (read_coco(data) if reading == "read_coco" else json.loads(data)) is not None
    # What getrusage says begins with the peak of the process that has started this one.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def _decoding(folder: Path, boxes: int) -> None:
    rng = np.random.default_rng(0)
    root = folder / "set"
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number in range(60):
        small = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        small.resize((640, 480)).save(root / "val" / f"{number}.jpg", quality=90)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 640, "height": 480})
        for _ in range(boxes):
            left, top = (int(value) for value in rng.integers(0, 300, 2))
            facts = {"id": len(annotations), "image_id": number, "category_id": len(annotations) % 2}
            annotations.append({**facts, "bbox": [left, top, 150, 150]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": n, "name": "ab"[n]} for n in (0, 1)]}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    listing = list_dataset(root)
    seconds: dict[str, float] = {}
    for name in ("kept", "each anew", "kept", "each anew"):
        decoding._whole_pictures = Kept(lambda decoded: decoded.width * decoded.height)
        begun = time.process_time()
        for image in listing.images:
            if name == "each anew":
                decoding._whole_pictures = Kept(lambda decoded: decoded.width * decoded.height)
            decoding.decode_image(decoding.read_bytes(listing.root, image.path), image.path)
        seconds[name] = min(seconds.get(name, np.inf), time.process_time() - begun)
    print(f"{len(listing.images):,} boxes, {boxes} of each of 60 pictures of 640 x 480 pixels")
    print(f"  decoding with pictures kept takes {seconds['kept'] / seconds['each anew']:.2f} of the processor time")


if __name__ == "__main__":
    main()
