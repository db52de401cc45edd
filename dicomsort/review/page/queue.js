// Sends what was decided, one request after the other; what was not answered stays and is sent again.

import { Unreachable } from "./api.js";
import { lost } from "./connection.js";

const jobs = [];
let running = false;

/**
 * Add a job: `send` posts it, `landed` returns whether an unanswered post arrived all the same,
 * `done` gets the reply, `failed` the error of a server that refuses.
 */
export function enqueue(job) {
  jobs.push(job);
  if (!running) run();
}

/** How many jobs are not acknowledged. */
export const unsent = () => jobs.length;

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

addEventListener("beforeunload", (event) => {
  if (jobs.length) event.preventDefault();
});
