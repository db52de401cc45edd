// Sends what was decided, one request after the other; what was not answered stays and is sent again.

import { Unreachable } from "./api.js";
import { lost } from "./connection.js";
import { store } from "./store.js";

const KEY = "dicomsort review";

const jobs = [];
let running = false;
let idle = Promise.resolve();

/**
 * Add a job: `send` posts it; `landed` returns whether an unanswered post arrived all the same, `current` the
 * reply in its place; `done` gets the reply, `failed` the error of a server that refuses; `decides` or `undoes`
 * is its batch, and `told` returns it by paths.
 */
export function enqueue(job) {
  jobs.push(job);
  if (!running) idle = run();
}

/** Resolves when all jobs so far are acknowledged. */
export const settled = () => idle;

/** How many jobs are not acknowledged. */
export const unsent = () => jobs.length;

/** What this tab kept while the page was loaded anew: decisions by paths, and how many undos were lost. */
export function kept() {
  const told = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  return told?.out === store.session.out ? told : { decisions: [], undos: 0 };
}

export const forgetKept = () => sessionStorage.removeItem(KEY);

/** Keep what waits in this tab: another program numbers the files otherwise, so by their paths. */
function keep() {
  if (!jobs.length) return;
  const undone = new Set(jobs.map((job) => job.undoes));
  const decisions = jobs.filter((job) => job.decides && !undone.has(job.decides)).map((job) => job.told());
  const undos = [...undone].filter((batch) => batch?.accepted).length;
  sessionStorage.setItem(KEY, JSON.stringify({ out: store.session.out, decisions, undos }));
}

async function run() {
  running = true;
  while (jobs.length) await settle(jobs[0]);
  running = false;
}

async function settle(job) {
  try {
    const reply = await (job.doubtful && (await job.landed()) ? job.current() : job.send());
    jobs.shift();
    job.done(reply);
  } catch (error) {
    if (error instanceof Unreachable) {
      job.doubtful = true;
      await lost(error);
    } else {
      jobs.shift();
      job.failed(error);
    }
  }
}

addEventListener("pagehide", keep);
addEventListener("beforeunload", (event) => {
  if (jobs.length && !store.renewed) event.preventDefault();
});
