"""The corrected dataset: as a new tree, or in place with a journal that takes everything back.

plan ─► tree (placing) | moving | manifest ─► undoing
"""

from __future__ import annotations

from pathlib import Path

from gradattn_core.apply.corrections import Applied, Image, LeftAlone, Plan, Progress, counted, read_plan, sound_changes
from gradattn_core.apply.journal import out_lock
from gradattn_core.apply.manifest import rewrite_manifest
from gradattn_core.apply.moving import move_files
from gradattn_core.apply.tree import make_tree
from gradattn_core.apply.undoing import Undone
from gradattn_core.apply.undoing import undo as _undo

__all__ = [
    "Applied",
    "Image",
    "LeftAlone",
    "Plan",
    "Undone",
    "apply_in_place",
    "counted",
    "make_tree",
    "read_plan",
    "sound_changes",
    "undo",
]


def apply_in_place(plan: Plan, out: Path, progress: Progress) -> Applied:
    """Change the audited dataset itself: move files between class folders, or rewrite the manifest.

    Args:
        plan: the images that change are enough.
        out: the output folder, for the journal, removed files and original manifests.

    Raises:
        ApplyError: the dataset is neither on this machine, or a label cannot be applied; nothing is changed then.
    """
    with out_lock(out):
        if plan.manifest is not None:
            return rewrite_manifest(plan, plan.manifest, out.absolute(), progress)
        return move_files(plan, out.absolute(), progress)


def undo(out: Path, progress: Progress) -> Undone:
    """Take back the newest :func:`apply_in_place` of an output folder; see ``undoing.undo``."""
    with out_lock(out):
        return _undo(out, progress)
