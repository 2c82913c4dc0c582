"""Map: all pictures of an audit in the plane, those that the model sees alike near each other."""

from __future__ import annotations

import streamlit as st

from ui import components
from ui.client import mount


def show() -> None:
    audit = components.audit_id()
    mount("map", f"map-{audit}", audit=audit, reviewer=components.reviewer(), near=st.query_params.get("near"))


show()
