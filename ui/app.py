"""The entry of the review page: the frame around every page."""

from pathlib import Path

import streamlit as st

from gradattn_core.errors import StoreError
from ui import components, identity

_HERE = Path(__file__).parent

st.set_page_config(page_title="gradattn", page_icon=str(_HERE / "icon.svg"), layout="wide")
st.html(_HERE / "style.css")
identity.admit()
page = st.navigation(
    [
        st.Page(file.script, title=file.title, icon=file.icon, url_path=address, default=address == "overview")
        for address, file in components.PAGES.items()
    ]
)
try:
    page.run()
except StoreError as error:
    st.error("The results cannot be read or written just now. Reload the page to try again.")
    st.text(str(error))
