"""The parts of bench/faithfulness.py: one method in, a number per picture out, everything kept in files.

Every part is a function of a :class:`Run` and a method's name. It returns a dictionary of arrays, one entry per
picture or pair; what is nan could not be measured there.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import gradattn_core
from bench import creatures
from bench.subject import Arrays, Batch, Case, Subject, kept, key_of
from bench.truth import RECTANGLES, measured
from gradattn_core.evaluate import agreement
from gradattn_core.evaluate.coalitions import blocks, correlation, rectangles, shapley, split_half, sums_over
from gradattn_core.evaluate.composites import LAYOUTS, composite
from gradattn_core.evaluate.replacing import log_odds_without
from gradattn_core.model.backbone import weights_digest
from gradattn_core.peers.registry import PEERS, peer_maps

CEILINGS = {"measured: patches left out": "patch", "measured: Shapley": "shapley"}
"""Maps that are measurements: what leaving out a patch changes, and the Shapley value of its block, spread evenly."""
MODELS = ((0, False), (1, False), (2, False), (0, True), (1, True))
"""Seed of each localisation model, and whether it learnt from noisy labels."""
SOME = 10
"""Methods of more passes than this are asked about a quarter of the pictures."""
_ROOMS = ("attention", "interpret", "model", "peers")


@dataclass(frozen=True)
class Run:
    """What one run of the protocol asks.

    Attributes:
        subject: the model and its pictures.
        pictures, pairs: of part (a), and how many pairs of sets each Shapley value is made of.
        curves, composites, creatures: pictures of parts (b), (c) and (d), the last of each model.
        steps: of a curve of part (b), from nothing masked to everything.
        models: how many of :data:`MODELS`.
        seed: of everything that is drawn.
        truths: which truths part (a) measures.
        many: methods of more passes than this are asked about ``few`` pictures, as all are in part (e).
        code: digest of the source that makes maps: another one makes all maps anew.
    """

    subject: Subject
    pictures: int
    pairs: int
    curves: int
    steps: int
    composites: int
    creatures: int
    models: int
    seed: int
    truths: tuple[str, ...]
    many: int
    few: int
    code: str

    @property
    def work(self) -> Path:
        return self.subject.work

    def count(self, name: str, most: int) -> int:
        """How many of ``most`` pictures a method is asked about."""
        passes = PEERS[name].passes if name in PEERS else 0
        if passes > self.many:
            return min(most, self.few)
        return min(most, max(self.few, most // 4)) if passes > SOME else most


def code_digest() -> str:
    """Of the source that makes maps."""
    digest = hashlib.blake2b(digest_size=8)
    root = Path(gradattn_core.__file__).parent
    for file in sorted(file for room in _ROOMS for file in (root / room).rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def maps_of(
    run: Run, name: str, model: nn.Module, batch: Batch, against: bool = True, work: Path | None = None
) -> NDArray[np.float64]:
    """[B, rows, columns] of a method of the registry; those that were made before are read."""
    path = (
        (work or run.work)
        / "maps"
        / f"{name}-{key_of(run.code, weights_digest(model), *vars(batch).values(), against)}.npz"
    )

    def made() -> Arrays:
        begun, parts = time.process_time(), []
        for part in batch.split(8):
            other = part.against if against else None
            parts.append(peer_maps(name, model, part.images, part.target, other, seed=run.seed).cpu())
        return {"maps": torch.cat(parts).numpy(), "seconds": np.array(time.process_time() - begun)}

    return kept(path, made)["maps"].astype(np.float64)


def result_of(run: Run, part: str, name: str, facts: Sequence[object], make: Callable[[], Arrays]) -> Arrays:
    """A part's result for a method, kept under what it depends on."""
    return kept(run.work / part / f"{name.replace(' ', '_')}-{key_of(run.code, name, run.seed, *facts)}.npz", make)


# (a) measured truth on photographs


def truths(run: Run, cases: Sequence[Case]) -> list[Arrays]:
    subject = run.subject
    return [
        measured(subject.model, subject.digest, case, subject.grid, run.pairs, run.work, run.truths) for case in cases
    ]


def photographs(run: Run, name: str) -> Arrays:
    """How a method's maps agree with what was measured, one entry a picture."""
    cases = run.subject.cases(run.pictures, run.seed)[: run.count(name, run.pictures)]
    found = truths(run, cases)
    if name in CEILINGS:
        if any(CEILINGS[name] not in truth for truth in found):
            raise LookupError(f"{name}: was not measured")
        maps = np.stack([_measured_map(truth, CEILINGS[name], run.subject.grid) for truth in found])
    else:
        maps = maps_of(run, name, run.subject.model, Batch.of(cases))
    facts = (maps.tobytes(), [sorted(truth) for truth in found], run.pairs)

    def made() -> Arrays:
        rows = [_agreements(run, case, scores, truth) for case, scores, truth in zip(cases, maps, found, strict=True)]
        names = {key for row in rows for key in row}
        nothing = np.full(next(iter(len(r["predicted"]) for r in rows)), np.nan)
        return {
            key: np.array([row.get(key, nothing if key in ("predicted", "effect") else np.nan) for row in rows])
            for key in sorted(names)
        }

    return result_of(run, "photographs", name, facts, made)


