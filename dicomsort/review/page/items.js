// Fetches what is known of the images on screen, many at a time, each once.

import * as api from "./api.js";
import { lost } from "./connection.js";
import { changed, learn, say, store } from "./store.js";

const AT_ONCE = 500; // what the server allows
const asked = new Set();

/** Fetch those of the images that are not here yet; the screen is drawn again when they are. */
export function need(ids) {
  const missing = ids.filter((id) => !store.items.has(id) && !asked.has(id));
  for (let start = 0; start < missing.length; start += AT_ONCE) fetchInto(missing.slice(start, start + AT_ONCE));
}

async function fetchInto(ids) {
  ids.forEach((id) => asked.add(id));
  try {
    learn({ items: await api.items(ids) });
  } catch (error) {
    if (!(error instanceof api.Unreachable)) return say(error.message); // and do not ask for them again
    await lost(error);
    changed();
  }
  ids.forEach((id) => asked.delete(id));
}

/** The numbers of files by their paths; a path that is not found, or empty, has none. */
export async function numbersOf(paths) {
  const found = [];
  for (const path of paths.filter(Boolean)) {
    const alike = await itemsOf(await api.ids(new URLSearchParams({ text: path })));
    found.push(...alike.filter((item) => item.path === path).map((item) => item.id));
  }
  return found;
}

/** All of the images, fetched anew where `fresh`, in the order of `ids`. */
export async function itemsOf(ids, fresh = false) {
  const missing = fresh ? ids : ids.filter((id) => !store.items.has(id));
  for (let start = 0; start < missing.length; start += AT_ONCE) {
    learn({ items: await api.items(missing.slice(start, start + AT_ONCE)) });
  }
  return ids.map((id) => store.items.get(id));
}
