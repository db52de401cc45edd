// Notices that the server is gone, and waits until the same output is served again.

import * as api from "./api.js";
import { changed, learn, store } from "./store.js";

const PAUSE = 1000;
const ASK_AFTER = 2500;
let waiting = null;
let asking = null;

/** Ask a while after the last decision what the server could not do behind it. */
export function askSoon() {
  clearTimeout(asking);
  asking = setTimeout(async () => {
    try {
      const { counts, sample, notices } = await api.state();
      learn({ counts, sample, notices });
    } catch (error) {
      if (error instanceof api.Unreachable) lost(error);
    }
  }, ASK_AFTER);
}

/** Say why the server cannot be reached; resolves when it can. */
export function lost(error) {
  store.offline = error.message;
  changed();
  waiting ??= untilBack();
  return waiting;
}

async function untilBack() {
  while (store.offline) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    store.offline = await trouble();
    changed();
  }
  waiting = null;
}

/** Load the page anew: another program numbers the files otherwise. What waits is kept, see queue.js. */
function renew() {
  store.renewed = true;
  location.reload();
  return store.offline;
}

async function trouble() {
  try {
    const session = await api.state();
    if (session.out !== store.session.out) return "Another output is served at this address now.";
    if (session.run !== store.session.run) return renew();
    learn({ counts: session.counts, sample: session.sample, notices: session.notices });
    return "";
  } catch (error) {
    return error.message;
  }
}
