"""Whom bench/faithfulness.py asks, and about which pictures: a model, a class folder, and questions about both.

Pictures are parted for good by the hash of their file: one half is for choosing among methods (``tuning``), the other
for what is published (``report``). A model without a classifier for the folder's classes gets a linear probe on its
pre-logit features, fitted to the pictures of the part that is not asked about.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from timm.models import load_state_dict
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from gradattn_core.attention.readout import patch_grid
from gradattn_core.config import ModelSpec
from gradattn_core.dataset.decoding import read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import ClassAlignmentError
from gradattn_core.files import write_bytes
from gradattn_core.model.backbone import load_model, weights_digest
from gradattn_core.model.classes import align_classes, class_names
from gradattn_core.model.forward import class_logits
from gradattn_core.model.preprocessing import Preprocessing

PARTS = ("tuning", "report")
KINDS = ("rightly called", "wrongly called", "labelled as another class")
_BATCH = 32

Arrays = dict[str, "np.ndarray[Any, Any]"]


def key_of(*facts: object) -> str:
    """A short name for what a result depends on."""
    digest = hashlib.blake2b(digest_size=10)
    for fact in facts:
        digest.update(fact.numpy().tobytes() if isinstance(fact, Tensor) else repr(fact).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def kept(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays of ``path``, or those that ``make`` gives, which lie there from then on."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        arrays: Any = make()
        np.savez_compressed(buffer, **arrays)
        write_bytes(path, buffer.getvalue())
    with np.load(path) as stored:
        return dict(stored)


@dataclass(frozen=True)
class Case:
    """One question: what speaks for ``target`` and what for ``against`` in a picture.

    Attributes:
        name: of the picture.
        kind: why it was chosen.
        image: [channels, H, W], preprocessed.
        target, against: outputs of the model.
    """

    name: str
    kind: str
    image: Tensor
    target: int
    against: int


@dataclass(frozen=True)
class Batch:
    """Several cases as methods take them: ``images`` [B, channels, H, W], ``target`` and ``against`` [B]."""

    images: Tensor
    target: Tensor
    against: Tensor

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Batch:
        target, against = (torch.tensor([getattr(case, name) for case in cases]) for name in ("target", "against"))
        return cls(torch.stack([case.image for case in cases]), target, against)

    def split(self, size: int) -> list[Batch]:
        parts = (values.split(size) for values in (self.images, self.target, self.against))
        return [Batch(*part) for part in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and the pictures of one part of a folder; only itself is equal to it.

    Attributes:
        model: in evaluation mode, with a classifier.
        digest: of its weights.
        work: where results lie.
        names: of the pictures, [pictures], relative to ``root``.
        labels: the right output of each, as far as is known.
        logits: [pictures, K], what the model says.
        classes: the outputs that are classes of the folder.
    """

    model: nn.Module
    digest: str
    work: Path
    root: Path
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float64]
    classes: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, int]:
        size = Preprocessing.of(self.model).input_size
        return patch_grid(self.model, torch.zeros(1, *size))

    def pixels(self, index: int) -> Tensor:
        """[channels, H, W] of a picture."""
        return Preprocessing.of(self.model)(read_image(self.root / self.names[index]).image)

    def cases(self, count: int, seed: int = 0) -> list[Case]:
        """``count`` questions, the three kinds in turn, so that fewer are the first of more."""
        chance = random.Random(seed)
        order = self._order(seed)
        said = self.logits.argmax(1)
        right, wrong = ([i for i in order if (said[i] == self.labels[i]) is np.bool_(x)] for x in (True, False))
        pools: list[list[Case]] = [[], [], []]
        for place, i in enumerate(right[: 2 * count]):
            label, best = int(self.labels[i]), int(said[i])
            if place % 2 == 0:
                pools[0].append(self._case(i, KINDS[0], label, int(self.logits[i].argsort()[-2])))
            else:
                foreign = chance.choice([output for output in self.classes if output != label])
                pools[2].append(self._case(i, KINDS[2], foreign, best))
        pools[1] = [self._case(i, KINDS[1], int(self.labels[i]), int(said[i])) for i in wrong[:count]]
        turns = itertools.chain.from_iterable(itertools.zip_longest(*pools))
        return [case for case in turns if case is not None][:count]

    def labelled(self, count: int, seed: int = 0, start: int = 0) -> list[Case]:
        """Pictures ``start`` to ``count``, evenly from all classes, their label against the strongest other class."""
        cases = []
        for i in self._order(seed)[start:count]:
            others = self.logits[i].copy()
            others[self.labels[i]] = -np.inf
            cases.append(self._case(i, "any", int(self.labels[i]), int(others.argmax())))
        return cases

    def pairs(self, count: int, seed: int = 0, start: int = 0) -> list[tuple[Case, Case]]:
        """Pairs ``start`` to ``count`` of rightly called pictures of two classes; of any, where only one class is."""
        chance = random.Random(seed)
        order = self._order(seed)
        right = [i for i in order if self.logits[i].argmax() == self.labels[i]]
        if len({int(self.labels[i]) for i in right}) < 2:
            right = order
        drawn: list[list[int]] = []
        while len(drawn) < count:
            both = chance.sample(right, 2)
            if self.labels[both[0]] != self.labels[both[1]]:
                drawn.append(both)
        found: list[tuple[Case, Case]] = []
        for a, b in drawn[start:]:
            first, second = int(self.labels[a]), int(self.labels[b])
            found.append((self._case(a, "first", first, second), self._case(b, "second", second, first)))
        return found

    def _case(self, index: int, kind: str, target: int, against: int) -> Case:
        return Case(self.names[index], kind, self.pixels(index), target, against)

    def _order(self, seed: int) -> list[int]:
        """All pictures in random order, the classes in turn."""
        by_class: dict[int, list[int]] = defaultdict(list)
        for i, label in enumerate(self.labels):
            by_class[int(label)].append(i)
        chance = random.Random(seed)
        for label in sorted(by_class):
            chance.shuffle(by_class[label])
        turns = itertools.zip_longest(*(by_class[label] for label in sorted(by_class)))
        return [i for group in turns for i in group if i is not None]


