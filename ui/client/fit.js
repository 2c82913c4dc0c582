// Where a picture lies on the stage at a zoom, and what is drawn on a canvas in pixels of the screen. No state.

const SMOOTH = 4; // times; beyond, a pixel is a square

/**
 * The rectangle that a picture fills, in pixels of the stage; `fit`: pixels of the stage for one of its own.
 * @param {{width: number, height: number}} stage
 * @param {{width: number, height: number}} picture
 * @param {{scale: number, x: number, y: number}} view of the zoom
 */
export function fitted(stage, picture, { scale, x, y }) {
  let fit = Math.min(stage.width / picture.width, stage.height / picture.height);
  // Small pictures grow to whole multiples, so that all their pixels are squares of one size.
  if (fit > SMOOTH) fit = Math.floor(fit);
  const [width, height] = [picture.width * fit, picture.height * fit];
  const left = Math.round((stage.width - width) / 2) * scale + x;
  const top = Math.round((stage.height - height) / 2) * scale + y;
  return { left, top, width: width * scale, height: height * scale, fit: fit * scale };
}

/** Pixels of the original, and corners of a map's patches, as places of the stage; no corner lies beyond the picture. */
export function places(whole, { crop, rows, columns }, picture) {
  const [left, top, right, bottom] = crop;
  const tenths = (value) => Math.round(10 * value) / 10;
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  const pixel = (x, y) => [tenths(whole.left + x * whole.fit), tenths(whole.top + y * whole.fit)];
  const corner = (row, column) =>
    pixel(
      within(left + (column / columns) * (right - left), picture.width),
      within(top + (row / rows) * (bottom - top), picture.height),
    );
  return { pixel, corner };
}

/** An empty canvas of the stage's size, to be drawn on in its pixels. */
export function sheetOf(canvas, { width, height, ratio }) {
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, across, down);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** A picture into its rectangle, smoothly up to four times its size. */
export function paint(context, image, whole) {
  context.imageSmoothingEnabled = whole.width / image.naturalWidth <= SMOOTH;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, whole.left, whole.top, whole.width, whole.height);
}
