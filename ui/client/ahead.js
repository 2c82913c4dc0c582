// The pages of Grid's list: the one after that which is shown is fetched, cards and pictures, while somebody looks at it.

import { get, picture } from "./api.js";

const QUIET = 800; // milliseconds after which somebody is looking, and no longer turning

export class Ahead {
  constructor(audit, signal) {
    Object.assign(this, { audit, signal, next: null, asked: null });
  }

  /** What was fetched is of another list now, or older than a decision. */
  drop() {
    this.next = this.asked = null;
  }

  /**
   * Cards of the list.
   * @param {object} query of the route `cards`
   * @param {boolean} turned whether nothing has changed since the page before was shown, so that it may be at hand
   */
  cards(query, turned) {
    const { next } = this;
    this.drop();
    if (turned && next?.key === JSON.stringify(query)) return next.answer;
    return get("cards", query, { signal: this.signal });
  }

  /** Fetch these, the next page, once it is quiet and unless something else is asked for. */
  async fetch(query) {
    if (navigator.connection?.saveData) return;
    const asked = (this.asked = Symbol("asked"));
    const over = () => asked !== this.asked || this.signal.aborted;
    await new Promise((quiet) => setTimeout(quiet, QUIET));
    if (over()) return;
    const answer = await get("cards", query, { signal: this.signal }).catch(() => null);
    if (!answer || over()) return;
    this.next = { key: JSON.stringify(query), answer };
    for (const { path, content_hash } of answer.suspects) {
      const image = new Image();
      image.fetchPriority = "low";
      image.src = picture("small", this.audit, path, content_hash);
    }
  }
}
