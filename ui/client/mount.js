// How a client comes onto Streamlit's page, is told of each rerun, and leaves.

import { come } from "./address.js";
import { connect, connected } from "./api.js";

// While there is no connection Streamlit lays a dialog over the whole page, again at each attempt, and takes the focus.
// A client goes on without, and says so itself.
let focused = null;
const dialogs = new MutationObserver(() => {
  const close = connected() ? null : document.querySelector('[data-testid="stDialog"] button[aria-label="Close"]');
  if (!close) return;
  const held = focused;
  close.click();
  requestAnimationFrame(() => requestAnimationFrame(() => held?.isConnected && held.focus({ preventScroll: true })));
});

/**
 * Called by Streamlit's component at each rerun.
 * @param component what Streamlit hands to a component: `{data, parentElement, setTriggerValue}`
 * @param {URL} base where our routes lie
 * @returns {() => void} what Streamlit calls when the component goes
 */
export function enter(component, base) {
  const { data, parentElement, setTriggerValue } = component;
  const host = parentElement.querySelector(".gradattn-client");
  // After an upgrade of the server this may be newer code than what is open here: that goes on by its own.
  if (host.room && host.room.enter !== enter) return host.room.enter(component, base);
  const { door, module, ...rest } = data;
  const send = (name, value) => setTriggerValue(name, value);
  connect({ ...door, base }, send);
  come(module);
  host.classList.toggle("dark", rest.theme === "dark");
  const shown = { ...rest, base: base.href, token: door.token };
  if (host.room) host.room.tell(shown, send);
  else host.room = new Room(host, module, shown, send);
  const { room } = host;
  return () => room.leave(host);
}

class Room {
  enter = enter;

  constructor(host, module, data, send) {
    this.data = data;
    this.send = send;
    this.listeners = new Set();
    this.left = new AbortController();
    const shadow = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    const root = document.createElement("div");
    root.className = "client";
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("./tokens.css", import.meta.url).href;
    root.addEventListener("focusin", (event) => (focused = event.target));
    root.addEventListener("focusout", ({ relatedTarget: to }) => {
      if (to && !to.closest('[data-testid="stDialog"]')) focused = null;
    });
    const styled = new Promise((done) => (style.onload = style.onerror = done));
    shadow.replaceChildren(style, root);
    this.open(root, module, styled);
    dialogs.observe(document.body, { childList: true });
  }

  async open(root, module, styled) {
    const [client] = await Promise.all([import(`./${module}.js`), styled]).catch(() => []);
    if (this.left.signal.aborted) return;
    if (!client) {
      root.append("The page's code has not come. Reload the page.");
      return;
    }
    client.mount({
      root,
      data: this.data,
      onData: (listener) => this.listeners.add(listener),
      signal: this.left.signal,
      send: (name, value) => this.send(name, value),
    });
  }

  tell(data, send) {
    this.data = data;
    this.send = send;
    for (const listener of this.listeners) listener(data);
  }

  leave(host) {
    this.left.abort();
    dialogs.disconnect();
    this.listeners.clear();
    host.room = null;
    host.shadowRoot.replaceChildren();
  }
}
