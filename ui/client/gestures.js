// Pointers over the map: a finger or the mouse draws a lasso or moves, two fingers and the wheel zoom, resting shows.

const STILL = 5; // CSS pixels that a pointer may stray and still have clicked
const REST = 60; // milliseconds over a point before its picture is asked for
const STEP = 60; // CSS pixels of an arrow key

/**
 * @param {HTMLElement} area what takes the pointer
 * @param {import("./plot.js").Plot} plot
 * @param {{mode: () => "lasso"|"move", lasso: (polygon: {x: number, y: number}[], done: boolean) => void,
 *   hover: (index: number) => void, click: (index: number) => void}} does
 */
export function listen(area, plot, does, signal) {
  const pointers = new Map();
  let start = null; // of the press
  let polygon = null;
  let gap = 0; // between two fingers
  let rest = 0;
  let over = -1;

  const place = (event) => {
    const box = area.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const on = (type, listener, options = {}) => area.addEventListener(type, listener, { signal, ...options });

  function hover(index) {
    if (index === over) return;
    over = index;
    clearTimeout(rest);
    if (index < 0) does.hover(-1);
    else rest = setTimeout(() => does.hover(index), REST);
  }

  on("pointerdown", (event) => {
    if (event.button > 1) return;
    area.setPointerCapture(event.pointerId);
    const at = place(event);
    pointers.set(event.pointerId, at);
    hover(-1);
    if (pointers.size === 2) {
      if (polygon) does.lasso([], true);
      [polygon, start, gap] = [null, null, spread(pointers)];
      return;
    }
    start = { ...at, moves: event.button === 1 || event.shiftKey || does.mode() === "move", far: false };
    polygon = start.moves ? null : [plot.inside(at)];
  });

  on("pointermove", (event) => {
    const at = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") hover(plot.at(at));
      return;
    }
    pointers.set(event.pointerId, at);
    if (pointers.size === 2) {
      const now = spread(pointers);
      const middle = centre(pointers);
      plot.move((at.x - before.x) / 2, (at.y - before.y) / 2);
      if (gap > 0) plot.zoom(now / gap, middle);
      gap = now;
      return;
    }
    if (!start) return;
    start.far ||= Math.hypot(at.x - start.x, at.y - start.y) > STILL;
    if (!start.far) return;
    if (start.moves) plot.move(at.x - before.x, at.y - before.y);
    else {
      polygon.push(plot.inside(at));
      does.lasso(polygon, false);
    }
  });

  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    gap = 0;
    if (pointers.size || !start) return;
    if (!start.far && event.type === "pointerup") does.click(plot.at(place(event)));
    else if (polygon && start.far) does.lasso(event.type === "pointerup" ? polygon : [], true);
    [start, polygon] = [null, null];
  };
  on("pointerup", release);
  on("pointercancel", release);
  on("pointerleave", () => hover(-1));
  on("wheel", (event) => {
    event.preventDefault();
    hover(-1);
    // Lines and pages, as some mice tell, are larger steps than pixels.
    const turned = event.deltaY * [1, 16, 400][event.deltaMode];
    plot.zoom(Math.exp(-turned * (event.ctrlKey ? 0.01 : 0.0016)), place(event));
  }, { passive: false });
  on("keydown", (event) => {
    const step = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    plot.move(...step);
  });
}

function spread(pointers) {
  const [one, other] = [...pointers.values()];
  return Math.hypot(one.x - other.x, one.y - other.y);
}

function centre(pointers) {
  const [one, other] = [...pointers.values()];
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
}
