// Full-size pictures: the ones last shown and the next one are kept ready.

import { element } from "./dom.js";

const KEPT = 6;
const kept = new Map();

/** The picture's element, loading or loaded; the same one while it is kept. */
export function picture(id) {
  const made = kept.get(id) ?? element("img", { alt: "", draggable: "false", src: `/picture/${id}` });
  kept.delete(id);
  kept.set(id, made);
  for (const [old, image] of kept) {
    if (kept.size <= KEPT) break;
    kept.delete(old);
    if (!image.isConnected) image.removeAttribute("src");
  }
  return made;
}

/** Try again next time. */
export const forget = (id) => kept.delete(id);

export const isLoaded = (image) => image.complete && image.naturalWidth > 0;
