// The panel at the side: what the next key will do, what the model says, and what is known of the image.

import { classKeys } from "./classes.js";
import { EXCLUDED, UNSURE, agree, choose, decide, images, undo } from "./decide.js";
import { byId, element, nameOf, percent, setText } from "./dom.js";
import { markOf } from "./marks.js";
import { currentId, decisionOf, store } from "./store.js";

const panel = byId("panel");
const rows = new Map(); // by label: the button, its bar and its percentage
const facts = new Map(); // by name: the element
const actionButtons = new Map(); // by name
let scrolledFor = null; // the image whose class was brought into view
let onlyThis = null; // filters by a field of the current image

/** Build the panel once; `narrow` applies a filter of one field. */
export function buildPanel(narrow) {
  onlyThis = narrow;
  panel.append(element("h2", { id: "panel-title" }), classes(), actions(), about());
}

function classes() {
  const list = element("div", { classes: "classes", role: "group", "aria-labelledby": "panel-title" });
  for (const { label, digit, letter } of classKeys(store.session.labels))
    list.append(classButton(label, [digit, letter]));
  return list;
}

function classButton(label, keys) {
  const button = plainButton("class", () => choose(label));
  const bar = element("span", { classes: "bar", "aria-hidden": "true" });
  const share = element("span", { classes: "share" });
  button.append(...keys.map((key) => element("kbd", { text: key, classes: key ? "" : "none" })));
  button.append(element("span", { classes: "name", text: label }), share, bar);
  rows.set(label, { button, bar, share });
  return button;
}

/** A button that leaves the keyboard to the images when it is clicked. */
function plainButton(classNames, run) {
  const button = element("button", { type: "button", classes: classNames, on: { click: run } });
  button.addEventListener("pointerdown", (event) => event.preventDefault());
  return button;
}

function actions() {
  const group = element("div", { classes: "actions" });
  const wanted = [
    ["Enter", "agree", agree],
    ["x", "exclude", () => decide(EXCLUDED)],
    ["q", "unsure", () => decide(UNSURE)],
    ["u", "undo", undo],
  ];
  for (const [key, name, run] of wanted) {
    const button = plainButton("action", run);
    button.append(element("kbd", { text: key }), element("span", { text: name }));
    actionButtons.set(name, button);
    group.append(button);
  }
  return group;
}

function about() {
  const list = element("dl", { id: "facts", classes: "facts" });
  for (const name of ["File", "Folder", "Status", "Decided", "Model", "Why", "Other models", "Header", "Study"]) {
    const value = element("dd");
    facts.set(name, value);
    list.append(element("dt", { text: name }), value);
  }
  for (const [name, field] of [
    ["Folder", "folder"],
    ["Study", "study"],
  ]) {
    const button = plainButton("narrow", () => onlyThis(field, store.items.get(currentId())[field]));
    button.textContent = `Only this ${field}`;
    const text = element("span", { classes: "value" });
    facts.get(name).append(text, button);
    facts.set(name, text);
  }
  return list;
}

export function drawPanel() {
  const several = store.view === "grid" && store.selection.size > 0;
  const one = currentId() === undefined ? "No image to decide" : "Decide this image";
  setText(byId("panel-title"), several ? `Decide ${images(store.selection.size)} selected` : one);
  panel.classList.toggle("batch", several);
  drawButtons();
  const item = store.items.get(currentId());
  drawClasses(item);
  drawFacts(item);
}

function drawButtons() {
  for (const button of panel.querySelectorAll("button.class, button.action"))
    button.disabled = Boolean(store.session.read_only) || currentId() === undefined;
  actionButtons.get("undo").disabled = Boolean(store.session.read_only);
  setText(actionButtons.get("agree").lastChild, store.toggles.size ? "decide" : "agree");
}

/** Bring the model's class into view where the classes are more than fit, once an image. */
function scrollToGuess(item) {
  if (!item || item.id === scrolledFor) return;
  scrolledFor = item.id;
  const button = rows.get(item.label.split("|")[0])?.button;
  if (!button) return;
  const list = button.parentElement;
  const start = button.offsetTop - list.offsetTop;
  list.scrollTop = Math.min(start, Math.max(list.scrollTop, start + button.offsetHeight - list.clientHeight));
}

function drawClasses(item) {
  const chosen = item ? decisionOf(item.id).split("|") : [];
  for (const [label, { button, bar, share }] of rows) {
    const score = item?.scores[label];
    bar.style.transform = `scaleX(${score ?? 0})`;
    setText(share, percent(score));
    button.classList.toggle("guess", item?.label.split("|").includes(label) ?? false);
    button.classList.toggle("chosen", store.toggles.size ? store.toggles.has(label) : chosen.includes(label));
    if (store.session.multilabel) button.setAttribute("aria-pressed", store.toggles.has(label));
  }
  scrollToGuess(item);
}

function drawFacts(item) {
  byId("facts").hidden = currentId() === undefined;
  for (const [name, value] of facts) setText(value, item ? said(name, item) || "–" : "");
  facts.get("File").title = item?.path ?? "";
  facts.get("Folder").title = item?.folder ?? "";
  for (const button of panel.querySelectorAll("button.narrow")) button.hidden = !item;
}

function said(name, item) {
  const mark = markOf(item.id);
  switch (name) {
    case "File":
      return nameOf(item.path);
    case "Folder":
      return item.folder;
    case "Status":
      return item.status;
    case "Decided":
      return mark
        ? [`${mark.shape} ${mark.words}`, item.reviewed_by && `by ${item.reviewed_by}`].filter(Boolean).join(" ")
        : "";
    case "Model":
      return [item.label, percent(item.confidence), rejected(item)].filter(Boolean).join(" · ");
    case "Why":
      return item.reasons.join("; ");
    case "Other models":
      return Object.entries(item.further)
        .map(([model, label]) => `${model}: ${label}`)
        .join(", ");
    case "Header":
      return [item.modality, item.body_part_examined, item.view_position, turned(item)].filter(Boolean).join(" · ");
    default:
      return item.study;
  }
}

const rejected = (item) => (item.reject_score === null ? "" : `reject score ${item.reject_score.toFixed(2)}`);
const turned = (item) => (item.rotation ? `turned by ${item.rotation}°` : "");
