// What is said beside the images: progress, pace, the last action, and what went wrong.

import { ENDED } from "./api.js";
import { byId, setText } from "./dom.js";
import { pace } from "./pace.js";
import { unsent } from "./queue.js";
import { dismissNotices, store } from "./store.js";

const number = (value) => value.toLocaleString("en");

export function drawMessages() {
  drawProgress();
  drawSample();
  drawBanner();
  setText(byId("message"), store.message);
  const where = store.view === "single" ? "selected in the grid" : "selected";
  const selected = store.selection.size ? `${number(store.selection.size)} ${where} · ` : "";
  setText(
    byId("place"),
    store.ids.length ? `${selected}${number(store.cursor + 1)} of ${number(store.ids.length)}` : "",
  );
}

function drawProgress() {
  const { done, left } = progress(store.session);
  setText(byId("progress"), `${number(done)} decided · ${number(left)} to do`);
  const bar = byId("progress-bar");
  bar.max = Math.max(1, done + left);
  bar.value = done;
  const speed = pace();
  setText(byId("pace"), speed === null ? "" : `${number(speed)} a minute`);
}

/** Of the spot check where there is one, else of all. */
function progress({ counts, sample }) {
  if (!sample) return { done: counts.decided, left: counts.undecided };
  const done = sample.answered + sample.unsure;
  return { done, left: sample.drawn - done };
}

function drawSample() {
  const { sample } = store.session;
  byId("sample").hidden = !sample;
  if (!sample) return;
  setText(
    byId("sample"),
    `Spot check: ${number(sample.answered)} of ${number(sample.drawn)} answered, ${number(sample.right)} right`,
  );
}

function drawBanner() {
  const text = store.offline ? offline() : store.notices.join(" ");
  byId("banner").hidden = !text;
  byId("banner-close").hidden = Boolean(store.offline);
  setText(byId("banner-text"), text);
}

function offline() {
  const waiting = unsent();
  const what = waiting === 1 ? "1 decision waits" : `${number(waiting)} decisions wait`;
  const told = [store.offline, waiting && `${what} in this browser.`];
  if (store.offline !== ENDED) told.push(`Run \`${command()}\` and open the address it prints here.`);
  return told.filter(Boolean).join(" ");
}

function command() {
  const { out } = store.session;
  return `dicomsort review ${/\s/.test(out) ? `"${out}"` : out} --port ${location.port}`;
}

/** Show what stays the same, and let notices be dismissed. */
export function prepareMessages() {
  const { session } = store;
  setText(byId("output"), `${session.out} · ${session.model.replace(/@[0-9a-f]+/g, "")}`);
  byId("output").title =
    `${session.out}; model ${session.model}; decided by ${session.by}; dicomsort ${session.version}`;
  byId("read-only").hidden = !session.read_only;
  setText(byId("read-only"), `⚠ Read-only: ${session.read_only}`);
  byId("banner-close").addEventListener("click", dismissNotices);
}
