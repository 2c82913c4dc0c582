// The points of the map on a canvas. Each shape is drawn once and then stamped pixel by pixel into a buffer: 50,000
// points take a few milliseconds so, on any machine; as paths or pictures they would take hundreds.

import { Labels } from "./labels.js";

/** States in the order in which they are drawn, the last on top. */
export const STATES = [".", "d", "r", "e", "w"];
const SIZES = { ".": 3.1, d: 5, r: 5.2, e: 5.2, w: 6 }; // half of each shape in CSS pixels, on a map of few points
const CLOSE = 14; // CSS pixels around the pointer in which a point is met

/** Paths of the shapes around (0, 0), `r` their half size. The legend draws the same. */
export function trace(context, state, r) {
  context.beginPath();
  if (state === "w") {
    context.moveTo(0, -r);
    context.lineTo(r, r * 0.8);
    context.lineTo(-r, r * 0.8);
    context.closePath();
  } else if (state === "e" || state === "r") context.rect(-r * 0.84, -r * 0.84, r * 1.68, r * 1.68);
  else context.arc(0, 0, r, 0, 2 * Math.PI);
}

/** @typedef {{x: number[], y: number[], given: number[], states: string, classes: {name: string, x: number, y: number,
 *   pictures: number}[]}} Points */

export class Plot {
  /** @param {HTMLCanvasElement} canvas @param {HTMLElement} labels where names of classes are put */
  constructor(canvas, labels, colours) {
    this.canvas = canvas;
    this.layer = labels;
    this.context = canvas.getContext("2d", { alpha: false });
    this.colours = colours;
    this.view = { scale: 1, left: 0, top: 0 };
    this.filter = null; // (index) => boolean, or all
    this.marked = []; // indices with a ring around them
    this.kept = null; // by index 1 for what stays as it is while all else is pale
    this.points = null;
    this.frame = 0;
    this.onDraw = () => {};
  }

  /** @param {Points} points */
  show(points) {
    this.points = points;
    this.names = new Labels(this.layer, points.classes);
    this.sort();
    this.resize();
    this.fit();
  }

  /** By state, so that each shape is stamped in one go; called again when states have changed. */
  sort() {
    const { states } = this.points;
    this.members = Object.fromEntries(STATES.map((state) => [state, []]));
    for (let at = 0; at < states.length; at++) {
      if (!this.filter || this.filter(at)) this.members[states[at]].push(at);
    }
    this.redraw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.dense = Math.min(2, window.devicePixelRatio || 1);
    this.width = Math.max(1, Math.round(width * this.dense));
    this.height = Math.max(1, Math.round(height * this.dense));
    this.canvas.width = this.width;
    this.canvas.height = this.height;
    this.image = this.context.createImageData(this.width, this.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.stamps = null;
    this.redraw();
  }

  /** All points, or these, as large as fits. */
  fit(indices = null) {
    const { x, y } = this.points;
    const chosen = indices ?? x.map((_, at) => at);
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const at of chosen) {
      left = Math.min(left, x[at]);
      right = Math.max(right, x[at]);
      top = Math.min(top, y[at]);
      bottom = Math.max(bottom, y[at]);
    }
    if (left > right) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [wide, high] = [Math.max(right - left, 400), Math.max(bottom - top, 400)];
    const scale = Math.min(Math.max(50, width - 96) / wide, Math.max(50, height - 96) / high);
    this.view = { scale, left: (left + right - width / scale) / 2, top: (top + bottom - height / scale) / 2 };
    if (!indices) this.whole = scale;
    this.redraw();
  }

