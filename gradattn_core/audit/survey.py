"""What there is to audit, and the fingerprint by which the same audit is known again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import gradattn_core
from gradattn_core.audit.config import AuditConfig
from gradattn_core.dataset import list_dataset
from gradattn_core.records import Listing

# Raised when what the files of an audit hold changes its meaning: those of before are then not continued.
FORMAT = 2


@dataclass(frozen=True)
class Survey:
    """What there is to audit. ``fingerprint`` names dataset, model and parameters: equal ones give equal results."""

    listing: Listing
    fingerprint: str


def survey_dataset(config: AuditConfig) -> Survey:
    """List the dataset.

    Raises:
        DatasetError: it cannot be audited.
        ModelError: the checkpoint is not there.
    """
    listing = list_dataset(
        config.dataset,
        path_column=config.path_column,
        label_column=config.label_column,
        split_column=config.split_column,
        split=config.split,
    )
    return Survey(listing, _fingerprint(config, listing))


def _fingerprint(config: AuditConfig, listing: Listing) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([gradattn_core.__version__, FORMAT, config.identity()], sort_keys=True).encode())
    for image in listing.images:
        digest.update(json.dumps([image.path, image.label, image.size, image.modified]).encode())
    return digest.hexdigest()