def _measured_map(truth: Arrays, kind: str, grid: tuple[int, int]) -> NDArray[np.float64]:
    if kind == "patch":
        return truth["patch"].reshape(grid)
    parts = blocks(*grid).numpy().astype(np.float64)
    spread: NDArray[np.float64] = np.tensordot(truth[kind] / parts.sum((1, 2)), parts, 1)
    return spread


def _agreements(run: Run, case: Case, scores: NDArray[np.float64], truth: Arrays) -> dict[str, Any]:
    rows, columns = run.subject.grid
    parts, regions = blocks(rows, columns).numpy(), rectangles(rows, columns, RECTANGLES).numpy()
    whole, nothing = truth["whole"][:2]
    by_block, by_region = sums_over(scores, parts), sums_over(scores, regions)
    row: dict[str, Any] = {"f": whole - nothing, "sum": scores.sum(), "predicted": by_region}
    row["majority"] = float((scores.sum() > 0) == (whole > nothing))
    if "shapley" in truth:
        row["shapley"] = correlation(by_block, truth["shapley"])
        row["reliability"] = split_half(*truth["shapley halves"])
    for kind, mine in (("patch", scores.ravel()), ("block", by_block), ("rectangle", by_region)):
        for name, values in truth.items():
            if name.split()[0] == kind:
                row[name] = correlation(mine, values)
    row["effect"] = truth.get("rectangle drop", np.full(len(regions), np.nan))
    for sign, mask in agreement.strongest(scores.astype(np.float32)).items():
        hidden = torch.from_numpy(mask)[None]
        for way in ("drop", "inpaint"):
            left = log_odds_without(run.subject.model, case.image, hidden, case.target, case.against, replace=way)
            row[f"sign {sign:+d} {way}"] = float(sign * (whole - float(left[0])) > 0)
    return row


# (c) pictures made of two


def of_two(run: Run, name: str) -> Arrays:
    """How a method parts pictures made of two classes, one entry a picture."""
    subject = run.subject
    made_of: list[tuple[Case, Tensor]] = []
    for number, (first, second) in enumerate(subject.pairs(run.count(name, run.composites), run.seed)):
        image, own = composite(first.image, second.image, LAYOUTS[number % len(LAYOUTS)], subject.grid)
        made_of.append((Case(first.name, "of two", image, first.target, second.target), own))
    halves = np.array([_halves(run, case, own) for case, own in made_of])
    cases = [case for case, _ in made_of]
    maps = maps_of(run, name, subject.model, Batch.of(cases))
    scored = [agreement.sides(scores, own.numpy()) for scores, (_, own) in zip(maps, made_of, strict=True)]
    return {
        "share": np.array([score.share for score in scored]),
        "auroc": np.array([score.auroc for score in scored]),
        "sums": np.array([score.sums for score in scored]),
        "halves": halves,
    }


def _halves(run: Run, case: Case, own: Tensor) -> NDArray[np.float64]:
    """What the target's and the other side are worth, measured, [2]."""

    def made() -> Arrays:
        masked = torch.stack((torch.zeros_like(own), torch.ones_like(own), ~own, own))
        answers = log_odds_without(run.subject.model, case.image, masked, case.target, case.against)
        return {"halves": np.array(agreement.half_values(*answers.tolist()))}

    path = run.work / "halves" / f"{key_of(run.subject.digest, case.image, case.target, case.against, own)}.npz"
    return kept(path, made)["halves"]


# (d) the part that counts


