// What is said beside the images: progress, pace, the last action, and what went wrong.

import { byId, setText } from "./dom.js";
import { pace } from "./pace.js";
import { unsent } from "./queue.js";
import { dismissNotices, store } from "./store.js";

const number = (value) => value.toLocaleString("en");

export function drawMessages() {
  drawProgress();
  drawSample();
  drawBanner();
  drawEmpty();
  setText(byId("message"), store.message);
  const selected = store.selection.size ? `${number(store.selection.size)} selected · ` : "";
  setText(
    byId("place"),
    store.ids.length ? `${selected}${number(store.cursor + 1)} of ${number(store.ids.length)}` : "",
  );
}

function drawProgress() {
  const { decided, undecided } = store.session.counts;
  setText(byId("progress"), `${number(decided)} decided · ${number(undecided)} to do`);
  const bar = byId("progress-bar");
  bar.max = Math.max(1, decided + undecided);
  bar.value = decided;
  const speed = pace();
  setText(byId("pace"), speed === null ? "" : `${number(speed)} a minute`);
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
  const again = `If the program has ended, start it again with --port ${location.port} and open the address it prints in this browser.`;
  if (!waiting) return `${store.offline} ${again}`;
  const what = waiting === 1 ? "1 decision waits" : `${number(waiting)} decisions wait`;
  return `${store.offline} ${what} here and will be sent when it is back: leave this page open. ${again}`;
}

function drawEmpty() {
  const todo = store.wanted.show === "todo";
  setText(byId("grid-empty"), todo ? "Nothing is left to decide with this filter." : "No image with this filter.");
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
