// The overlay with all keys.

import { COMMANDS, IN_GRID, IN_SINGLE, MOVES } from "./keys.js";
import { classKeys } from "./classes.js";
import { byId, element } from "./dom.js";
import { store } from "./store.js";

function showHelp() {
  const dialog = byId("help");
  if (!dialog.childElementCount) dialog.append(...content());
  dialog.showModal();
}

function content() {
  const classes = classKeys(store.session.labels).map(({ label, digit, letter }) => ({
    shown: [digit, letter].filter(Boolean).join(" or ") || "click",
    help: label,
  }));
  const columns = element("div", { classes: "columns" });
  columns.append(
    block(store.session.multilabel ? "Labels (several, then Enter)" : "Classes", classes),
    block("Decide", COMMANDS.slice(0, 4)),
    block("Select and show", COMMANDS.slice(4)),
    block("Move", MOVES),
    block("In the grid", IN_GRID),
    block("One image", IN_SINGLE),
  );
  const close = element("button", {
    text: "Close",
    type: "button",
    autofocus: "",
    on: { click: () => byId("help").close() },
  });
  const head = element("header");
  head.append(element("h2", { text: "Keys", id: "help-title" }), close);
  return [
    head,
    columns,
    element("p", {
      text: "Decisions are for the selection, else for the image at the cursor; with one image on screen they are for that image.",
    }),
  ];
}

function block(title, commands) {
  const section = element("section");
  const list = element("dl");
  for (const { shown, help } of commands.filter((command) => command.shown)) {
    const term = element("dt");
    term.append(...shown.split(" ").flatMap(parts));
    list.append(term, element("dd", { text: help }));
  }
  section.append(element("h3", { text: title }), list);
  return section;
}

/** A key as it stands on the keyboard; one that is held ("Shift+") with a plus behind it. */
function parts(word) {
  if (word === "or" || word === "click") return [` ${word} `];
  const held = word.length > 1 && word.endsWith("+");
  return held ? [element("kbd", { text: word.slice(0, -1) }), " + "] : [element("kbd", { text: word }), " "];
}

/** Let the button show the keys, and the same key hide them. */
export function prepareHelp() {
  byId("help").addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "?") byId("help").close();
  });
  byId("help-button").addEventListener("click", showHelp);
}