def in_place(run: Run, name: str, which: int) -> Arrays:
    """How a method finds the one part in which two classes differ, one entry a picture of one small model.

    Every other picture is asked about the other way round, sibling against label: there the part speaks against the
    target, and a map without blue cannot be right.
    """
    seed, noisy = MODELS[which]
    # Creatures do not depend on the photographs' model, and their results are shared by all of them.
    work = run.work.parent
    model = creatures.model(seed, noisy, work)
    drawn = creatures.draw(run.creatures, 3000 + seed)
    batch = Batch(drawn.images, drawn.labels, drawn.labels ^ 1)
    digest = weights_digest(model)
    found = [_creature_truth(model, digest, batch, i, work) for i in range(run.count(name, run.creatures))]
    turned = np.where(np.arange(len(found)) % 2, -1, 1)
    labels, siblings = batch.target[: len(found)], batch.against[: len(found)]
    is_turned = torch.from_numpy(turned < 0)
    few = Batch(
        batch.images[: len(found)],
        torch.where(is_turned, siblings, labels),
        torch.where(is_turned, labels, siblings),
    )
    if name in CEILINGS:
        ceiling = [sign * truth[CEILINGS[name]] for sign, truth in zip(turned, found, strict=True)]
        maps = np.stack(ceiling).reshape(-1, *drawn.key.shape[1:])
    else:
        maps = maps_of(run, name, model, few, work=work)
    rows = []
    for i, (scores, truth, sign) in enumerate(zip(maps, found, turned, strict=True)):
        place = agreement.localisation(scores, drawn.key[i], drawn.distractors[i], int(sign))
        whole, nothing = truth["whole"]
        rows.append(
            {
                **{field: getattr(place, field) for field in place.__dataclass_fields__},
                "shapley": sign * correlation(scores.ravel(), truth["shapley"]),
                "reliability": split_half(*truth["halves"]),
                "patch": sign * correlation(scores.ravel(), truth["patch"]),
                "gap": abs(scores.sum() - sign * (whole - nothing)),
            }
        )
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def _creature_truth(model: nn.Module, digest: str, batch: Batch, index: int, work: Path) -> Arrays:
    """Leaving out each patch of a creature, and the Shapley values of its patches."""
    image, target, against = batch.images[index], int(batch.target[index]), int(batch.against[index])

    def worth(seen: NDArray[np.bool_]) -> NDArray[np.float64]:
        side = creatures.SIDE // creatures.PATCH
        absent = torch.from_numpy(~seen).view(-1, side, side)
        return log_odds_without(model, image, absent, target, against, batch_size=128).double().numpy()

    def made() -> Arrays:
        count = (creatures.SIDE // creatures.PATCH) ** 2
        whole = worth(np.stack((np.ones(count, bool), np.zeros(count, bool))))
        values = shapley(worth, count, 500)
        patch = whole[0] - worth(~np.eye(count, dtype=bool))
        return {"whole": whole, "patch": patch, "shapley": values.values, "halves": values.halves}

    return kept(work / "creatures" / f"truth-{key_of(digest, image, target, against)}.npz", made)


# (e) sanity


def sane(run: Run, name: str) -> Arrays:
    """What should change a map and what should not: correlations with the map before, one entry a picture."""
    few = run.few if run.count(name, 4 * run.few) > run.few else max(1, run.few // 4)
    cases = run.subject.cases(run.few, run.seed)[:few]
    batch, model = Batch.of(cases), run.subject.model
    before = maps_of(run, name, model, batch)
    found: Arrays = {}
    for what, rewrite in REWRITES.items():
        after = maps_of(run, name, rewrite(model, run.seed), batch)
        found[what] = _correlations(before, after)
        found[f"{what}, turned"] = ((before * after) < 0).mean((1, 2))
    noise = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(run.seed)) * 0.05
    noisy = Batch(batch.images + noise, batch.target, batch.against)
    found["noise on the picture"] = _correlations(before, maps_of(run, name, model, noisy))
    swapped = Batch(batch.images, batch.against, batch.target)
    found["classes swapped"] = _correlations(before, -maps_of(run, name, model, swapped))
    return found


def _correlations(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([correlation(a, b) for a, b in zip(first, second, strict=True)])


def value_shift(model: nn.Module, seed: int) -> nn.Module:
    """A constant added to all values and taken back behind the projection: no logit changes."""
    return _shifted(model, seed, 2)


def key_shift(model: nn.Module, seed: int) -> nn.Module:
    """A constant added to all keys, which no softmax sees."""
    return _shifted(model, seed, 1)


def _shifted(model: nn.Module, seed: int, which: int) -> nn.Module:
    other: Any = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for block in other.blocks:
        attention = block.attn
        width = attention.proj.in_features
        shift = torch.randn(width, generator=generator)
        attention.qkv.bias.data[which * width : (which + 1) * width] += shift
        if which == 2:
            attention.proj.bias.data -= attention.proj.weight @ shift
    return _frozen(other)


def bias_moved(model: nn.Module, seed: int) -> nn.Module:
    """The patch embedding's bias moved into the position embedding of the patches."""
    other: Any = copy.deepcopy(model)
    shift = torch.randn(other.embed_dim, generator=torch.Generator().manual_seed(seed))
    other.patch_embed.proj.bias.data -= shift
    prefix = other.pos_embed.shape[1] - other.patch_embed.num_patches
    other.pos_embed.data[:, prefix:] += shift
    return _frozen(other)


def head_permuted(model: nn.Module, seed: int) -> nn.Module:
    """The classifier's rows in another order: the model answers with other classes."""
    other: Any = copy.deepcopy(model)
    order = torch.randperm(other.num_classes, generator=torch.Generator().manual_seed(seed))
    other.head.weight.data, other.head.bias.data = other.head.weight[order], other.head.bias[order]
    return _frozen(other)


def blocks_shuffled(model: nn.Module, seed: int) -> nn.Module:
    """The blocks in another order: what was learnt is of no use."""
    other: Any = copy.deepcopy(model)
    order = torch.randperm(len(other.blocks), generator=torch.Generator().manual_seed(seed))
    other.blocks = nn.Sequential(*(other.blocks[i] for i in order.tolist()))
    return _frozen(other)


def _frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)


REWRITES = {
    "values shifted": value_shift,
    "keys shifted": key_shift,
    "bias moved": bias_moved,
    "head permuted": head_permuted,
    "blocks shuffled": blocks_shuffled,
}
KEEPING = ("values shifted", "keys shifted", "bias moved")
"""Rewrites after which every logit is as it was."""
