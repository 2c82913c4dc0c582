"""Says why an audit begins anew although one of the same dataset lies in the output folder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path, PurePath
from typing import Any

from gradattn_core.audit.config import AuditConfig
from gradattn_core.records import Listing
from gradattn_core.store import Store

# audit_id, root, parameters, whether it is finished
_Earlier = tuple[str, str, dict[str, Any], bool]


def tell_changes(config: AuditConfig, listing: Listing, out: Path) -> None:
    """Warn in one sentence of what differs from the last audit of the dataset, an unfinished one before a finished."""
    name = PurePath(config.dataset).name
    for audit_id, root, parameters, finished in [*_unfinished(out), *_finished(out)]:
        if root != listing.root or PurePath(parameters.get("dataset", "")).name != name:
            continue
        differences = config.differences(parameters)
        what = ", ".join(differences) or "the images, the labels or the checkpoint have changed"
        left = "" if finished else ", which was interrupted and stays as it is"
        warnings.warn(f"a new audit begins, other than {audit_id}{left}: {what}", UserWarning, stacklevel=2)
        return


def _unfinished(out: Path) -> list[_Earlier]:
    files = sorted(out.glob("work/*/plan.json"), reverse=True)
    plans = [json.loads(file.read_text("utf-8")) for file in files]
    return [(plan["audit_id"], plan["root"], plan["config"], False) for plan in plans]


def _finished(out: Path) -> list[_Earlier]:
    audits = Store(out).audits()
    columns = (audits[name] for name in ("audit_id", "root", "parameters"))
    return [(audit_id, root, json.loads(parameters), True) for audit_id, root, parameters in zip(*columns, strict=True)]
