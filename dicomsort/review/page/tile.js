// One tile of the grid; it is used again for another image when it has scrolled away.

import * as api from "./api.js";
import { lost } from "./connection.js";
import { element, nameOf, percent, setText } from "./dom.js";
import { markOf, reasonsOf } from "./marks.js";
import { changed, store } from "./store.js";

const CHARACTER = 8; // pixels of one in a label, about; a label that is wider than its tile is set smaller

export class Tile {
  constructor() {
    this.id = null;
    this.picture = element("img", { alt: "", draggable: "false", decoding: "async" });
    this.fault = element("p", { classes: "fault" });
    this.mark = element("p", { classes: "mark" });
    this.check = element("span", { classes: "check", "aria-hidden": "true" });
    this.label = element("p", { classes: "label" });
    this.confidence = element("span", { classes: "confidence" });
    this.reason = element("span", { classes: "reason" });
    this.root = element("div", { classes: "tile", role: "option" });
    const frame = element("div", { classes: "frame" });
    const line = element("p", { classes: "line" });
    frame.append(this.picture, this.fault, this.check, this.mark);
    line.append(this.reason, this.confidence);
    this.root.append(frame, this.label, line);
    this.picture.addEventListener("load", () => this.root.classList.add("loaded"));
    this.picture.addEventListener("error", () => this.failed(this.id));
  }

  /** Stand for another image; its picture comes with `load`. */
  become(id, place) {
    this.id = id;
    this.picture.removeAttribute("src");
    this.root.classList.remove("loaded");
    this.root.id = `tile-${id}`;
    this.root.dataset.id = id;
    this.root.setAttribute("aria-posinset", place + 1);
  }

  load() {
    if (!this.picture.hasAttribute("src") && !store.faults.has(this.id)) this.picture.src = `/thumbnail/${this.id}`;
  }

  async failed(id) {
    const again = !(await explain(id, `/thumbnail/${id}`));
    if (again && this.id === id) this.picture.removeAttribute("src");
  }

  moveTo(x, y, width) {
    this.root.style.transform = `translate(${x}px, ${y}px)`;
    this.root.style.width = `${width}px`;
    this.width = width;
  }

  /** Show what the store says now. */
  draw(isCurrent) {
    const item = store.items.get(this.id);
    const mark = markOf(this.id);
    const selected = store.selection.has(this.id);
    const kinds = ["tile", this.root.classList.contains("loaded") && "loaded", isCurrent && "current"];
    kinds.push(selected && "selected", mark && `marked ${mark.kind}`, item?.status === "sorted" && "sorted");
    this.root.className = kinds.filter(Boolean).join(" ");
    this.root.setAttribute("aria-selected", selected);
    this.root.setAttribute("aria-setsize", store.ids.length);
    setText(this.check, selected ? "☑" : "");
    setText(this.fault, store.faults.get(this.id) ?? "");
    setText(this.mark, mark ? `${mark.shape} ${mark.words}` : "");
    if (item) this.describe(item, mark);
    else this.clear();
  }

  describe(item, mark) {
    setText(this.label, item.label || item.status);
    this.label.classList.toggle("long", this.label.textContent.length * CHARACTER > this.width);
    setText(this.confidence, percent(item.confidence));
    setText(this.reason, reasonsOf(item) || item.status);
    this.root.title = item.path;
    const said = [
      nameOf(item.path),
      item.label && `model: ${item.label} ${percent(item.confidence)}`,
      reasonsOf(item),
      mark?.words,
    ];
    this.root.setAttribute("aria-label", said.filter(Boolean).join(", "));
  }

  clear() {
    for (const part of [this.label, this.confidence, this.reason]) setText(part, "");
    this.root.title = "";
    this.root.setAttribute("aria-label", "loading");
  }
}

const doubtful = new Set();

/** Find out why an image has no picture, and say so in its place; returns "" if it is worth another try. */
export async function explain(id, address) {
  let fault = "";
  try {
    fault = (await api.pictureFault(address)) || (doubtful.has(id) ? "the picture cannot be shown" : "");
    doubtful.add(id);
    if (fault) store.faults.set(id, fault);
  } catch (error) {
    if (error instanceof api.Busy) await new Promise((resolve) => setTimeout(resolve, 1000));
    else await lost(error);
  }
  setTimeout(changed);
  return fault;
}
