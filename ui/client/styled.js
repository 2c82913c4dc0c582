// Style sheets of a client, in place before anything of it is drawn: nothing is ever seen unstyled.

import { element } from "./dom.js";

/** Link these files of this folder into a root; resolves once all of them count. */
export function styled(root, ...files) {
  const links = files.map((file) => {
    const link = element("link", { rel: "stylesheet", href: new URL(`./${file}`, import.meta.url).href });
    const there = new Promise((done) => (link.onload = link.onerror = done));
    root.append(link);
    return there;
  });
  return Promise.all(links);
}
