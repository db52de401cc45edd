// The list of images: a snapshot of the filter, the cursor in it, and the selection.

import * as api from "./api.js";
import { query } from "./address.js";
import { lost } from "./connection.js";
import { settled } from "./queue.js";
import { changed, currentId, decisionOf, say, store } from "./store.js";

let range = null; // { anchor, base }: where shift began, and what was selected then
const WAITS = "The list stays as it was until the server is back";
let newest = 0; // a later filter wins over an earlier one whose answer is late
let asked = false; // whether the newest has not been answered

/** Apply the filter anew; the cursor goes to the image `at` if that is in the list, else stays at its image. */
export async function load(at) {
  const turn = (newest += 1);
  asked = true;
  if (store.offline) say(WAITS);
  await settled(); // what was decided just before counts
  const found = await listed(turn);
  if (turn !== newest) return;
  asked = false;
  if (found === null) return;
  if (store.message === WAITS) say("");
  const { ids } = found.reply;
  const place = [at, currentId()].map((id) => ids.indexOf(id)).find((where) => where >= 0);
  Object.assign(store, { ids, several: found.reply.studies, applied: found.wanted });
  store.selection.clear();
  store.refusals.clear();
  store.guest = null;
  range = null;
  setCursor(place ?? 0);
  if (!ids.length) store.view = "grid";
}

/** Return whether every one of the images is listed, and will be once the list that was asked for has come. */
export function holds(ids) {
  const listed = new Set(store.ids);
  return !asked && ids.every((id) => listed.has(id));
}

async function listed(turn) {
  const { wanted } = store;
  try {
    return { wanted, reply: await api.list(query(wanted)) };
  } catch (error) {
    if (!(error instanceof api.Unreachable)) {
      say(error.message);
      return null;
    }
    say(WAITS);
    await lost(error);
    return turn === newest ? listed(turn) : null;
  }
}

function setCursor(place) {
  store.cursor = Math.max(0, Math.min(store.ids.length - 1, place));
  store.guest = null;
  store.toggles.clear();
  changed();
}

/** Move the cursor to a place of the list; with `extend` the selection reaches from where it began to there. */
export function moveTo(place, extend = false) {
  if (extend) range ??= { anchor: store.cursor, base: new Set(store.selection) };
  else range = null;
  setCursor(place);
  if (!range) return;
  const [from, to] = [range.anchor, store.cursor].sort((a, b) => a - b);
  store.selection = new Set(range.base);
  for (let at = from; at <= to; at += 1) store.selection.add(store.ids[at]);
}

/** Show an image, in the list or not. */
export function goTo(id) {
  const place = store.ids.indexOf(id);
  if (place >= 0) return moveTo(place);
  if (store.view === "single") store.guest = id;
  changed();
}

/** Go to the next undecided image after the last that was decided; returns whether there is one. */
export function advance(decided) {
  store.selection.clear();
  if (store.guest !== null && advanceInStudy()) return true;
  const last = store.guest === null ? store.ids.lastIndexOf(decided) : store.cursor - 1;
  const next = nextUndecided(last + 1);
  moveTo(next < 0 ? store.cursor : next);
  return next >= 0;
}

function advanceInStudy() {
  const { ids } = store.study;
  const next = ids.slice(ids.indexOf(store.guest) + 1).find(undecided);
  if (next === undefined) return false;
  goTo(next);
  return true;
}

const undecided = (id) => !decisionOf(id);

function nextUndecided(from) {
  for (let step = 0; step < store.ids.length; step += 1) {
    const place = (from + step) % store.ids.length;
    if (undecided(store.ids[place])) return place;
  }
  return -1;
}

export function toggleSelected(id = currentId()) {
  if (id === undefined) return;
  if (!store.selection.delete(id)) store.selection.add(id);
  range = null;
  changed();
}

export function selectAll() {
  range = null;
  store.selection = new Set(store.ids);
  say(`${store.ids.length.toLocaleString("en")} selected; Escape clears`);
}

/** Select those of the images that are listed. */
export function select(ids) {
  const wanted = new Set(ids);
  range = null;
  store.selection = new Set(store.ids.filter((id) => wanted.has(id)));
  changed();
}

export function clearSelection() {
  store.selection.clear();
  range = null;
  changed();
}