  /** Around a place of the canvas. */
  zoom(factor, at = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 }) {
    const { scale, left, top } = this.view;
    const next = Math.min(Math.max(scale * factor, this.whole / 2), this.whole * 200);
    this.view = { scale: next, left: left + at.x / scale - at.x / next, top: top + at.y / scale - at.y / next };
    this.redraw();
  }

  move(across, down) {
    this.view.left -= across / this.view.scale;
    this.view.top -= down / this.view.scale;
    this.redraw();
  }

  /** A place of the canvas in the points' own measure, and back. */
  inside({ x, y }) {
    return { x: x / this.view.scale + this.view.left, y: y / this.view.scale + this.view.top };
  }

  outside({ x, y }) {
    return { x: (x - this.view.left) * this.view.scale, y: (y - this.view.top) * this.view.scale };
  }

  /** The point nearest to a place of the canvas, suspects before others; -1 where none is close. */
  at(place) {
    const middle = this.inside(place);
    const reach = CLOSE / this.view.scale;
    let [best, least] = [-1, Infinity];
    for (const state of STATES) {
      for (const each of this.members[state]) {
        const across = Math.abs(this.points.x[each] - middle.x);
        const down = Math.abs(this.points.y[each] - middle.y);
        if (across > reach || down > reach) continue;
        const distance = Math.hypot(across, down) * (state === "." ? 1.5 : 1);
        if (distance <= least && distance <= reach) [best, least] = [each, distance];
      }
    }
    return best;
  }

  /** The shown points within a polygon of places in their own measure. */
  within(polygon) {
    const { x, y } = this.points;
    const [xs, ys] = [polygon.map((each) => each.x), polygon.map((each) => each.y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const found = [];
    for (const state of STATES) {
      for (const at of this.members[state]) {
        const [across, down] = [x[at], y[at]];
        if (across < left || across > right || down < top || down > bottom) continue;
        let odd = false;
        for (let one = 0, other = xs.length - 1; one < xs.length; other = one++) {
          const crosses = ys[one] > down !== ys[other] > down;
          if (crosses && across < ((xs[other] - xs[one]) * (down - ys[one])) / (ys[other] - ys[one]) + xs[one]) odd = !odd;
        }
        if (odd) found.push(at);
      }
    }
    return found;
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.points && this.pixels) this.draw();
    });
  }

  draw() {
    const begun = performance.now();
    const closer = Math.min(1.5, Math.max(1, (this.view.scale / this.whole) ** 0.2));
    const size = `${closer.toFixed(1)}`;
    if (this.stamps?.size !== size) this.stamps = this.makeStamps(closer, size);
    this.pixels.fill(this.stamps.ground);
    if (this.kept) for (const state of STATES) this.stamp(this.stamps.pale[state], this.members[state], 0);
    for (const state of STATES) this.stamp(this.stamps[state], this.members[state], 1);
    if (this.marked.length) this.stamp(this.stamps.marked, this.marked);
    this.context.putImageData(this.image, 0, 0);
    this.names.place(this);
    this.onDraw(performance.now() - begun);
  }

  /** @param {0|1} kept which of them, where a selection parts them */
  stamp({ offsets, values, reach }, indices, kept = 1) {
    const { pixels, width, height, dense, kept: parts } = this;
    const { x, y } = this.points;
    const scale = this.view.scale * dense;
    const { left, top } = this.view;
    const count = offsets.length;
    for (let each = 0; each < indices.length; each++) {
      const at = indices[each];
      if (parts && parts[at] !== kept) continue;
      const across = Math.round((x[at] - left) * scale);
      const down = Math.round((y[at] - top) * scale);
      if (across < reach || down < reach || across >= width - reach || down >= height - reach) continue;
      const middle = down * width + across;
      for (let pixel = 0; pixel < count; pixel++) pixels[middle + offsets[pixel]] = values[pixel];
    }
  }

  /** Every shape as its pixels: where each lies from the middle, and its colour over the ground. */
  makeStamps(closer, size) {
    const many = Math.max(0.55, Math.min(1, (3_000 / this.points.x.length) ** 0.22));
    const suspects = this.members.w.length + this.members.e.length + this.members.r.length + this.members.d.length;
    const crowd = Math.max(0.5, Math.min(1, (1_500 / Math.max(1, suspects)) ** 0.22));
    const made = { size, ground: this.pixelsOf(2, () => {}).ground, pale: {} };
    for (const state of STATES) {
      const half = SIZES[state] * closer * (state === "." ? many : crowd);
      made[state] = this.pixelsOf(half + 2, (context) => this.paint(context, state, half));
      made.pale[state] = this.pixelsOf(half + 2, (context) => {
        this.paint(context, state, half);
        context.globalAlpha = 0.72;
        context.fillStyle = this.colours.ground;
        context.fillRect(-half - 3, -half - 3, 2 * half + 6, 2 * half + 6);
      });
    }
    made.marked = this.pixelsOf(10 * crowd * closer + 2, (context) => {
      context.lineWidth = 2;
      context.strokeStyle = this.colours.ink;
      trace(context, "d", 9 * crowd * closer);
      context.stroke();
    });
    return made;
  }

  paint(context, state, half) {
    const { colours } = this;
    if (state === ".") {
      context.globalAlpha = 0.7;
      context.fillStyle = colours.quiet;
      trace(context, state, half);
      context.fill();
      return;
    }
    trace(context, state, half);
    context.lineWidth = 3.5;
    context.strokeStyle = colours.ground; // an edge that parts it from what lies below
    context.stroke();
    if (state === "d") {
      context.lineWidth = 2.2;
      context.strokeStyle = colours.decided;
      context.stroke();
      return;
    }
    context.fillStyle = { w: colours.wrong, e: colours.either, r: colours.right }[state];
    context.fill();
    context.lineWidth = 1.4;
    context.strokeStyle = colours.wrong;
    context.stroke();
  }

  pixelsOf(half, paint) {
    const reach = Math.ceil(half * this.dense) + 1;
    const side = 2 * reach + 1;
    const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
    context.fillStyle = this.colours.ground;
    context.fillRect(0, 0, side, side);
    const ground = new Uint32Array(context.getImageData(0, 0, 1, 1).data.buffer)[0];
    context.translate(reach + 0.5, reach + 0.5);
    context.scale(this.dense, this.dense);
    paint(context);
    const pixels = new Uint32Array(context.getImageData(0, 0, side, side).data.buffer);
    const [offsets, values] = [[], []];
    pixels.forEach((value, at) => {
      if (value === ground) return;
      offsets.push((Math.floor(at / side) - reach) * this.width + ((at % side) - reach));
      values.push(value);
    });
    return { offsets: Int32Array.from(offsets), values: Uint32Array.from(values), reach, ground };
  }
}
