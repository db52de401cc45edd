// The bar of filters, and the order of the list.

import { initial } from "./address.js";
import { byId, element, setText } from "./dom.js";
import { load } from "./list.js";
import { changed, currentId, say, store } from "./store.js";

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
  bar.append(choice("show", "Show"), choice("label", "Model's label"), choice("reason", "Reason"));
  for (const [name] of further()) bar.append(choice(`model.${name}`, name));
  bar.append(search(), choice("reviewed", "Decided as"), choice("sort", "Sort by"), order(), refreshButton());
  byId("chips").append(chip("folder"), chip("study"));
  addEventListener("pointerdown", () => (byMouse = true), true);
  addEventListener("keydown", () => (byMouse = false), true);
}

/** The further models that say more than one thing. */
const further = () => Object.entries(store.session.further).filter(([, labels]) => labels.length > 1);

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
  refresh();
}

/** Ask for the list anew, and let go of what was said of the one before. */
export function refresh() {
  say("");
  load(currentId());
}

/** Show every folder, study and name again. */
export function leaveNarrowing() {
  const { folder, study, text } = store.wanted;
  if (folder || study || text) change({ folder: "", study: "", text: "" });
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
    timer = setTimeout(refresh, 250);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(timer);
    refresh();
    byId(store.view).focus();
  });
  fields.set("text", input);
  return labelled("Search", input, "search");
}

/** The folder or the study that the list is narrowed to; it is chosen in the panel. */
function chip(name) {
  const button = element("button", { type: "button", classes: "chip", on: { click: () => change({ [name]: "" }) } });
  fields.set(name, button);
  return button;
}

function order() {
  const button = element("button", { type: "button", classes: "order" });
  button.addEventListener("click", () => change({ order: store.wanted.order === "asc" ? "desc" : "asc" }));
  fields.set("order", button);
  return button;
}

function refreshButton() {
  const button = element("button", {
    type: "button",
    classes: "refresh",
    title: "Ask for the list anew: what is decided leaves it",
  });
  button.append(element("kbd", { text: "f" }), " Refresh list");
  button.addEventListener("click", refresh);
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
  options("reviewed", [["", "any"], ...counted(counts.reviewed)], wanted.reviewed);
  fields.get("reviewed").parentElement.hidden = !counts.decided && !wanted.reviewed;
  for (const [name, labels] of further()) {
    options(`model.${name}`, [["", "any"], ...labels.map((label) => [label, label])], wanted.further[name] ?? "");
  }
  options("sort", Object.entries(SORTS), wanted.sort);
  setText(fields.get("order"), wanted.order === "asc" ? "↑ rising" : "↓ falling");
  drawChips();
  if (document.activeElement !== fields.get("text")) fields.get("text").value = wanted.text;
}

const LONGEST = 48; // of a chip; the end of a folder or number tells it from others

function drawChips() {
  byId("chips").hidden = !store.wanted.folder && !store.wanted.study;
  for (const name of ["folder", "study"]) {
    const value = store.wanted[name];
    const chip = fields.get(name);
    chip.hidden = !value;
    setText(chip, `✕ ${name} ${value.length > LONGEST ? `…${value.slice(-LONGEST)}` : value}`);
    chip.title = `${value}: click to show every ${name} again`;
  }
}

function shows({ sample, counts }) {
  const spotCheck = sample
    ? [
        ["sample", `spot check (${sample.drawn - sample.answered - sample.unsure})`],
        ["drawn", `whole spot check (${sample.drawn})`],
      ]
    : [];
  return [
    ["todo", `to do (${counts.undecided})`],
    ...spotCheck,
    ["decided", `decided (${counts.decided})`],
    ...counted(counts.status),
    ["all", `all radiographs (${counts.rows})`],
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
