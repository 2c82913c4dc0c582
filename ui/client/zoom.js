// Zooming and moving the picture and its map as one: wheel, drag, double click, pinch; and swipes, where all is in sight.

const MOST = 24; // times
const STEP = 1.5; // of a key or button
const DOUBLE = 3; // times, by a double click
const SWIPE = 60; // pixels

/**
 * @param {HTMLElement} stage listens here; its size is that of the view
 * @param {{changed: () => void, swiped: (way: 1|-1) => void}} told
 */
export function createZoom(stage, { changed, swiped }) {
  const zoom = { scale: 1, x: 0, y: 0 };
  /** @type {Map<number, {x: number, y: number}>} fingers and buttons that are down */
  const pointers = new Map();
  let began = null;

  function to(scale, x, y) {
    zoom.scale = Math.min(Math.max(scale, 1), MOST);
    // The stage stays covered.
    zoom.x = Math.min(0, Math.max(x, stage.clientWidth * (1 - zoom.scale)));
    zoom.y = Math.min(0, Math.max(y, stage.clientHeight * (1 - zoom.scale)));
    stage.classList.toggle("zoomed", zoom.scale > 1);
    changed();
  }

  /** Enlarge by a factor; what lies at (x, y) of the stage stays there. */
  function about(factor, x, y) {
    const scale = Math.min(Math.max(zoom.scale * factor, 1), MOST);
    const grown = scale / zoom.scale;
    to(scale, x - (x - zoom.x) * grown, y - (y - zoom.y) * grown);
  }

  const at = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 32 : 1;
      const { x, y } = at(event);
      about(1.0022 ** (-event.deltaY * lines * (event.ctrlKey ? 4 : 1)), x, y);
    },
    { passive: false },
  );
  stage.addEventListener("dblclick", (event) => {
    if (event.target.closest("button, form")) return;
    const { x, y } = at(event);
    if (zoom.scale > 1) to(1, 0, 0);
    else about(DOUBLE, x, y);
  });
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("button, form")) return;
    pointers.set(event.pointerId, at(event));
    began = pointers.size === 1 ? { ...at(event), touch: event.pointerType !== "mouse", alone: true } : { ...began, alone: false };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const was = pointers.get(event.pointerId);
    if (!was) return;
    const now = at(event);
    if (pointers.size === 1 && zoom.scale > 1) to(zoom.scale, zoom.x + now.x - was.x, zoom.y + now.y - was.y);
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
      const apart = Math.max(1, Math.hypot(was.x - other.x, was.y - other.y));
      about(Math.hypot(now.x - other.x, now.y - other.y) / apart, middle.x, middle.y);
      to(zoom.scale, zoom.x + (now.x - was.x) / 2, zoom.y + (now.y - was.y) / 2);
    }
    pointers.set(event.pointerId, now);
  });
  const up = (event) => {
    if (!pointers.delete(event.pointerId) || pointers.size || event.type === "pointercancel") return;
    const { x, y } = at(event);
    const [across, down] = [x - began.x, y - began.y];
    const swipe = began.touch && began.alone && zoom.scale === 1 && Math.abs(across) > Math.max(SWIPE, 2 * Math.abs(down));
    if (swipe) swiped(across < 0 ? 1 : -1);
  };
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", up);

  return {
    view: zoom,
    /** 1 larger, -1 smaller, 0 whole. */
    step(way) {
      if (way) about(way > 0 ? STEP : 1 / STEP, stage.clientWidth / 2, stage.clientHeight / 2);
      else to(1, 0, 0);
    },
    /** Whole again, without telling: for another picture. */
    reset() {
      Object.assign(zoom, { scale: 1, x: 0, y: 0 });
      stage.classList.remove("zoomed");
    },
    /** After the stage has another size. */
    keep: () => to(zoom.scale, zoom.x, zoom.y),
  };
}
