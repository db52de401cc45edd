// Which key does what: one table for the keyboard and for the help.

import { classKeys } from "./classes.js";
import { EXCLUDED, UNSURE, agree, choose, clearToggles, decide, undo } from "./decide.js";
import { byId } from "./dom.js";
import { leaveNarrowing, refresh } from "./filters.js";
import { columns, resize, screenful } from "./grid.js";
import { clearSelection, moveTo, selectAll, toggleSelected } from "./list.js";
import { pan, reset, toggleView, windowBy, zoom } from "./single.js";
import { dismissNotices, say, store } from "./store.js";

const single = () => store.view === "single";

/** The commands: `keys` as the browser names them, `once` if holding the key must not repeat it. */
export const COMMANDS = [
  { keys: ["Enter"], shown: "Enter", help: "agree with the model", once: true, run: agree },
  { keys: ["x"], shown: "x", help: "exclude: no radiograph, or not to be used", once: true, run: () => decide(EXCLUDED) },
  { keys: ["q"], shown: "q", help: "unsure: goes to review, or stays there", once: true, run: () => decide(UNSURE) },
  { keys: ["u"], shown: "u", help: "undo: take back the last decision or batch", once: true, run: undo },
  { keys: [" "], shown: "Space", help: "select the image, or not", once: true, run: () => toggleSelected() },
  { keys: ["ctrl+a"], shown: "Ctrl+ a", help: "select all that are listed", once: true, run: selectAll },
  { keys: ["Escape"], shown: "Esc", help: "dismiss a notice; back to the grid; clear the selection; then folder, study and search", run: back },
  { keys: ["v"], shown: "v", help: "one image, or the grid (double click, too)", once: true, run: toggleView },
  { keys: ["f"], shown: "f", help: "refresh the list: what is decided leaves it", once: true, run: refresh },
  { keys: ["/"], shown: "/", help: "search in names and folders", run: () => byId("search").focus() },
  { keys: ["?"], shown: "?", help: "show or hide these keys", once: true, run: () => byId("help-button").click() },
];

/** How to move about. */
export const MOVES = [
  { keys: ["ArrowLeft"], shown: "← →", help: "image before, next image", run: () => moveTo(store.cursor - 1) },
  { keys: ["ArrowRight"], run: () => moveTo(store.cursor + 1) },
  { keys: ["ArrowUp"], shown: "↑ ↓", help: "row above, row below", run: () => moveTo(store.cursor - row()) },
  { keys: ["ArrowDown"], run: () => moveTo(down(row())) },
  { keys: ["PageUp"], shown: "Page ↑ ↓", help: "a screen of images", run: () => moveTo(store.cursor - page()) },
  { keys: ["PageDown"], run: () => moveTo(down(page())) },
  { keys: ["Home"], shown: "Home End", help: "first image, last image", run: () => moveTo(0) },
  { keys: ["End"], run: () => moveTo(store.ids.length - 1) },
];

/** What only the grid knows. */
export const IN_GRID = [
  { keys: ["shift+ArrowLeft"], shown: "Shift+ arrows", help: "select a range (Shift + click, too)", run: () => moveTo(store.cursor - 1, true) },
  { keys: ["shift+ArrowRight"], run: () => moveTo(store.cursor + 1, true) },
  { keys: ["shift+ArrowUp"], run: () => moveTo(store.cursor - row(), true) },
  { keys: ["shift+ArrowDown"], run: () => moveTo(down(row()), true) },
  { keys: ["shift+Home"], run: () => moveTo(0, true) },
  { keys: ["shift+End"], run: () => moveTo(store.ids.length - 1, true) },
  { keys: ["shift+PageUp"], run: () => moveTo(store.cursor - page(), true) },
  { keys: ["shift+PageDown"], run: () => moveTo(down(page()), true) },
  { keys: ["+", "="], shown: "+ −", help: "larger, smaller tiles", run: () => resize(1) },
  { keys: ["-"], run: () => resize(-1) },
];

/** What only the single view knows. */
export const IN_SINGLE = [
  { keys: ["+", "="], shown: "+ −", help: "zoom (wheel, too)", run: () => zoom(1.25) },
  { keys: ["-"], run: () => zoom(0.8) },
  { keys: ["ctrl+ArrowLeft"], shown: "Ctrl+ arrows", help: "move the zoomed image (drag, too)", run: () => pan(60, 0) },
  { keys: ["ctrl+ArrowRight"], run: () => pan(-60, 0) },
  { keys: ["ctrl+ArrowUp"], run: () => pan(0, 60) },
  { keys: ["ctrl+ArrowDown"], run: () => pan(0, -60) },
  { keys: ["shift+ArrowLeft"], shown: "Shift+ ← →", help: "more, less contrast (drag with right button or Ctrl)", run: () => windowBy(-10, 0) },
  { keys: ["shift+ArrowRight"], run: () => windowBy(10, 0) },
  { keys: ["shift+ArrowUp"], shown: "Shift+ ↑ ↓", help: "darker, brighter (the same drag)", run: () => windowBy(0, 6) },
  { keys: ["shift+ArrowDown"], run: () => windowBy(0, -6) },
  { keys: ["r"], shown: "r", help: "reset zoom and contrast", run: reset },
];

const row = () => (single() ? 1 : columns());
const page = () => (single() ? 10 : screenful());

/** So many places down, but not past the last row. */
function down(step) {
  const last = store.ids.length - 1;
  return store.cursor + step <= last || Math.floor(store.cursor / row()) < Math.floor(last / row()) ? store.cursor + step : store.cursor;
}

function back() {
  if (store.notices.length) dismissNotices();
  else if (store.toggles.size) clearToggles();
  else if (single()) toggleView();
  else if (store.selection.size) clearSelection();
  else leaveNarrowing();
}

/** Listen to the keyboard. */
export function listen() {
  const classes = new Map();
  for (const { label, digit, letter } of classKeys(store.session.labels)) {
    for (const key of [digit, letter]) if (key) classes.set(key, label);
  }
  addEventListener("keydown", (event) => handle(event, classes));
}

function handle(event, classes) {
  if (event.altKey || byId("help").open || typing(event)) return;
  const name = nameOf(event);
  const command = commandFor(name);
  const label = classes.get(name);
  if (!command && !label) return unknown(name);
  event.preventDefault();
  if (event.repeat && (label || command.once)) return; // a key that is held down decides once
  if (command) command.run();
  else choose(label);
}

function unknown(name) {
  if (/^[0-9]$/.test(name)) say(`No class has the key ${name}`);
}

function nameOf(event) {
  const named = event.key.length > 1;
  const modifier = (event.ctrlKey || event.metaKey ? "ctrl+" : "") + (event.shiftKey && named ? "shift+" : "");
  return modifier + (named ? event.key : event.key.toLowerCase());
}

function commandFor(name) {
  const here = single() ? IN_SINGLE : IN_GRID;
  return [...COMMANDS, ...MOVES, ...here].find((command) => command.keys.includes(name));
}

/** Return whether the key belongs to the field or button that has the focus. */
function typing(event) {
  const field = event.target.closest?.("input, select, button");
  if (!field) return false;
  if (event.key === "Escape") {
    event.preventDefault(); // some browsers empty the search
    return leave(field);
  }
  if (field.matches("button")) return event.key === "Enter" || event.key === " ";
  return true;
}

function leave(field) {
  field.blur();
  byId("grid").focus();
  return true;
}
