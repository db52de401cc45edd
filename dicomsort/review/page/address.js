// Filter, sort, place and view in the address (behind #), so that a reload and a bookmark keep them.

import { currentId, store } from "./store.js";

const FIELDS = ["label", "reason", "reviewed", "folder", "study", "text"];
const FURTHER = "model.";
let timer = null;

/** The filter that a new page starts with: what is to do. */
export function initial(session) {
  const show = session.sample ? "sample" : "todo";
  return {
    show,
    label: "",
    reason: "",
    reviewed: "",
    folder: "",
    study: "",
    text: "",
    further: {},
    sort: "confidence",
    order: "asc",
  };
}

/** What each choice of "show" asks the server for; any other is a status. */
const SHOWN = {
  todo: [["undecided", "1"]],
  sample: [
    ["sample", "1"],
    ["undecided", "1"],
  ],
  drawn: [["sample", "1"]],
  decided: [["decided", "1"]],
  all: [],
};

/** Return whether more than "show" leaves images out. */
export const isNarrowed = (wanted) =>
  FIELDS.some((field) => wanted[field]) || Object.values(wanted.further).some(Boolean);

/** The same filter with "show" alone. */
export const widened = (wanted) => ({ ...wanted, ...Object.fromEntries(FIELDS.map((field) => [field, ""])), further: {} });

/** The filter as the query of /api/ids. */
export function query(wanted) {
  const pairs = [...(SHOWN[wanted.show] ?? [["status", wanted.show]])];
  for (const field of FIELDS) if (wanted[field]) pairs.push([field, wanted[field]]);
  for (const [name, label] of Object.entries(wanted.further)) if (label) pairs.push(["further", `${name}:${label}`]);
  pairs.push(["sort", wanted.sort], ["order", wanted.order]);
  return new URLSearchParams(pairs).toString();
}

/** Read the address: the filter, and the image, view and size of tiles it names. */
export function read(session) {
  const told = new URLSearchParams(location.hash.slice(1));
  const wanted = initial(session);
  for (const field of ["show", ...FIELDS, "sort", "order"]) wanted[field] = told.get(field) ?? wanted[field];
  for (const name of Object.keys(session.further)) wanted.further[name] = told.get(FURTHER + name) ?? "";
  const at = told.get("run") === session.run && told.has("at") ? Number(told.get("at")) : undefined;
  return {
    wanted,
    at,
    view: told.get("view") === "single" ? "single" : "grid",
    tile: Number(told.get("tile")) || store.tile,
  };
}

/** Write the address soon: browsers allow only so many changes in a time. */
export function writeSoon() {
  timer ??= setTimeout(write, 300);
}

function write() {
  clearTimeout(timer);
  timer = null;
  const hash = `#${address()}`;
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

function address() {
  const { wanted } = store;
  const pairs = [["show", wanted.show]];
  for (const field of FIELDS) pairs.push([field, wanted[field]]);
  for (const [name, label] of Object.entries(wanted.further)) pairs.push([FURTHER + name, label]);
  pairs.push(["sort", wanted.sort], ["order", wanted.order], ["view", store.view], ["tile", String(store.tile)]);
  const id = currentId();
  if (id !== undefined) pairs.push(["at", String(id)], ["run", store.session.run]); // numbers hold for one run
  return new URLSearchParams(pairs.filter(([, value]) => value)).toString();
}

addEventListener("pagehide", write);
