// Decisions: of one image or a batch, marked at once and sent in order, and taken back by undo.

import * as api from "./api.js";
import { advance, goTo, holds, load, select } from "./list.js";
import { itemsOf, numbersOf } from "./items.js";
import { askSoon, lost } from "./connection.js";
import { count } from "./pace.js";
import { enqueue, forgetKept, kept } from "./queue.js";
import { changed, currentId, decisionOf, learn, say, store, targetIds } from "./store.js";

const AT_ONCE = 50_000; // images whose numbers fit into one request
const history = []; // one entry a keystroke: the batches that it sent

export const EXCLUDED = "excluded";
export const UNSURE = "unsure";

/** How many images, as words. */
export const images = (number) => (number === 1 ? "1 image" : `${number.toLocaleString("en")} images`);

/** Decide the selection, else the current image. */
export function decide(label) {
  if (!allowed()) return;
  const ids = targetIds();
  if (ids.length) carryOut([{ ids, label }], ids.at(-1));
}

/** A class key: the decision itself, or one of several labels of a multilabel model. */
export function choose(label) {
  if (!store.session.multilabel) return decide(label);
  if (!allowed()) return;
  if (!store.toggles.delete(label)) store.toggles.add(label);
  say(store.toggles.size ? `${joined()}: Enter decides` : "No label chosen: Enter agrees with the model");
}

export function clearToggles() {
  store.toggles.clear();
  say("No label chosen");
}

/** Agree with the model, or decide for the labels that were chosen. */
export async function agree() {
  if (!allowed()) return;
  if (store.toggles.size) return decide(joined());
  const ids = targetIds();
  if (ids.some((id) => !store.items.has(id)) && !(await fetched(ids))) return;
  const batches = byModelLabel(ids);
  if (batches.length) carryOut(batches, ids.at(-1));
  else if (ids.length) say("The model says nothing here to agree with: press the key of a class");
}

/** Take back the last batch; of this sitting at once, of an earlier one when the server has answered. */
export function undo() {
  if (!allowed()) return;
  const entry = history.pop();
  if (!entry) return enqueue(undoJob({ ids: [], label: "", accepted: true }));
  const batches = [...entry.batches].reverse();
  for (const batch of batches) {
    const owner = {};
    for (const id of batch.ids) store.marks.set(id, { label: batch.before.get(id), owner, saved: false });
    enqueue(undoJob(batch, owner));
  }
  const ids = batches.flatMap((batch) => batch.ids);
  count(-ids.length);
  say(`${images(ids.length)}: taken back`);
  lookAgain(ids, entry);
}

/** Show what was taken back, a batch selected to be decided otherwise; what has left the list comes back to it. */
async function lookAgain(ids, { at, guest }) {
  if (!guest && !holds(ids)) await load(at);
  else goTo(at);
  if (store.view === "grid" && ids.length > 1) select(ids);
}

function allowed() {
  if (store.session.read_only) say(`Nothing can be decided here: ${store.session.read_only}`);
  return !store.session.read_only;
}

function joined() {
  return store.session.labels.filter((label) => store.toggles.has(label)).join("|");
}

async function fetched(ids) {
  try {
    await itemsOf(ids);
    return true;
  } catch (error) {
    if (error instanceof api.Unreachable) lost(error);
    else say(error.message);
    return false;
  }
}

function byModelLabel(ids) {
  const groups = new Map();
  for (const id of ids) {
    const { label } = store.items.get(id);
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(id);
  }
  groups.delete("");
  return [...groups].map(([label, members]) => ({ label, ids: members }));
}

/** Decide batches; the cursor goes on behind the image `last`. */
function carryOut(wanted, last) {
  const before = { at: currentId(), guest: store.guest !== null };
  const batches = wanted.flatMap(split).map(({ ids, label }) => mark(ids, label));
  const ids = batches.flatMap((batch) => batch.ids);
  begin(batches, before);
  count(ids.length);
  store.toggles.clear();
  const rest = advance(last);
  const what = wanted.length === 1 ? wanted[0].label : `as the model says (${wanted.length} labels)`;
  say(
    `${images(ids.length)}: ${what}; u takes it back${rest ? "" : ". No other image here is undecided; f refreshes the list"}`,
  );
}

function begin(batches, before) {
  history.push({ batches, ...before });
  batches.forEach((batch) => enqueue(decisionJob(batch)));
}

