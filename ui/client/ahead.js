// The pages of Grid's list: the one after that which is shown is fetched, cards and pictures, while somebody looks at it.

import { get, picture } from "./api.js";

const QUIET = 400; // milliseconds after which somebody is looking, and no longer turning

export class Ahead {
  constructor(audit, signal) {
    Object.assign(this, { audit, signal, next: null, asked: null });
  }

  /**
   * Cards of the list.
   * @param {object} query of the route `cards`
   * @param {boolean} turned whether nothing has changed since the page before was shown, so that it may be at hand
   */
  async cards(query, turned) {
    const { next } = this;
    this.next = this.asked = null;
    // What is on its way is waited for: to ask once more would take longer.
    const found = turned && next?.key === JSON.stringify(query) ? await next.answer : null;
    return found ?? this.get(query);
  }

  /** Fetch these, the next page, once it is quiet and unless something else is asked for. */
  async fetch(query) {
    if (navigator.connection?.saveData) return;
    const asked = (this.asked = Symbol("asked"));
    await new Promise((quiet) => setTimeout(quiet, QUIET));
    if (asked !== this.asked || this.signal.aborted) return;
    const answer = this.get(query).catch(() => null);
    this.next = { key: JSON.stringify(query), answer };
    const found = await answer;
    if (!found || asked !== this.asked) return;
    for (const { path, content_hash } of found.suspects) {
      const image = new Image();
      image.fetchPriority = "low";
      image.src = picture("small", this.audit, path, content_hash);
    }
  }

  get(query) {
    return get("cards", query, { signal: this.signal });
  }
}
