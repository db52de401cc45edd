// The bar of filters, and the order of the list.

import { initial } from "./address.js";
import { byId, element, setText } from "./dom.js";
import { load } from "./list.js";
import { changed, currentId, store } from "./store.js";

const SORTS = {
  confidence: "confidence",
  reject_score: "reject score",
  label: "label",
  reason: "reason",
  folder: "folder",
  study: "study",
  path: "path",
};
const fields = new Map(); // by name: the select or input
let byMouse = false;

/** Build the bar once. */
export function buildFilters() {
  const bar = byId("filters");
  bar.append(choice("show", "Show"), choice("label", "Label"), choice("reason", "Reason"));
  for (const name of Object.keys(store.session.further)) bar.append(choice(`model.${name}`, name));
  bar.append(search(), chips(), choice("sort", "Sort by"), order(), apply());
  addEventListener("pointerdown", () => (byMouse = true), true);
  addEventListener("keydown", () => (byMouse = false), true);
}

function labelled(text, field, classes = "") {
  const label = element("label", { classes });
  label.append(element("span", { text }), field);
  return label;
}

function choice(name, text) {
  const select = element("select", { id: `filter-${name}`, on: { change: () => choose(name, select.value) } });
  fields.set(name, select);
  return labelled(text, select);
}

function choose(name, value) {
  if (name.startsWith("model.")) change({ further: { ...store.wanted.further, [name.slice(6)]: value } });
  else change({ [name]: value });
  if (byMouse) byId(store.view).focus({ preventScroll: true });
}

/** Apply a changed filter; the image at the cursor stays if it is in the new list. */
export function change(what) {
  store.wanted = { ...store.wanted, ...what };
  changed();
  load(currentId());
}

function search() {
  const input = element("input", {
    id: "search",
    type: "search",
    placeholder: "name or folder",
    autocomplete: "off",
    spellcheck: "false",
  });
  let timer = null;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    store.wanted = { ...store.wanted, text: input.value }; // at once: the focus may leave before the list is asked for
    timer = setTimeout(() => load(currentId()), 250);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(timer);
    load(currentId());
    byId(store.view).focus();
  });
  fields.set("text", input);
  return labelled("Search", input, "search");
}

/** The folder and the study that the list is narrowed to; they are chosen in the panel. */
function chips() {
  const box = element("div", { classes: "chips" });
  for (const name of ["folder", "study"]) {
    const chip = element("button", { type: "button", classes: "chip", on: { click: () => change({ [name]: "" }) } });
    fields.set(name, chip);
    box.append(chip);
  }
  return box;
}

function order() {
  const button = element("button", { type: "button", classes: "order" });
  button.addEventListener("click", () => change({ order: store.wanted.order === "asc" ? "desc" : "asc" }));
  fields.set("order", button);
  return button;
}

function apply() {
  const button = element("button", {
    type: "button",
    classes: "apply",
    title: "Ask for the list anew: what is decided leaves it",
  });
  button.append(element("kbd", { text: "f" }), " Apply anew");
  button.addEventListener("click", () => load(currentId()));
  button.addEventListener("pointerdown", (event) => event.preventDefault());
  return button;
}

/** Show the filter and the counts. */
export function drawFilters() {
  const { wanted, session } = store;
  const { counts } = session;
  options("show", shows(session), wanted.show);
  options("label", [["", "any"], ...counted(counts.label)], wanted.label);
  options("reason", [["", "any"], ...counted(counts.reason)], wanted.reason);
  for (const [name, labels] of Object.entries(session.further)) {
    options(`model.${name}`, [["", "any"], ...labels.map((label) => [label, label])], wanted.further[name] ?? "");
  }
  options("sort", Object.entries(SORTS), wanted.sort);
  setText(fields.get("order"), wanted.order === "asc" ? "↑ rising" : "↓ falling");
  drawChips();
  if (document.activeElement !== fields.get("text")) fields.get("text").value = wanted.text;
}

function drawChips() {
  for (const name of ["folder", "study"]) {
    const value = store.wanted[name];
    const chip = fields.get(name);
    chip.hidden = !value;
    setText(chip, `✕ ${name}: ${value}`);
    chip.title = `${value}: click to show every ${name} again`;
  }
}

function shows({ sample, counts }) {
  const spotCheck = sample
    ? [
        ["sample", `spot check (${sample.drawn - sample.answered - sample.unsure})`],
        ["drawn", `all of it (${sample.drawn})`],
      ]
    : [];
  return [
    ["todo", `to do (${counts.undecided})`],
    ...spotCheck,
    ...counted(counts.status),
    ["all", `every file (${counts.rows})`],
  ];
}

const counted = (numbers) => Object.entries(numbers).map(([name, number]) => [name, `${name} (${number})`]);

/** Keep the options of a select as they should be, touching only what differs. */
function options(name, wanted, value) {
  const select = fields.get(name);
  const known = wanted.some(([key]) => key === value) ? wanted : [...wanted, [value, value]];
  const same =
    select.options.length === known.length && known.every(([key], place) => select.options[place].value === key);
  if (!same) select.replaceChildren(...known.map(([key]) => element("option", { value: key })));
  known.forEach(([, text], place) => setText(select.options[place], text));
  if (select.value !== value) select.value = value;
  select.classList.toggle("narrowing", value !== (initial(store.session)[name] ?? ""));
}
