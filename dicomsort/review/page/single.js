// One image on screen: zoom, pan and window, and the other images of its study beside it.

import { element, byId, nameOf, percent, setText } from "./dom.js";
import { need } from "./items.js";
import { markOf } from "./marks.js";
import { forget, isLoaded, picture } from "./pictures.js";
import { drawStrip } from "./strip.js";
import { explain } from "./tile.js";
import { changed, currentId, store } from "./store.js";

const WHOLE = { center: 128, width: 256 }; // of 8-bit values
const stage = byId("stage");
const sheet = byId("sheet");
let shown = null; // the image on screen
let look = { scale: 1, x: 0, y: 0, ...WHOLE };

/** Show one image, or the grid again. */
export function toggleView() {
  if (!store.ids.length) return;
  store.view = store.view === "single" ? "grid" : "single";
  store.guest = null;
  store.toggles.clear();
  changed();
  requestAnimationFrame(() => byId(store.view).focus({ preventScroll: true }));
}

export function drawSingle() {
  byId("single").hidden = store.view !== "single";
  if (store.view !== "single") return;
  const id = currentId();
  if (id !== shown) begin(id);
  need([id, ...store.ids.slice(store.cursor + 1, store.cursor + 5)]);
  drawWords(id);
  drawStrip(id);
}

/** Show another image: its thumbnail at once, the picture when it is there. */
function begin(id) {
  shown = id;
  look = { scale: 1, x: 0, y: 0, ...WHOLE };
  const full = picture(id);
  if (isLoaded(full)) sheet.replaceChildren(full);
  else {
    sheet.replaceChildren(element("img", { alt: "", draggable: "false", classes: "preview", src: `/thumbnail/${id}` }));
    full.addEventListener("load", () => shown === id && finish(id, full), { once: true });
    full.addEventListener("error", () => missing(id), { once: true });
  }
  apply();
  if (isLoaded(full)) prefetch();
}

function finish(id, full) {
  sheet.replaceChildren(full);
  prefetch();
  changed();
}

function missing(id) {
  forget(id);
  explain(id, `/picture/${id}`).then(() => {
    if (shown === id && !store.faults.has(id)) shown = null; // the server was gone: load it again
    changed();
  });
}

function prefetch() {
  const next = store.ids[store.cursor + 1];
  if (next !== undefined) picture(next);
}

function drawWords(id) {
  const item = store.items.get(id);
  const mark = markOf(id);
  const where =
    store.guest === null
      ? `${store.cursor + 1} of ${store.ids.length.toLocaleString("en")}`
      : "same study, not in the list";
  const selected = store.selection.has(id) && "selected";
  setText(byId("single-where"), [where, item && nameOf(item.path), selected].filter(Boolean).join(" · "));
  const fault = store.faults.get(id);
  const said = mark
    ? `${mark.shape} ${mark.words}`
    : item?.label
      ? `model: ${item.label} ${percent(item.confidence)}`
      : "";
  setText(byId("single-mark"), said);
  byId("single-mark").className = `hud mark ${mark?.kind ?? ""}`;
  setText(
    byId("single-window"),
    fault ?? `zoom ${look.scale.toFixed(1)} · center ${Math.round(look.center)} width ${Math.round(look.width)}`,
  );
  byId("single-window").classList.toggle("fault", Boolean(fault));
  byId("single").setAttribute("aria-label", `One image: ${where}, ${item ? nameOf(item.path) : ""}, ${said}`);
}

/** Put zoom, pan and window on screen. */
function apply() {
  const plain = look.center === WHOLE.center && look.width === WHOLE.width;
  sheet.style.transform = `translate(${look.x}px, ${look.y}px) scale(${look.scale})`;
  sheet.classList.toggle("windowed", !plain);
  sheet.classList.toggle("close", look.scale > 4);
  for (const channel of document.querySelectorAll("#window feComponentTransfer > *")) {
    channel.setAttribute("slope", 256 / look.width);
    channel.setAttribute("intercept", -(look.center - look.width / 2) / look.width);
  }
  changed();
}

/** Zoom by a factor around a point of the stage, else its middle. */
export function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const scale = Math.max(1, Math.min(16, look.scale * factor));
  const ratio = scale / look.scale;
  look = { ...look, scale, x: x - (x - look.x) * ratio, y: y - (y - look.y) * ratio };
  if (scale === 1) look = { ...look, x: 0, y: 0 };
  apply();
}

export function pan(dx, dy) {
  if (look.scale === 1) return;
  look = { ...look, x: look.x + dx, y: look.y + dy };
  apply();
}

/** Change the window by so many of 256 gray values. */
export function windowBy(width, center) {
  look.width = Math.max(4, Math.min(512, look.width + width));
  look.center = Math.max(0, Math.min(255, look.center - center));
  apply();
}

export function reset() {
  look = { scale: 1, x: 0, y: 0, ...WHOLE };
  apply();
}

/** Listen to the mouse on the image. */
export function listenToSingle() {
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - box.left, event.clientY - box.top);
    },
    { passive: false },
  );
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
  stage.addEventListener("pointermove", drag);
  stage.addEventListener("dblclick", toggleView);
}

function drag(event) {
  if (!event.buttons) return;
  const { movementX: dx, movementY: dy } = event;
  if (event.buttons & 2 || event.ctrlKey) windowBy(dx, dy / 2);
  else pan(dx, dy);
}
