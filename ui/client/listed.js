// Which list Grid shows, in which order, and which page of it: what the address says, with what is usual where it says nothing.

import { address, FILTERS, read } from "./address.js";

const PER_PAGE = 48;
const MOST = 192;
const USUAL = "surest";
/** What the address of Grid may say. */
const NAMES = ["audit", ...FILTERS, "order", "page", "size", "outlines"];

export class Listed {
  /** @param {[string, string][]} orders those there are */
  constructor(orders) {
    this.orders = orders;
    this.read();
  }

  /** As the address is now. */
  read() {
    this.params = read(NAMES);
  }

  /** Say it in the address too, so that a reload and coming back show the same. */
  write(params) {
    this.params = Object.fromEntries(Object.entries(params).filter(([, value]) => value));
    history.replaceState(history.state, "", address("grid", this.params));
  }

  get filters() {
    return Object.fromEntries(FILTERS.filter((name) => this.params[name]).map((name) => [name, this.params[name]]));
  }

  /** Of an address of before that names another, the usual one. */
  get order() {
    const known = this.orders.some(([order]) => order === this.params.order);
    return known ? this.params.order : USUAL;
  }

  get size() {
    return Math.max(1, Math.min(MOST, Number.parseInt(this.params.size, 10) || PER_PAGE));
  }

  get page() {
    return Math.max(1, Number.parseInt(this.params.page, 10) || 1);
  }

  get outlines() {
    return Boolean(this.params.outlines);
  }

  /** The list as the address of Review names it too. */
  get named() {
    return { audit: this.params.audit, ...this.filters, order: this.order };
  }

  /** The address of a page about the audit in hand. */
  address(page, query) {
    return address(page, { audit: this.params.audit, ...query });
  }
}
