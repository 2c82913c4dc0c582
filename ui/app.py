"""The entry of the review page: the frame around every page, and the list of pages."""

from pathlib import Path

import streamlit as st

from gradattn_core.errors import StoreError

_HERE = Path(__file__).parent

st.set_page_config(page_title="gradattn", page_icon=str(_HERE / "icon.svg"), layout="wide")
st.html(_HERE / "style.css")
page = st.navigation(
    [
        st.Page(_HERE / "views" / "overview.py", title="Overview", icon=":material/insights:", default=True),
        st.Page(_HERE / "views" / "review.py", title="Review", icon=":material/rule:"),
        st.Page(_HERE / "views" / "decisions.py", title="Decisions", icon=":material/history:"),
        st.Page(_HERE / "views" / "export.py", title="Export", icon=":material/download:"),
    ]
)
try:
    page.run()
except StoreError as error:
    st.error("The results cannot be read or written just now. Reload the page to try again.")
    st.text(str(error))
