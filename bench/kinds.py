"""How well the kinds of doubt are told: plants suspects of known kind among the images of a class folder and audits it.

    python bench/kinds.py ROOT [--truth FILE] [--foreign FOLDER] [--model M --checkpoint FILE] [--head as-is]
        [--correction secant complete]

Planted, N of each: *mislabel*, a picture moved to another class; *two objects*, two pictures of two classes beside each
other or one above the other, the label naming one; *duplicate*, a picture once more under another label, scaled and
recompressed; *nothing to see*, flat colours, gradients and pictures blurred beyond recognition; *out of place*, some of
FOLDER. Printed are the kind that was told of each planted kind, and how well single numbers part two objects from
moved pictures (area under the ROC curve), for several ways to hide patches where the head is the model's own. With
several corrections the same pictures are audited once with each; another ``--seed`` plants others.

ROOT's labels count as right unless FILE (path, true_label) says otherwise. Nothing is tuned here.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.decoding import read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.interpret.hiding import hidden_patches, hide
from gradattn_core.kinds import KINDS
from gradattn_core.methods import SIGNED_CORRECTIONS
from gradattn_core.model.backbone import load_model
from gradattn_core.model.classes import align_classes, class_names
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.store.store import Store

SIDE = 320


def plant(
    folder: Path, by_class: dict[str, list[Path]], foreign: list[Path], count: int, keep: int, seed: int = 0
) -> dict[str, str]:
    """Write the dataset to ``folder``; returns the planted kind by path."""
    chance = random.Random(seed)
    classes = sorted(by_class)
    planted: dict[str, str] = {}
    pools = {name: chance.sample(files, len(files)) for name, files in by_class.items()}
    for name in classes:
        (folder / name).mkdir(parents=True)

    def save(picture: Image.Image, label: str, name: str, kind: str | None = None, quality: int = 95) -> None:
        picture.save(folder / label / f"{name}.jpg", quality=quality)
        if kind is not None:
            planted[f"{label}/{name}.jpg"] = kind

    def take(label: str) -> Image.Image:
        pool = pools[label]
        if not pool:
            raise SystemExit(f"class {label} has too few pictures; give a smaller --planted or --images")
        return opened(pool.pop())

    for row in range(count):
        given, other = chance.sample(classes, 2)
        save(take(other), given, f"moved {row}", "mislabel")
        save(stitched(take(given), take(other), chance), given, f"two {row}", "two objects")
        twin = take(other)
        save(twin, other, f"original {row}")
        smaller = twin.resize((max(8, twin.width * 4 // 5), max(8, twin.height * 4 // 5)))
        save(smaller, given, f"copy {row}", "duplicate", quality=60)
        save(empty(row, take(other), chance), given, f"empty {row}", "nothing to see")
        if row < len(foreign):
            save(opened(foreign[row]), given, f"foreign {row}", "out of place")
    for label in classes:
        for row in range(min(keep, len(pools[label]))):
            save(take(label), label, f"kept {row}")
    return planted


def opened(path: Path) -> Image.Image:
    return read_image(path).image


def stitched(first: Image.Image, second: Image.Image, chance: random.Random) -> Image.Image:
    """The middles of two pictures, each filling one half, in random order and direction."""
    halves = [first, second]
    chance.shuffle(halves)
    beside = chance.random() < 0.5
    size = (SIDE // 2, SIDE) if beside else (SIDE, SIDE // 2)
    result = Image.new("RGB", (SIDE, SIDE))
    for place, picture in enumerate(halves):
        scale = max(size[0] / picture.width, size[1] / picture.height)
        grown = picture.resize(
            (max(size[0], round(picture.width * scale)), max(size[1], round(picture.height * scale)))
        )
        left, top = (grown.width - size[0]) // 2, (grown.height - size[1]) // 2
        middle = grown.crop((left, top, left + size[0], top + size[1]))
        result.paste(middle, (place * size[0], 0) if beside else (0, place * size[1]))
    return result


def empty(row: int, picture: Image.Image, chance: random.Random) -> Image.Image:
    """A flat colour, a gradient, or a picture blurred until nothing can be told."""
    if row % 3 == 0:
        return Image.new("RGB", (SIDE, SIDE), tuple(chance.randrange(256) for _ in range(3)))
    if row % 3 == 1:
        ramp = np.linspace(chance.random(), chance.random(), SIDE)[None, :, None] * np.ones((SIDE, 1, 3)) * 255
        return Image.fromarray(ramp.astype(np.uint8))
    return picture.resize((SIDE, SIDE)).filter(ImageFilter.GaussianBlur(SIDE / 8))


def constant(images: Tensor, hidden: Tensor) -> Tensor:
    """Hidden patches become 0, the mean of what the model was trained on."""
    return images * ~_over(images, hidden)


def blurred(images: Tensor, hidden: Tensor) -> Tensor:
    """Hidden patches become a blur of the whole picture, themselves included."""
    soft = gaussian_blur(images, [65, 65], [16.0, 16.0])
    return torch.where(_over(images, hidden), soft, images)


def _over(images: Tensor, hidden: Tensor) -> Tensor:
    grown: Tensor = functional.interpolate(hidden[:, None].float(), size=images.shape[-2:], mode="nearest")
    return grown > 0


Way = Callable[[Tensor, Tensor], Tensor]
DROPPED = "tokens dropped"
WAYS: dict[str, Way | None] = {
    "painted from the surroundings": hide,
    "the training mean": constant,
    "blurred": blurred,
    DROPPED: None,
}


def answers(model: torch.nn.Module, images: Tensor, hidden: Tensor, way: Way | None) -> Tensor:
    """Logits [1, K] of one picture [1, C, H, W] with its ``hidden`` patches painted over, or (None) left out."""
    with torch.inference_mode():
        if way is not None:
            return model(way(images, hidden))  # type: ignore[no-any-return]
        prefix = int(model.num_prefix_tokens)  # type: ignore[arg-type]
        seen = torch.cat([torch.ones(prefix, dtype=torch.bool), ~hidden.flatten()])
        handle = model.patch_drop.register_forward_hook(lambda _module, _inputs, tokens: tokens[:, seen])  # type: ignore[union-attr]
        try:
            return model(images)  # type: ignore[no-any-return]
        finally:
            handle.remove()


def ways_to_hide(store: Store, audit_id: str, config: AuditConfig, told: pd.DataFrame) -> pd.DataFrame:
    """z_given − z_other of each row of ``told`` for each way and share to hide; as-is heads only."""
    model = load_model(config.spec, device=torch.device("cpu"))
    preprocessing = Preprocessing.of(model)
    classes = store.audits.classes(audit_id)
    output = dict(
        zip(classes, align_classes(classes, model.num_classes, class_names(model), None).indices, strict=True)  # type: ignore[arg-type]
    )
    rows = []
    for path in told["path"]:
        evidence = store.images.evidence(audit_id, path)
        assert evidence is not None
        image = preprocessing(opened(store.images.file(audit_id, path)))[None]
        row: dict[str, float] = {}
        for share in (0.2, 0.4, 0.6):
            hidden = hidden_patches(torch.from_numpy(evidence.scores.copy())[None], share)
            for name, way in WAYS.items():
                if way is not None or hasattr(model, "patch_drop"):
                    logits = answers(model, image, hidden, way)[0]
                    margin = logits[output[evidence.for_label]] - logits[output[evidence.against_label]]
                    row[f"hidden {share:.0%}, {name}"] = float(margin)
        rows.append(row)
    return pd.DataFrame(rows, index=told.index)


def facts(store: Store, audit_id: str, planted: dict[str, str]) -> pd.DataFrame:
    """One row per suspect: what was planted, what was told, and the numbers of its map."""
    frame = store.candidates.page(audit_id)
    frame["planted"] = frame["path"].map(planted).fillna("nothing")
    found = {path: store.images.evidence(audit_id, path) for path in frame["path"]}
    frame["1 - overlap"] = [
        np.nan if evidence is None else 1 - evidence.statistics.overlap for evidence in found.values()
    ]
    frame["balance"] = [
        np.nan if evidence is None else evidence.scores.sum() / np.abs(evidence.scores).sum()
        for evidence in found.values()
    ]
    asked = [None if evidence is None else evidence.hidden for evidence in found.values()]
    frame["hidden and asked again"] = [
        np.nan if answer is None else answer.for_logit - answer.against_logit for answer in asked
    ]
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--foreign", type=Path)
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--checkpoint")
    parser.add_argument("--head", default="auto")
    parser.add_argument("--planted", type=int, default=150)
    parser.add_argument("--images", type=int, default=60, help="per class, left as they are")
    parser.add_argument("--correction", nargs="+", choices=SIGNED_CORRECTIONS, default=[SIGNED_CORRECTIONS[0]])
    parser.add_argument("--seed", type=int, default=0, help="of what is planted")
    options = parser.parse_args()
    by_class = labelled(options.root, options.truth)
    foreign = sorted(options.foreign.rglob("*.*")) if options.foreign else []
    random.Random(1).shuffle(foreign)
    with tempfile.TemporaryDirectory(prefix="gradattn-kinds-") as folder:
        few = foreign[: options.planted // 3]
        planted = plant(Path(folder) / "pictures", by_class, few, options.planted, options.images, options.seed)
        for correction in options.correction:
            config = AuditConfig(
                dataset=f"{folder}/pictures", out=f"{folder}/out", model=options.model,
                checkpoint=options.checkpoint, head=options.head, correction=correction,
            )  # fmt: skip
            audit_images(config)
            print(f"\n{correction}: ", end="")
            measure(Store(f"{folder}/out", read_only=True), config, planted)


def labelled(root: Path, truth: Path | None) -> dict[str, list[Path]]:
    """The pictures of every class."""
    labels = {image.path: image.label for image in list_dataset(str(root)).images}
    if truth is not None:
        labels |= {row["path"]: row["true_label"] for row in csv.DictReader(truth.open())}
    by_class: dict[str, list[Path]] = {}
    for path, label in labels.items():
        by_class.setdefault(label, []).append(root / path)
    return by_class


def measure(store: Store, config: AuditConfig, planted: dict[str, str]) -> None:
    """Print the two tables."""
    audit = store.audits.one(store.audits.latest_id())
    audit_id, head = audit.audit_id, audit.head
    told = facts(store, audit_id, planted)
    report(told, planted, audit.images, head)
    two = told[told["planted"].isin(["mislabel", "two objects"]) & told["hidden and asked again"].notna()]
    cues = two[["hidden and asked again", "margin", "1 - overlap", "balance"]]
    if head == "as-is":
        cues = cues.join(ways_to_hide(store, audit_id, config, two))
    both = two["planted"] == "two objects"
    print(f"\n| {both.sum()} of two objects against {(~both).sum()} moved | AUROC |\n|---|---:|")
    for name in cues:
        print(f"| {name} | {roc_auc_score(both, cues[name]):.3f} |")


def report(told: pd.DataFrame, planted: dict[str, str], images: int, head: str) -> None:
    """Planted kinds down, told kinds across."""
    print(f"{images} images, {len(told)} suspects, head {head}\n")
    names = ["planted", "images", "suspects", *KINDS]
    print("| " + " | ".join(names) + " |\n|---|" + "---:|" * (len(names) - 1))
    for kind in (*KINDS, "nothing"):
        mine = told[told["planted"] == kind]
        count = images - len(planted) if kind == "nothing" else sum(value == kind for value in planted.values())
        cells = [f"{(mine['kind'] == other).sum()}" for other in KINDS]
        print(f"| {kind} | {count} | {len(mine)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
