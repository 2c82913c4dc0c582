"""A client on a page: one Streamlit component that loads a module of ``ui/client`` and hands it what it needs.

From then on the module talks to our own routes (:mod:`ui.server`), and no rerun stands between a key and what it
does. Each rerun brings it a new token, and its data anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from ui import components
from ui.api import assets, token
from ui.identity import login

# Our modules lie beside the page itself, below whatever path a proxy serves it at.
_LOADER = """
export default async function (component) {
  const base = new URL("gradattn/", location.href);
  const address = new URL(`client/${component.data.version}/mount.js`, base).href;
  for (const name of component.data.modules) {
    const { href } = new URL(name, address);
    if ([...document.head.querySelectorAll("link")].some((link) => link.href === href)) continue;
    document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href }));
  }
  for (let again = 0; ; again++) {
    try {
      const { enter } = await import(again ? `${address}?again=${again}` : address);
      return enter(component, base);
    } catch (error) {
      if (again === 5) throw error;
      await new Promise((resume) => setTimeout(resume, 1000));
    }
  }
}
"""
# The client has a shadow root of its own.
_COMPONENT = st.components.v2.component(
    "gradattn_client", html='<div class="gradattn-client"></div>', js=_LOADER, isolate_styles=False
)


def mount(module: str, key: str, **data: object) -> None:
    """Draw ``ui/client/<module>.js``, which exports ``mount({root, data, onData, signal, send})``.

    ``root`` is an empty element in a shadow root in which ``tokens.css`` is linked; ``data`` is what is given here with
    ``base, token, login, readOnly, theme``; ``onData(listener)`` hears the data of each rerun; ``signal`` is aborted
    when the client leaves the page; ``send("leave", {page, query})`` goes to another page of ``components.PAGES``.

    Args:
        key: of the element: while it is drawn under the same key, the module stays as it is.
        data: what JSON can say.
    """
    who, root = login(), components.data_root()
    state = _COMPONENT(
        key=key,
        data={
            **data,
            "module": module,
            "version": assets.version(),
            "modules": assets.modules(module),
            "door": {
                "token": token.issue(who, root=root),
                "pictures": token.issue(who, root=root, scope="pictures"),
                "seconds": token.seconds_to_next(who),
            },
            "login": who is not None,
            "readOnly": components.read_only(),
            "theme": "dark" if st.context.theme.type == "dark" else "light",
        },
        on_renew_change=_nothing,
        on_leave_change=_nothing,
        on_root_change=_nothing,
    )
    _look_below(state.get("root"))
    _leave(state.get("leave"))


def _look_below(told: object) -> None:
    """The folder that has the pictures now, as the route that looked into it has signed it."""
    session = token.read(told, "all") if isinstance(told, str) else None
    if session is not None and session.root != components.data_root():
        st.session_state["data-root"] = session.root
        st.rerun()


def _leave(told: object) -> None:
    if isinstance(told, Mapping) and told.get("page") in components.PAGES:
        query = told.get("query")
        pairs = query.items() if isinstance(query, Mapping) else ()
        components.leave(str(told["page"]), **{str(name): str(value) for name, value in pairs})


def _nothing() -> None:
    """Streamlit reports a value only where somebody listens."""
