// The one store: what the server said, what is shown, and what waits to be sent; and who is told of a change.

export const store = {
  session: null, // the reply of /api/state
  wanted: null, // filter and sort, see address.js
  applied: null, // the filter and sort that the list is of
  ids: [], // the list as it was when the filter was applied
  several: false, // whether a study of the list has several images
  cursor: 0, // place in the list
  guest: null, // an image of the same study that is shown although it is not in the list
  selection: new Set(),
  view: "grid", // or "single"
  tile: 136, // side of a tile in pixels
  study: { uid: "", ids: [] }, // the strip of the single view
  items: new Map(), // by id
  marks: new Map(), // id: { label, owner, saved } of decisions whose reply has not told of the image
  refusals: new Map(), // id: why a decision was not taken
  faults: new Map(), // id: why there is no picture
  toggles: new Set(), // labels chosen so far for a multilabel model
  offline: "", // why the server cannot be reached
  renewed: false, // another program serves this output now: the page is loaded anew
  message: "",
  notices: [],
};

const listeners = [];
let scheduled = false;

/** Call `listener` once a frame in which anything changed. */
export function subscribe(listener) {
  listeners.push(listener);
}

export function changed() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    for (const listener of listeners) listener();
  });
}

/** The image that the cursor is on, or undefined. */
export function currentId() {
  return store.guest ?? store.ids[store.cursor];
}

/** The images that the next decision is for: the selection, else the current image. */
export function targetIds() {
  if (store.view === "grid" && store.selection.size) return store.ids.filter((id) => store.selection.has(id));
  const id = currentId();
  return id === undefined ? [] : [id];
}

/** What a person decided of an image, whether acknowledged or not. */
export function decisionOf(id) {
  const mark = store.marks.get(id);
  return mark ? mark.label : (store.items.get(id)?.reviewed_label ?? "");
}

/** Return whether a decision of this image still waits for a server that does not answer. */
export function isWaiting(id) {
  return Boolean(store.offline) && store.marks.get(id)?.saved === false;
}

/** Take over what a reply says of the images, the counts and the spot check. */
export function learn(reply) {
  if (reply.notices?.length) forgetItems();
  for (const item of reply.items ?? []) store.items.set(item.id, item);
  if (reply.counts) store.session.counts = reply.counts;
  if ("sample" in reply) store.session.sample = reply.sample;
  store.notices.push(...(reply.notices ?? []));
  changed();
}

/** What could not be carried out was taken back: ask for all images again. */
function forgetItems() {
  store.items.clear();
  for (const [id, mark] of store.marks) if (mark.saved) store.marks.delete(id);
}

export function dismissNotices() {
  store.notices = [];
  changed();
}

export function say(text) {
  store.message = text;
  changed();
}