/** Batches small enough for one request. */
function split({ ids, label }) {
  const parts = [];
  for (let start = 0; start < ids.length; start += AT_ONCE)
    parts.push({ ids: ids.slice(start, start + AT_ONCE), label });
  return parts;
}

function mark(ids, label) {
  const batch = { ids, label, before: new Map(ids.map((id) => [id, decisionOf(id)])), accepted: false };
  for (const id of ids) {
    store.marks.set(id, { label, owner: batch, saved: false });
    store.refusals.delete(id);
  }
  changed();
  return batch;
}

function decisionJob(batch) {
  return {
    decides: batch,
    send: () => api.decide(batch.ids, batch.label),
    landed: async () => (await itemsOf(batch.ids, true)).every((item) => item.reviewed_label === batch.label),
    current: () => ({ items: batch.ids.map((id) => store.items.get(id)) }),
    done: (reply) => acknowledge(batch, reply),
    failed: (error) => acknowledge(batch, { refused: batch.ids.map((id) => ({ id, reason: error.message })) }),
    told: () => ({ label: batch.label, paths: batch.ids.map((id) => store.items.get(id)?.path ?? "") }),
  };
}

/** Send what waited when the page was loaded anew. */
export async function resume() {
  const { decisions, undos } = kept();
  let [sent, unknown] = [0, 0];
  for (const { label, paths } of decisions) {
    const ids = await numbersOf(paths);
    sent += ids.length;
    unknown += paths.length - ids.length;
    if (ids.length) begin([mark(ids, label)], { at: ids.at(-1), guest: false });
  }
  forgetKept();
  const told = [
    sent && `${images(sent)} that had waited: sent now`,
    unknown && `${images(unknown)} not found again: decide anew`,
  ];
  told.push(undos && `${undos} undo not sent: look again`);
  if (sent || unknown || undos) say(told.filter(Boolean).join("; "));
}

/** The reply of a large batch tells of its first images only: the marks of the others stay. */
function acknowledge(batch, reply) {
  const { refused = [] } = reply;
  keepMarks(batch);
  release(
    [...refused, ...(reply.items ?? [])].map(({ id }) => id),
    batch,
  );
  batch.accepted = refused.length < batch.ids.length;
  for (const { id, reason } of refused) store.refusals.set(id, reason);
  if (refused.length) say(`${images(refused.length)} not decided: ${refused[0].reason}`);
  if (!batch.accepted) forget(batch);
  learn(reply);
  askSoon();
}

function keepMarks(batch) {
  for (const id of batch.ids) {
    const mark = store.marks.get(id);
    if (mark?.owner === batch) mark.saved = true;
  }
}

function release(ids, owner) {
  for (const id of ids) {
    if (store.marks.get(id)?.owner === owner) store.marks.delete(id);
  }
}

function forget(batch) {
  const place = history.findIndex((entry) => entry.batches.includes(batch));
  if (place < 0) return;
  const entry = history[place];
  entry.batches = entry.batches.filter((other) => other !== batch);
  if (!entry.batches.length) history.splice(place, 1);
}

function undoJob(batch, owner) {
  return {
    undoes: batch,
    send: () => (batch.accepted ? api.undo() : { items: [] }), // a batch that was refused as a whole is not there to undo
    landed: () => undone(batch),
    current: () => ({ items: batch.ids.map((id) => store.items.get(id)) }),
    done: (reply) => takenBack(batch, owner, reply),
    failed: (error) => takenBack(batch, owner, { failure: error.message }),
  };
}

async function undone(batch) {
  if (!batch.ids.length) throw new api.Refused("the server was gone; look, and press u again");
  return (await itemsOf(batch.ids, true)).every((item) => item.reviewed_label !== batch.label);
}

function takenBack(batch, owner, reply) {
  release(batch.ids, owner);
  batch.ids.forEach((id) => store.items.delete(id)); // the reply tells of the first ones only
  learn(reply);
  const back = reply.items ?? [];
  if (reply.failure) return say(`Not taken back: ${reply.failure}`);
  if (batch.ids.length) return;
  say(back.length ? `${images(back.length)}: taken back` : "There is nothing to take back");
  if (back.length) lookAgain([back[0].id], { at: back[0].id, guest: false });
}
