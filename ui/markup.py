"""HTML from data: whatever is not made here is text, and names keep their own direction of writing.

Used by pages that Streamlit draws; clients make their elements in the browser.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

import streamlit as st

from gradattn_core.elements import Markup as Markup
from gradattn_core.elements import join as join
from gradattn_core.elements import tag as tag
from gradattn_core.kinds import NONE_OF_THESE
from gradattn_core.wording import full_name
from ui.shorten import LONGEST, shortened

# Links between the pages go without loading the page anew: Streamlit's frontend hears of them as of a step in the
# browser's history. A link that is opened in another tab is a link.
_LINKS = """<script>
if (!window.gradattnLinks) {
  window.gradattnLinks = true;
  const plain = (event) => !event.button && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  const go = (event, address) => {
    event.preventDefault();
    history.pushState(null, "", address);
    window.dispatchEvent(new PopStateEvent("popstate", { state: null }));
    document.querySelector("main")?.scrollTo(0, 0);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.gradattn-link");
    if (link && !event.defaultPrevented && plain(event)) go(event, link.href);
  });
  // Streamlit's menu names no audit: the one that the address names stays in hand.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[data-testid*="Nav"][href]');
    const audit = new URLSearchParams(location.search).get("audit");
    if (!link || !audit || !plain(event)) return;
    const address = new URL(link.href);
    address.searchParams.set("audit", audit);
    event.stopPropagation();
    go(event, address);
    // As after Streamlit's own step, what was opened to choose a page closes.
    const sidebar = link.closest('[data-testid="stSidebar"]');
    if (sidebar) sidebar.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
    else link.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  }, true);
  // The page writes the audit that was chosen into its address: that is no step of its own, to which Back would lead
  // again and again.
  const push = history.pushState.bind(history);
  const rest = ({ pathname, searchParams }) => {
    const others = new URLSearchParams(searchParams);
    others.delete("audit");
    return `${pathname}?${others}`;
  };
  history.pushState = (state, title, url) => {
    const [from, to] = [new URL(location.href), new URL(url ?? "", location.href)];
    const named = rest(from) === rest(to) && from.searchParams.get("audit") !== to.searchParams.get("audit");
    if (named) history.replaceState(state, title, url);
    else push(state, title, url);
  };
}
</script>"""


def link(address: str, *children: str, class_: str = "", title: str | None = None, **query: str) -> Markup:
    """To another page of ours, with this query; what is empty in it is left out, and the audit in hand stays."""
    audit = st.query_params.get("audit")
    asked = {name: value for name, value in query.items() if value} | ({"audit": audit} if audit else {})
    # The first page has no address of its own.
    address = "./" if address == "overview" else address
    return tag(
        "a",
        *children,
        class_=f"gradattn-link {class_}".strip(),
        href=f"{address}?{urlencode(asked)}" if asked else address,
        title=title,
    )


def class_name(label: str, name: str, cut: int = LONGEST, beside: Iterable[str] = ()) -> Markup:
    """The name of a class, cut where it is long so that it can be told from those ``beside`` it.

    Whole for those who hear the page; the label itself, if it is another, in the tooltip.
    """
    whole = full_name(label) if label else NONE_OF_THESE
    short = shortened(name, cut, beside)
    told = [short] if short == name else [tag("span", short, aria_hidden="true"), tag("span", name, class_="heard")]
    return tag("bdi", *told, title=whole if whole != short else None)


def show(*parts: str) -> None:
    """Draw it."""
    st.html(join(parts))


def listen() -> None:
    """Have links between the pages go without loading the page anew."""
    with st.container(key="script-links"):
        st.html(_LINKS, unsafe_allow_javascript=True)
