"""Images that are not where the audit found them: say so, and look for them below another folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import streamlit as st

from gradattn_core.dataset.address import is_url
from gradattn_core.errors import GradattnError
from gradattn_core.store import Store
from ui import components
from ui.pictures import Subject, read_place


def offer(shown: Subject, reason: str) -> None:
    """What is shown in place of a picture that cannot be: why, and a field for the folder that has it.

    The folder holds for this session. It is taken only if it has the very file that the audit saw, so that nobody looks
    at other files of this machine through it, and nobody learns which ones there are.
    """
    st.warning("The picture cannot be shown. You can still decide.", icon=":material/broken_image:")
    components.plain(reason, "quiet-broken")
    if PurePosixPath(shown.path).is_absolute() or is_url(shown.path):
        return
    st.text_input(
        "Were the pictures moved? Folder that has them now",
        key="new-root",
        placeholder="/new/place/of/the/dataset",
        max_chars=4096,
        on_change=_look_below,
        args=(shown,),
    )
    problem = st.session_state.pop("new-root-problem", None)
    if problem:
        components.plain(problem, "quiet-root-problem")
    st.caption("For this visit only. For everybody: gradattn ui \\-\\-data-root FOLDER")


def _look_below(shown: Subject) -> None:
    named = st.session_state.get("new-root", "").strip()
    if not named:
        return
    root = str(Path(named).absolute())
    try:
        store = Store(shown.directory, read_only=components.read_only(), data_root=root)
        [place] = store.image_places(shown.audit, [shown.path])
        same = read_place(place).content_hash == shown.content_hash
    except (GradattnError, OSError, ValueError):
        same = False
    if same:
        st.session_state["data-root"] = root
    else:
        st.session_state["new-root-problem"] = (
            f"That folder does not have this picture: it is looked for at {shown.path}"
        )
