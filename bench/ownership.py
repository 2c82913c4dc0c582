"""Do the patches that speak for the given label belong to another class? A voter that was tried and left out.

    python -m bench.ownership ROOT --truth FILE --checkpoint FILE [--model NAME] [--images 1200] [--epochs 3 12]

The model is fine-tuned on the given labels (as in bench/in_sample.py), so it has wrong ones by heart. Each picture's
MOST patches that speak most for its given label, against the best other class of a ranking from the shallowest
features, ask their nearest NEAREST among the same of all other pictures: how much evidence stands there for which
given label? The share of each class is the picture's vote. Prints, per depth of the patches' features, the average
precision of one minus the share of the given label; of the other class's share of the two; of the first with patches
drawn at random; and of the ranking from the shallowest features without and with the vote.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from bench.in_sample import BATCH, ask, trained
from gradattn_core.interpret.maps import interpret
from gradattn_core.model.forward import forward
from gradattn_core.ranking.suspicion import rank_labels

MOST = 10
NEAREST = 20


def main() -> None:
    asked = ask("Votes of the patches that speak for the given label", epochs=[3, 12])
    pixels, given, wrong = asked.pixels, asked.given, asked.wrong
    classes = int(given.max()) + 1
    print("| epochs | after block | evidence | evidence, two classes | any patches | ranking | with the vote |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for epochs in asked.epochs:
        model = trained(asked.spec, pixels, given, epochs)
        parts = [forward(model, pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        shallow = torch.cat([part.features for part in parts]).numpy()[:, : 2 * parts[0].readout.shape[1]]
        ranked = rank_labels(given, shallow)
        other = ranked["suggested"].to_numpy().astype(np.int64)
        scores = _evidence(model, pixels, given, other)
        drawn = torch.rand(scores.shape, generator=torch.Generator().manual_seed(0))
        before = average_precision_score(wrong, ranked["suspicion"])
        for depth, tokens in _patches(model, pixels).items():
            shares = _vote(tokens, scores, given, classes)
            own, others = shares[np.arange(len(given)), given], shares[np.arange(len(given)), other]
            by_chance = _vote(tokens, drawn, given, classes)[np.arange(len(given)), given]
            alone = [1 - own, others / np.maximum(own + others, 1e-12), 1 - by_chance]
            found = " | ".join(f"{average_precision_score(wrong, values):.3f}" for values in alone)
            with_vote = rank_labels(given, shallow, probabilities=np.maximum(shares, 1e-3))["suspicion"]
            after = average_precision_score(wrong, with_vote)
            print(f"| {epochs} | {depth} | {found} | {before:.3f} | {after:.3f} |", flush=True)


def _evidence(model: nn.Module, pixels: Tensor, given: np.ndarray, other: np.ndarray) -> Tensor:
    """Positive part of the map of the given label against the other, [N, P]."""
    found = []
    for start in range(0, len(pixels), BATCH):
        rows = slice(start, start + BATCH)
        target, against = torch.tensor(given[rows]), torch.tensor(other[rows])
        found.append(interpret(model, pixels[rows], target=target, against=against).scores.flatten(1))
    return torch.cat(found).clamp(min=0)


def _patches(model: nn.Module, pixels: Tensor) -> dict[int, Tensor]:
    """Patch features [N, P, D] of length one after some blocks."""
    kept: dict[int, list[Tensor]] = {}
    blocks: Sequence[nn.Module] = list(model.blocks)  # type: ignore[arg-type]
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    hooks = []
    for depth in (2, 4, 6, 8, 12):
        kept[depth] = []

        def keep(module: nn.Module, inputs: object, output: Tensor, depth: int = depth) -> None:
            kept[depth].append(output[:, prefix:].detach())

        hooks.append(blocks[depth - 1].register_forward_hook(keep))
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            model(pixels[start : start + BATCH])
    for hook in hooks:
        hook.remove()
    joined = {depth: torch.cat(parts) for depth, parts in kept.items()}
    # What all patches share says nothing: centred, then of length one.
    centred = {depth: tokens - tokens.mean(dim=(0, 1)) for depth, tokens in joined.items()}
    return {depth: tokens / tokens.norm(dim=2, keepdim=True) for depth, tokens in centred.items()}


def _vote(tokens: Tensor, scores: Tensor, given: np.ndarray, classes: int) -> np.ndarray:
    """Share [N, K] of the given labels among the neighbours of a picture's patches, by the evidence on both sides."""
    value, place = scores.topk(MOST, dim=1)
    value = value / value.sum(dim=1, keepdim=True).clamp(min=1e-12)
    bank = tokens.gather(1, place[:, :, None].expand(-1, -1, tokens.shape[2])).flatten(0, 1)
    owner = torch.arange(len(tokens)).repeat_interleave(MOST)
    label, weight = torch.tensor(given)[owner], value.flatten()
    shares = torch.zeros(len(tokens), classes)
    for start in range(0, len(bank), 1000):
        rows = slice(start, start + 1000)
        alike = bank[rows] @ bank.T
        alike[owner[rows][:, None] == owner[None]] = -2
        nearest = alike.topk(NEAREST, dim=1).indices
        count = weight[rows][:, None] * weight[nearest]
        shares.index_put_((owner[rows][:, None].expand_as(nearest), label[nearest]), count, accumulate=True)
    return (shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-12)).numpy()


if __name__ == "__main__":
    main()
