// Names of classes at the middle of their pictures: they follow the map at once, and none lies over another.

import { element } from "./dom.js";
import { shortened } from "./names.js";

const MOST = 120;
const CALM = 120; // milliseconds of rest after which it is told anew which names are shown
const [HALF, EDGE] = [13, 6]; // half the height of a name, and the room beside it, in CSS pixels

export class Labels {
  /** @param {HTMLElement} layer @param {{name: string, x: number, y: number, pictures: number}[]} classes */
  constructor(layer, classes) {
    this.layer = layer;
    layer.replaceChildren();
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = "600 17px 'Source Sans', sans-serif";
    this.names = classes
      .map(({ name, x, y, pictures }) => {
        const text = shortened(name);
        return { text, x, y, pictures, half: pen.measureText(text).width / 2 + EDGE, node: null };
      })
      .sort((one, other) => other.pictures - one.pictures);
    this.timer = 0;
    this.chosen = false;
  }

  /** @param {import("./plot.js").Plot} plot */
  place(plot) {
    this.follow(plot);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.choose(plot), this.chosen ? CALM : 0);
  }

  follow(plot) {
    for (const each of this.names) {
      if (!each.node) continue;
      const { x, y } = plot.outside(each);
      each.node.style.transform = `translate(-50%, -50%) translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
    }
  }

  /** Those of the largest classes first, as far as they have room. */
  choose(plot) {
    this.chosen = true;
    const { clientWidth: width, clientHeight: height } = plot.canvas;
    const taken = [];
    for (const each of this.names) {
      const { x, y } = plot.outside(each);
      const box = { left: x - each.half, right: x + each.half, top: y - HALF, bottom: y + HALF };
      const inside = box.right > 0 && box.left < width && box.bottom > 0 && box.top < height;
      const shown = inside && taken.length < MOST && !taken.some((other) => overlap(box, other));
      if (shown) taken.push(box);
      if (shown && !each.node) {
        each.node = element("bdi", { dir: "auto", textContent: each.text });
        this.layer.append(each.node);
      } else if (!shown && each.node) {
        each.node.remove();
        each.node = null;
      }
    }
    this.follow(plot);
  }
}

function overlap(one, other) {
  return one.right > other.left && one.left < other.right && one.bottom > other.top && one.top < other.bottom;
}
