// Where somebody was on a page: kept in this tab, so that coming back leads to the same pictures.

/** What scrolls an element: through shadow roots, up to the window's own scroller. */
export function scroller(node) {
  for (let at = node; at; at = at.parentElement ?? at.getRootNode().host) {
    if (/auto|scroll/.test(getComputedStyle(at).overflowY) && at.scrollHeight > at.clientHeight) return at;
  }
  return document.scrollingElement;
}

/** @param {string} page  @param {string} path the picture that has the focus */
export function keepPlace(page, node, path) {
  const place = { address: location.search, top: scroller(node).scrollTop, path };
  try {
    sessionStorage.setItem(`gradattn place ${page}`, JSON.stringify(place));
  } catch {
    // A browser that keeps nothing begins at the top.
  }
}

/** @returns {?{top: number, path: string}} null where the address is another now */
export function keptPlace(page) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(`gradattn place ${page}`) ?? "null");
    return kept?.address === location.search ? kept : null;
  } catch {
    return null;
  }
}
