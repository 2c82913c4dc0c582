"""Which output of the model is which class of the dataset, settled by the labels where names do not say it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from gradattn_core.audit.loading import load_batches
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.pixels import FULL_WHITE
from gradattn_core.dataset.selection import evenly
from gradattn_core.model.classes import Alignment, possible_orders
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import ImageRecord, Listing

SAMPLE = 64
"""Pictures that are asked at most."""
FAR_BETTER = 0.25
"""By so much of the sample an order must agree more to be taken instead, or for an alignment by names to be doubted."""


def agreements(
    config: AuditConfig, listing: Listing, model: nn.Module, orders: list[Alignment], white: int = FULL_WHITE
) -> list[float]:
    """Share of a sample's labels, 0 to 1, that the model names under each of these alignments; 0 of no picture."""
    device, preprocessing = next(model.parameters()).device, Preprocessing.of(model)
    place = {name: position for position, name in enumerate(listing.classes)}
    right, asked = np.zeros(len(orders)), 0
    for batch in load_batches(listing.root, _sample(listing), preprocessing, config, device, white):
        if not batch.images:
            continue
        with torch.inference_mode():
            logits = answer(model, preprocessing.normalised(batch.pixels.to(device))).cpu().numpy()
        given = np.array([place[image.record.label] for image in batch.images])
        asked += len(given)
        for number, order in enumerate(orders):
            right[number] += (logits[:, order.indices].argmax(axis=1) == given).sum()
    return [float(count) / max(asked, 1) for count in right]


def settled_alignment(
    config: AuditConfig, listing: Listing, model: nn.Module, alignment: Alignment, white: int = FULL_WHITE
) -> tuple[Alignment, tuple[str, ...]]:
    """The alignment that the labels confirm, and what the user should know.

    Where only an order is known, every possible one is tried on a few pictures; an alignment by names or a map stays,
    and is doubted where an order agrees far better.

    Args:
        white: as in ``decode_image``.
    """
    by_order = alignment.method in ("index order", "natural order", "number")
    orders = possible_orders(listing.classes, int(model.num_classes))  # type: ignore[arg-type]
    others = [order for order in orders if order.indices != alignment.indices]
    if not others:
        return alignment, ()
    shares = agreements(config, listing, model, [alignment, *others], white)
    best = int(np.argmax(shares))
    if best == 0 or shares[best] < shares[0] + FAR_BETTER:
        return alignment, ()
    better, said = others[best - 1], f"{shares[best]:.0%} instead of {shares[0]:.0%} of {SAMPLE} sampled labels"
    if by_order:
        return better, (f"The model's outputs were taken in {better.method}, in which it agrees with {said}.",)
    return alignment, (
        f"The model's classes were aligned by {alignment.method}, but in {better.method} it agrees with {said}: is "
        "that what its outputs mean?",
    )


def _sample(listing: Listing) -> list[ImageRecord]:
    """Pictures of as many classes as there are, some of each."""
    return evenly(sorted(listing.images, key=lambda image: (image.label, image.path)), SAMPLE)
