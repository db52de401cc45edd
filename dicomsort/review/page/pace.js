// How many images a minute this sitting decides; pauses do not count.

const PAUSE = 30_000; // a longer gap between two decisions is a pause
let images = 0;
let active = 0;
let last = null;

/** Count `number` images as decided now, or as taken back if negative. */
export function count(number) {
  const now = performance.now();
  if (last !== null) {
    active += Math.min(now - last, PAUSE);
    images = Math.max(0, images + number);
  }
  last = now;
}

/** Images a minute; null while too few were decided to tell. */
export function pace() {
  return images < 5 || active < 5000 ? null : Math.round((images / active) * 60_000);
}
