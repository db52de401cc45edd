// The images of the same study, side by side under the one on screen.

import * as api from "./api.js";
import { lost } from "./connection.js";
import { element, nameOf, setText, byId } from "./dom.js";
import { need } from "./items.js";
import { goTo } from "./list.js";
import { markOf } from "./marks.js";
import { explain } from "./tile.js";
import { changed, store } from "./store.js";

const MOST = 60; // images of one study that the strip shows
const strip = byId("strip");
let drawn = null; // the list of ids that the strip's buttons are for

/** Draw the strip for an image. */
export function drawStrip(id) {
  byId("study").classList.toggle("thin", !store.several);
  const uid = store.items.get(id)?.study;
  if (uid === undefined) return;
  if (uid !== store.study.uid) begin(uid);
  if (drawn !== store.study.ids) build();
  for (const button of strip.children) drawImage(button, id);
}

async function begin(uid) {
  store.study = { uid, ids: [] };
  if (!uid) return;
  try {
    const ids = await api.ids(new URLSearchParams({ study: uid, sort: "path", order: "asc" }));
    if (store.study.uid !== uid) return;
    store.study = { uid, ids };
    need(ids.slice(0, MOST));
  } catch (error) {
    if (!(error instanceof api.Unreachable)) return;
    await lost(error);
    store.study = { uid: "", ids: [] }; // to be asked for again
  }
  changed();
}

function build() {
  const { ids } = store.study;
  drawn = ids;
  const several = ids.length > 1;
  setText(byId("strip-title"), several ? `Same study: ${ids.length} images` : "No other image of this study");
  strip.replaceChildren(...(several ? ids.slice(0, MOST).map(imageOf) : []));
}

function imageOf(id) {
  const address = `/thumbnail/${id}`;
  const image = element("img", {
    alt: "",
    src: address,
    draggable: "false",
    loading: "lazy",
    on: { error: () => explain(id, address) },
  });
  const button = element("button", { type: "button", classes: "image", "data-id": id, on: { click: () => goTo(id) } });
  button.append(image, element("span", { classes: "fault" }), element("span", { classes: "mark" }));
  button.addEventListener("pointerdown", (event) => event.preventDefault()); // the keyboard stays with the image
  return button;
}

function drawImage(button, current) {
  const id = Number(button.dataset.id);
  const item = store.items.get(id);
  const mark = markOf(id);
  const isCurrent = id === current;
  if (isCurrent && !button.classList.contains("current"))
    button.scrollIntoView({ block: "nearest", inline: "nearest" });
  button.className = `image ${isCurrent ? "current" : ""} ${mark ? `marked ${mark.kind}` : ""}`;
  button.setAttribute("aria-current", isCurrent);
  button.title = item?.path ?? "";
  button.setAttribute("aria-label", [item && nameOf(item.path), item?.label, mark?.words].filter(Boolean).join(", "));
  button.children[0].hidden = store.faults.has(id);
  setText(button.children[1], store.faults.get(id) ?? "");
  setText(button.lastChild, mark ? `${mark.shape} ${mark.words}` : item?.label || item?.status || "");
}
