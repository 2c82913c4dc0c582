"""The entry of the review page: the frame around every page, and the list of pages."""

from pathlib import Path

import streamlit as st

from gradattn_core.errors import StoreError
from ui import identity

_HERE = Path(__file__).parent

st.set_page_config(page_title="gradattn", page_icon=str(_HERE / "icon.svg"), layout="wide")
st.html(_HERE / "style.css")
identity.admit()
page = st.navigation(
    [
        st.Page("overview/page.py", title="Overview", icon=":material/insights:", default=True),
        st.Page("review/page.py", title="Review", icon=":material/rule:", url_path="review"),
        st.Page("grid/page.py", title="Grid", icon=":material/grid_view:", url_path="grid"),
        st.Page("pair/page.py", title="Class pair", icon=":material/compare_arrows:", url_path="pair"),
        st.Page("decisions.py", title="Decisions", icon=":material/history:"),
        st.Page("export.py", title="Export", icon=":material/download:"),
        st.Page("audits/page.py", title="Audits", icon=":material/schedule:", url_path="audits"),
    ]
)
try:
    page.run()
except StoreError as error:
    st.error("The results cannot be read or written just now. Reload the page to try again.")
    st.text(str(error))
