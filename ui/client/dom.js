// Elements and texts. Data only ever becomes text or attributes, never HTML.

/**
 * An element. Properties are set as properties where the element has them (`onclick`, `className`, `textContent`), else
 * as attributes (`aria-label`, `data-…`); `style` and `dataset` take objects; null and undefined are left out.
 * @param {string} tag
 * @param {Object<string, any>} [properties]
 * @param {...(Node|string|null|undefined)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  set(made, properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Set properties as `element` does. */
export function set(node, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "style" && typeof value === "object") {
      for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    } else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node && !name.startsWith("aria-")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

/** Replace what is in a node. */
export function fill(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Whether the focus is where letters are typed, looked for through shadow roots. */
export function typing() {
  let active = document.activeElement;
  while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
  return Boolean(active?.closest?.("input:not([type=checkbox]):not([type=range]), textarea, select, [contenteditable]"));
}

/** Link style sheets of this folder into a root; resolves once all of them count, so that nothing is seen unstyled. */
export function styled(root, ...files) {
  const links = files.map((file) => {
    const link = element("link", { rel: "stylesheet", href: new URL(`./${file}`, import.meta.url).href });
    const there = new Promise((done) => (link.onload = link.onerror = done));
    root.append(link);
    return there;
  });
  return Promise.all(links);
}
