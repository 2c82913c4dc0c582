"""The entry of the review page: the frame around every page."""

import streamlit as st

from gradattn_core.errors import StoreError
from ui import components, head, identity, markup


def show() -> None:
    """The menu, the head, and the page that the address names."""
    pages = {
        address: st.Page(file.script, title=file.title, url_path=address, default=address == "overview")
        for address, file in components.PAGES.items()
    }
    menu = [pages[address] for address, file in components.PAGES.items() if not file.more]
    more = [pages[address] for address, file in components.PAGES.items() if file.more]
    page = st.navigation({"": menu, "More": more}, position="top")
    st.set_page_config(
        page_title=f"{page.title} · gradattn",
        page_icon=str(components.HERE / "icon.svg"),
        layout="wide",
        initial_sidebar_state="collapsed",
    )
    head.show_style(components.HERE)
    identity.admit()
    file = components.PAGES[page.url_path or "overview"]
    # The page comes first in the document, and the head is drawn first, as the page asks it which audit is meant.
    sheet = st.container(key="full" if file.full else "sheet")
    head.show(components.HERE, full=file.full)
    markup.listen()
    with sheet:
        try:
            page.run()
        except StoreError as error:
            st.error("The results cannot be read or written just now. Reload the page to try again.")
            st.text(str(error))


# Processes that this one starts import its main module, and are no page.
if __name__ == "__main__":
    show()
