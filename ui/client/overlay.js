// A map's numbers as pixels: where there is no evidence the picture is dimmed, where there is some it is tinted.
//
// The same interpolation as gradattn_core/render/overlays.py: Keys' cubic (a = -1/2) for each sign by itself, so that no
// colour appears where no patch of that sign is near. Unlike there, the picture keeps its own colours below.

const DIMMED = 0.38; // of the light, where a patch says nothing
const TINTED = 0.46; // at most, where it says most
const USUAL = 0.6; // the strength at which both are so
const LEVELS = 255; // told apart, of either side
const FINE = 8; // pixels from one patch to the next of a smooth map

/** [pixels][cells] weights that carry `cells` numbers onto `pixels` evenly spread places. */
export function cubic(pixels, cells) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const weights = new Float32Array(cells);
    const centred = ((pixel + 0.5) / pixels) * cells - 0.5;
    const first = Math.floor(centred);
    for (let step = -1; step <= 2; step++) {
      const d = Math.abs(centred - (first + step));
      const weight = d <= 1 ? (1.5 * d - 2.5) * d * d + 1 : ((-0.5 * d + 2.5) * d - 4) * d + 2;
      weights[Math.min(Math.max(first + step, 0), cells - 1)] += weight;
    }
    return weights;
  });
}

/**
 * The evidence at each place of a grid, in [-1, 1]: > 0 for the given label.
 * @param {number[][]} scores rows of patches
 * @param {boolean} smooth FINE places for each patch, else one
 * @returns {{width: number, height: number, values: Float32Array}} row by row
 */
export function evidence(scores, smooth) {
  const rows = scores.length;
  const columns = scores[0].length;
  const top = Math.max(...scores.flat().map(Math.abs)) || 1;
  if (!smooth) return { width: columns, height: rows, values: Float32Array.from(scores.flat(), (score) => score / top) };
  const width = columns * FINE;
  const height = rows * FINE;
  const across = cubic(width, columns);
  const down = cubic(height, rows);
  const values = new Float32Array(width * height);
  for (const sign of [1, -1]) {
    const lines = scores.map((line) =>
      across.map((weights) => weights.reduce((sum, weight, column) => sum + weight * Math.max(sign * line[column], 0), 0)),
    );
    for (let y = 0; y < height; y++) {
      // Only four patches have a weight.
      const near = [...down[y].keys()].filter((row) => down[y][row] !== 0);
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (const row of near) sum += down[y][row] * lines[row][x];
        values[y * width + x] += sign * Math.min(Math.max(sum / top, 0), 1);
      }
    }
  }
  return { width, height, values };
}

/**
 * What is laid over the picture for a strength of evidence: [red, green, blue, alpha], each of 255.
 * @param {number} value in [-1, 1]
 * @param {number} strength in [0, 1]: up to USUAL all of it fades in; beyond, weak evidence is told more strongly
 * @param {number[][]} tints red, green and blue of either side
 */
export function veil(value, strength, tints) {
  const opacity = Math.min(1, strength / USUAL);
  const share = Math.min(1, Math.abs(value) * Math.max(1, strength / USUAL) ** 2);
  const dim = opacity * DIMMED * (1 - share);
  const tint = opacity * TINTED * share;
  const alpha = 1 - (1 - dim) * (1 - tint);
  const colour = value >= 0 ? tints[0] : tints[1];
  return [...colour.map((channel) => (alpha ? (channel * tint) / alpha : 0)), 255 * alpha];
}

/** A small canvas of a map, to be stretched over its crop. */
export function drawn(scores, { smooth, strength }, tints) {
  const { width, height, values } = evidence(scores, smooth);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  const levels = Array.from({ length: 2 * LEVELS + 1 }, (_, level) => veil(level / LEVELS - 1, strength, tints));
  values.forEach((value, place) => pixels.data.set(levels[Math.round((value + 1) * LEVELS)], 4 * place));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** Slanting grey bands over what lies outside the crop: the model never saw it. Both are rectangles of the canvas. */
export function hatchOutside(context, whole, crop, ratio) {
  const path = new Path2D();
  path.rect(whole.left, whole.top, whole.width, whole.height);
  const left = Math.max(whole.left, crop.left);
  const top = Math.max(whole.top, crop.top);
  const right = Math.min(whole.left + whole.width, crop.left + crop.width);
  const bottom = Math.min(whole.top + whole.height, crop.top + crop.height);
  path.rect(left, top, Math.max(0, right - left), Math.max(0, bottom - top));
  context.save();
  context.clip(path, "evenodd");
  context.fillStyle = "rgb(120 122 122 / .82)";
  context.fillRect(whole.left, whole.top, whole.width, whole.height);
  context.strokeStyle = "rgb(176 178 178 / .9)";
  context.lineWidth = 4 * ratio;
  context.beginPath();
  for (let at = whole.left - whole.height; at < whole.left + whole.width; at += 11 * ratio) {
    context.moveTo(at, whole.top + whole.height);
    context.lineTo(at + whole.height, whole.top);
  }
  context.stroke();
  context.restore();
}
