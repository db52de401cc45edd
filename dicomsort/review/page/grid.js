// The grid: only the tiles on screen exist, however long the list is.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { need } from "./items.js";
import { moveTo, toggleSelected } from "./list.js";
import { Tile } from "./tile.js";
import { changed, store } from "./store.js";

const SIZES = [112, 136, 160, 200, 248];
const GAP = 8;
const PADDING = 12;
const CAPTION = 42; // height of the text under a picture
const TALLEST = 8_000_000; // browsers draw no taller element; a longer list scrolls in larger steps
const AHEAD = 3; // screens of thumbnails that the server makes in advance

const grid = byId("grid");
const sheet = byId("grid-sheet");
const shown = new Map(); // tiles by place in the list
const spare = [];
let shape = { columns: 1, width: 1, row: 1, height: 1 }; // of the grid, in pixels but for the columns
let bar = 0; // of the scroll bar
let top = 0; // of what is seen, in pixels of the whole list
let seen = { cursor: -1, ids: null, columns: 0, top: 0 }; // what the last drawing was for
let settle = null;
let moved = false; // the scroll bar was moved by this module

/** How many tiles a row holds. */
export const columns = () => shape.columns;

/** How many tiles whole rows of the screen hold. */
export const screenful = () => shape.columns * Math.max(1, Math.floor(shape.height / shape.row));

/** Look once a drawing how much room there is: to ask again after each change is slow. */
function measure() {
  const room = grid.clientWidth - 2 * PADDING + GAP;
  const columns = Math.max(1, Math.floor(room / (store.tile + GAP)));
  const width = Math.floor(room / columns) - GAP;
  shape = { columns, width, row: width + CAPTION + GAP, height: grid.clientHeight };
}

const fullHeight = () => Math.ceil(store.ids.length / shape.columns) * shape.row + 2 * PADDING;
const scrollable = () => Math.max(0, fullHeight() - shape.height);

/** Larger (1) or smaller (-1) tiles. */
export function resize(step) {
  const place = SIZES.findIndex((size) => size >= store.tile);
  store.tile = SIZES[Math.max(0, Math.min(SIZES.length - 1, place + step))];
  changed();
}

/** Draw the tiles that are on screen. */
export function drawGrid() {
  grid.hidden = store.view !== "grid";
  if (grid.hidden) return;
  measure();
  follow();
  sheet.style.height = `${Math.min(fullHeight(), TALLEST)}px`;
  placeBar();
  const [from, to] = range();
  recycle(from, to);
  const shift = bar - top; // where the sheet lies now
  for (let place = from; place < to; place += 1) drawTile(place, shift);
  markCurrent();
  fill(from, to);
}

/** Bring the cursor into view if it, the list or the width has changed since, but not under the mouse that moved it. */
function follow() {
  const now = { cursor: store.cursor, ids: store.ids, columns: shape.columns, tile: store.tile, view: store.view };
  if (Object.keys(now).every((key) => now[key] === seen[key])) return;
  if (now.ids !== seen.ids) clear();
  seen = { ...now, top };
  const start = Math.floor(store.cursor / shape.columns) * shape.row + PADDING;
  const context = Math.max(0, Math.min(shape.row, (shape.height - shape.row) / 2)); // of the rows around
  const [highest, lowest] = [start + shape.row + context - shape.height, start - context];
  top = Math.min(Math.max(top, highest), lowest);
}

function clear() {
  for (const place of [...shown.keys()]) release(place);
}

function release(place) {
  const tile = shown.get(place);
  shown.delete(place);
  tile.root.remove();
  tile.picture.removeAttribute("src");
  spare.push(tile);
}

/** Set the scroll bar to where the list is seen. */
function placeBar() {
  top = Math.max(0, Math.min(top, scrollable()));
  const wanted = Math.round(top * scale());
  bar = grid.scrollTop;
  if (Math.abs(bar - wanted) < 1) return;
  moved = true;
  grid.scrollTop = wanted;
  bar = grid.scrollTop;
}

/** Pixels of the scroll bar for one of the list: below 1 only for lists that no browser could draw. */
function scale() {
  if (fullHeight() <= TALLEST) return 1;
  return (TALLEST - shape.height) / scrollable();
}

function range() {
  const first = Math.floor((top - PADDING) / shape.row) - 1;
  const last = Math.ceil((top + shape.height) / shape.row) + 1;
  return [Math.max(0, first * shape.columns), Math.min(store.ids.length, last * shape.columns)];
}

function recycle(from, to) {
  for (const place of [...shown.keys()]) {
    if (place < from || place >= to || shown.get(place).id !== store.ids[place]) release(place);
  }
}

function drawTile(place, shift) {
  const tile = shown.get(place) ?? show(place);
  const x = PADDING + (place % shape.columns) * (shape.width + GAP);
  const y = PADDING + Math.floor(place / shape.columns) * shape.row + shift;
  tile.moveTo(x, y, shape.width);
  tile.draw(place === store.cursor);
}

function show(place) {
  const tile = spare.pop() ?? new Tile();
  tile.become(store.ids[place], place);
  sheet.append(tile.root);
  shown.set(place, tile);
  return tile;
}

function markCurrent() {
  const tile = shown.get(store.cursor);
  if (tile) grid.setAttribute("aria-activedescendant", tile.root.id);
  else grid.removeAttribute("aria-activedescendant");
}

/** Load what is seen: at once after a small step, when the list stands still after a large one. */
function fill(from, to) {
  const near = Math.abs(top - seen.top) < 2 * shape.height;
  seen.top = top;
  if (near) load(from, to);
  clearTimeout(settle);
  settle = setTimeout(() => {
    load(from, to);
    announce(from, to);
  }, 80);
}

function load(from, to) {
  need(store.ids.slice(from, to));
  for (const tile of shown.values()) tile.load();
}

let announced = "";

/** Ask the server to make the next thumbnails. */
function announce(from, to) {
  const name = `${from} ${to} ${store.ids.length}`;
  if (name === announced || to <= from) return;
  announced = name;
  const next = store.ids.slice(to, to + AHEAD * (to - from));
  need(next);
  if (next.length) api.ahead(next).catch(() => (announced = ""));
}

function placeOf(event) {
  const tile = event.target.closest(".tile");
  return tile ? store.ids.indexOf(Number(tile.dataset.id)) : -1;
}

function click(event) {
  const place = placeOf(event);
  if (place < 0) return;
  seen.cursor = place;
  if (event.ctrlKey || event.metaKey) {
    moveTo(place);
    return toggleSelected();
  }
  if (!event.shiftKey) store.selection.clear();
  moveTo(place, event.shiftKey);
}

/** Listen to the mouse, the scroll bar and the size of the window; `open` shows one image. */
export function listenToGrid(open) {
  grid.addEventListener("scroll", () => {
    if (!moved) top = grid.scrollTop / scale();
    moved = false;
    changed();
  });
  grid.addEventListener("wheel", wheel, { passive: false });
  grid.addEventListener("click", click);
  grid.addEventListener("dblclick", (event) => placeOf(event) >= 0 && open());
  new ResizeObserver(changed).observe(grid);
}

function wheel(event) {
  if (scale() === 1 || event.ctrlKey) return;
  event.preventDefault();
  top += event.deltaY;
  changed();
}
