"""The entry of the review page: the frame around every page, and the list of pages."""

from pathlib import Path

import streamlit as st

from gradattn_core.errors import StoreError
from ui import identity

_HERE = Path(__file__).parent
_VIEWS = _HERE / "views"

st.set_page_config(page_title="gradattn", page_icon=str(_HERE / "icon.svg"), layout="wide")
st.html(_HERE / "style.css")
identity.admit()
page = st.navigation(
    [
        st.Page(_VIEWS / "overview.py", title="Overview", icon=":material/insights:", default=True),
        st.Page(_VIEWS / "review.py", title="Review", icon=":material/rule:"),
        st.Page(_VIEWS / "grid.py", title="Grid", icon=":material/grid_view:"),
        st.Page(_VIEWS / "pair.py", title="Class pair", icon=":material/compare_arrows:"),
        st.Page(_VIEWS / "decisions.py", title="Decisions", icon=":material/history:"),
        st.Page(_VIEWS / "export.py", title="Export", icon=":material/download:"),
        st.Page(_VIEWS / "audits.py", title="Audits", icon=":material/schedule:"),
    ]
)
try:
    page.run()
except StoreError as error:
    st.error("The results cannot be read or written just now. Reload the page to try again.")
    st.text(str(error))