def part_of(file: Path) -> str:
    """Which of the two parts a picture belongs to, whatever else is in its folder."""
    return PARTS[hashlib.sha256(file.read_bytes()).digest()[0] % 2]


def open_subject(
    root: Path,
    spec: ModelSpec,
    work: Path,
    part: str,
    *,
    truth: Path | None = None,
    blocks: int | None = None,
    pool: int | None = None,
) -> Subject:
    """Load a model, part a folder, and ask the model about every picture of the part.

    Args:
        root: a class folder.
        truth: a CSV file (path, true_label) where some of its labels are wrong.
        blocks: cut the model after so many blocks.
        pool: look at so many pictures of each part, drawn by a fixed seed; at all where ``None``.
    """
    model: Any = _loaded(spec)
    if blocks is not None:
        model.blocks = model.blocks[:blocks]
    records = list_dataset(str(root)).images
    labels = {record.path: record.label for record in records}
    if truth is not None:
        with truth.open() as file:
            labels |= {row["path"]: row["true_label"] for row in csv.DictReader(file)}
    classes = sorted(set(labels.values()))
    parts = {name: [record.path for record in records if part_of(root / record.path) == name] for name in PARTS}
    if pool is not None:
        parts = {name: sorted(random.Random(0).sample(paths, min(pool, len(paths)))) for name, paths in parts.items()}
    try:
        outputs = align_classes(classes, int(model.num_classes), class_names(model)).indices
    except ClassAlignmentError:
        outputs = tuple(range(len(classes)))
        [other] = [name for name in PARTS if name != part]
        _give_probe(model, root, parts[other], [classes.index(labels[path]) for path in parts[other]], work)
    digest = weights_digest(model)
    names = parts[part]
    answers = kept(
        work / f"answers-{key_of(digest, names)}.npz",
        lambda: {"logits": _asked(model, root, names, f"answers, {part}").numpy()},
    )
    right = np.array([outputs[classes.index(labels[name])] for name in names])
    return Subject(model, digest, work, root, tuple(names), right, answers["logits"].astype(np.float64), outputs)


def _loaded(spec: ModelSpec) -> nn.Module:
    """The model, its position embedding resampled where the checkpoint is of another size of picture."""
    if spec.file is None or "img_size" not in spec.arguments:
        return load_model(spec)
    arguments: Any = dict(spec.arguments)
    model: Any = timm.create_model(spec.name, **arguments)
    model.load_state_dict(checkpoint_filter_fn(load_state_dict(str(spec.file), weights_only=True), model))
    frozen: nn.Module = model.float().eval().requires_grad_(False)
    return frozen


def _give_probe(model: Any, root: Path, names: list[str], labels: list[int], work: Path) -> None:
    """A linear head on the pre-logit features, as the model's own classifier from now on."""
    path = work / f"probe-{key_of(weights_digest(model), len(model.blocks), names, labels)}.npz"

    def fitted() -> Arrays:
        model.reset_classifier(0)
        features = _asked(model, root, names, "features of the other part").double().numpy()
        mean, spread = features.mean(0), features.std(0) + 1e-9
        probe = LogisticRegression(C=0.01, max_iter=2000).fit((features - mean) / spread, labels)
        weight = probe.coef_ / spread
        return {"weight": weight, "bias": probe.intercept_ - weight @ mean}

    arrays = kept(path, fitted)
    model.reset_classifier(len(arrays["bias"]))
    model.head.weight.data = torch.from_numpy(arrays["weight"]).float()
    model.head.bias.data = torch.from_numpy(arrays["bias"]).float()
    model.eval().requires_grad_(False)


def _asked(model: nn.Module, root: Path, names: Sequence[str], what: str) -> Tensor:
    """[pictures, K] logits, or features of a model without a classifier."""
    preprocessing = Preprocessing.of(model)
    answers = []
    starts = range(0, len(names), _BATCH)
    with torch.inference_mode():
        for start in track(starts, what):
            images = torch.stack([preprocessing(read_image(root / name).image) for name in names[start:][:_BATCH]])
            answers.append(class_logits(model, images).float())
    return torch.cat(answers)
