// The address of a list and of what is shown of it: a reload, a link and the browser's Back find the same again.

/** What an address may say of a list, in this order. */
export const NAMES = [
  "audit", "list", "left", "given", "suggested", "kind", "decided", "by", "least", "most", "contains", "tag", "part",
  "overlap", "nobody", "selection", "order", "path",
];
/** Those that narrow a list, and can be cleared. */
export const FILTERS = [
  "given", "suggested", "kind", "decided", "by", "least", "most", "contains", "tag", "part", "overlap", "nobody",
  "selection",
];

/** The parameters of the address; absent ones are absent. */
export function read(names = NAMES) {
  const search = new URLSearchParams(location.search);
  return Object.fromEntries(names.filter((name) => search.get(name)).map((name) => [name, search.get(name)]));
}

/** Parameters as an address below this page's own folder; the overview is the folder itself. */
export function address(page, params) {
  if (page === "overview") return address("./", params);
  const search = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined && value !== ""));
  return search.size ? `${page}?${search}` : page;
}

/**
 * Put parameters into the address without leaving the page; `push`: Back leads to where it was. `blind`: the path is only
 * remembered, as the name of a file may be a hint.
 */
export function write({ path, ...list }, { push = false, blind = false } = {}) {
  const to = address(location.pathname, blind ? list : { ...list, path });
  if (to === location.pathname + location.search && history.state?.path === path) return;
  try {
    if (push) history.pushState({ path }, "", to);
    else history.replaceState({ path }, "", to);
  } catch {
    // Some browsers refuse more than a few of these a second; the next one will do.
  }
}

// Streamlit puts the page of every run into the address when it hears of the run, also over the page that one has gone to
// meanwhile: on a slow network Back then led to an address without the suspect. Until the page that was asked for last has
// come, an address of another page is not taken.
let awaited = null; // its path
const push = history.pushState;
history.pushState = function (state, title, to) {
  if (awaited === null || new URL(to ?? "", location.href).pathname === awaited) push.call(history, state, title, to);
};
window.addEventListener("popstate", ({ isTrusted }) => isTrusted && (awaited = location.pathname));
// A link of the menu, a form: Streamlit itself leads to another page.
window.addEventListener("click", () => (awaited = null), { capture: true });
window.addEventListener("keydown", ({ key }) => key === "Enter" && (awaited = null), { capture: true });

/** The page of this name has come, or has run again. */
export function come(page) {
  if (awaited?.endsWith(`/${page}`)) awaited = null;
}

/** To another page without loading it anew; Streamlit hears of it as of a step in the browser's history. */
export function go(page, params = {}) {
  const to = new URL(address(page, params), location.href);
  awaited = to.pathname;
  history.pushState(null, "", to);
  window.dispatchEvent(new PopStateEvent("popstate", { state: null }));
}

/** Call `follow(page, params)` for a plain click on a link to a page of ours: it goes there without loading everything anew. */
export function onLink(root, follow) {
  root.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const [page, search] = link.getAttribute("href").split("?");
    follow(page, Object.fromEntries(new URLSearchParams(search)));
  });
}

/**
 * Call `follow` for steps in the history that stay on this page. Streamlit, where the browser asks it first, runs the page
 * again for each, which brings nothing new.
 */
export function onStep(follow, signal) {
  const here = location.pathname;
  window.addEventListener("popstate", (event) => {
    if (location.pathname !== here) return;
    event.stopImmediatePropagation();
    follow({ ...read(), ...(event.state?.path && { path: event.state.path }) });
  }, { capture: true, signal });
}
