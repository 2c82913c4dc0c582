// Which of a dialog's pictures somebody has had before the eyes: the picture there, most of it in sight, for a moment.

const SHARE = 0.6; // of a picture
const MOMENT = 150; // milliseconds

export class Looked {
  /**
   * @param {(HTMLElement & {card: {path: string}, frame: HTMLElement})[]} items cards of a board
   * @param {() => void} changed more has been seen, has come into sight, or cannot be shown
   */
  constructor(items, changed) {
    Object.assign(this, { items, changed });
    this.seen = new Set();
    /** @type {Map<string, number>} since when each picture in sight is there to see */
    this.sight = new Map();
    this.timer = 0;
    this.began = false;
    const byFrame = new Map(items.map((item) => [item.frame, item]));
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, intersectionRatio } of entries) {
        const { card } = byFrame.get(target);
        if (intersectionRatio >= SHARE) this.sight.set(card.path, performance.now());
        else this.sight.delete(card.path);
      }
      this.began = true;
      this.soon();
    }, { threshold: SHARE });
    for (const { frame, card } of items) {
      this.observer.observe(frame);
      const ended = () => {
        if (this.sight.has(card.path)) this.sight.set(card.path, performance.now());
        this.soon();
      };
      for (const event of ["load", "error"]) frame.querySelector("img").addEventListener(event, ended);
    }
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), MOMENT);
  }

  look() {
    const now = performance.now();
    let later = false;
    for (const { card, frame } of this.items) {
      const since = this.sight.get(card.path);
      if (since === undefined || this.seen.has(card.path) || unshown(frame) || frame.classList.contains("skeleton")) continue;
      if (now - since >= MOMENT - 20) this.seen.add(card.path);
      else later = true;
    }
    if (later) this.soon();
    this.changed();
  }

  /** Those of these pictures that nobody has looked at and that are out of sight now; none before that is known. */
  left(paths) {
    const { missing } = this;
    return this.began ? paths.filter((path) => !this.seen.has(path) && !this.sight.has(path) && !missing.has(path)) : [];
  }

  /** Whether all of these have been looked at, as far as they can be. */
  all(paths) {
    const { missing } = this;
    return paths.every((path) => this.seen.has(path) || missing.has(path));
  }

  /** Pictures that cannot be shown, by their paths. */
  get missing() {
    return new Set(this.items.filter(({ frame }) => unshown(frame)).map(({ card }) => card.path));
  }

  /** Scroll to the first of these that nobody has looked at. */
  next(paths) {
    const [first] = this.left(paths);
    this.items.find(({ card }) => card.path === first)?.scrollIntoView({ block: "start" });
  }

  end() {
    clearTimeout(this.timer);
    this.observer.disconnect();
  }
}

/** Whether nothing of a picture came, or only the drawing that says that it has no file. */
function unshown({ classList }) {
  return classList.contains("missing") || classList.contains("lost");
}
