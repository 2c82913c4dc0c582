// Small pictures are asked for once a suspect has rested: whoever decides ten a second has the connections for the next
// large ones. Those that have been here before come at once, from the browser's own store.

const RESTED = 300; // ms
const AGAIN = 3000; // ms until a picture that did not come is asked for once more

export class Resting {
  constructor() {
    /** Addresses that have come. */
    this.here = new Set();
    /** @type {Map<HTMLImageElement, string>} */
    this.wanted = new Map();
    this.timer = null;
  }

  /** Have an image filled, now or later; `came` is called when it is. */
  fill(image, address, came = () => {}) {
    image.fetchPriority = "low";
    image.decoding = "async";
    image.onload = () => {
      this.here.add(address);
      this.wanted.delete(image);
      came();
    };
    // No answer says nothing of the file: it stays on its way and is asked for again.
    image.onerror = () => setTimeout(() => this.wanted.has(image) && (image.src = address), AGAIN);
    this.wanted.set(image, address);
    if (this.here.has(address)) image.src = address;
    else this.timer ??= setTimeout(() => this.ask(), RESTED);
  }

  ask() {
    this.timer = null;
    for (const [image, address] of this.wanted) if (!image.src) image.src = address;
  }

  /** Another suspect: what has not come yet is not waited for. */
  leave() {
    clearTimeout(this.timer);
    this.timer = null;
    for (const image of this.wanted.keys()) {
      image.onload = image.onerror = null;
      image.removeAttribute("src");
    }
    this.wanted.clear();
  }
}
