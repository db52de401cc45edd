// What stands in place of an empty list: that nothing is left is said only where it is true.

import { isNarrowed, widened } from "./address.js";
import { byId, setText } from "./dom.js";
import { change } from "./filters.js";
import { store } from "./store.js";

const END = "Ctrl-C in the terminal ends the program.";

export function drawEmpty() {
  byId("grid-empty").hidden = store.ids.length > 0;
  const { text, way = "" } = store.wanted === store.applied ? said(store.applied) : { text: store.offline };
  setText(byId("grid-empty-text"), text);
  setText(byId("grid-empty-way"), way);
  byId("grid-empty-way").hidden = !way;
}

/** The words, and those of the button that leads on. */
function said(applied) {
  const { counts, sample } = store.session;
  if (applied.show === "todo") return counts.undecided ? hidden("decide", "Show all to do") : { text: allDecided(counts) };
  if (applied.show === "sample" && sample) {
    const left = sample.drawn - sample.answered - sample.unsure;
    if (left) return hidden("answer", "Show all to answer");
    return { text: `All ${number(sample.drawn)} of the spot check are answered. ${END}` };
  }
  return isNarrowed(applied)
    ? { text: "No image under these filters.", way: "Show all of them" }
    : { text: "There is no such image." };
}

function hidden(what, way) {
  const narrowed = isNarrowed(store.applied);
  return { text: narrowed ? `No image to ${what} under these filters.` : "There are others now.", way };
}

const number = (value) => value.toLocaleString("en");

function allDecided({ decided }) {
  return decided ? `All ${number(decided)} are decided. ${END}` : `Nothing waits for a decision. ${END}`;
}

/** Let the button take the other filters away. */
export function prepareEmpty() {
  byId("grid-empty-way").addEventListener("click", () => {
    change(widened(store.wanted));
    byId("grid").focus({ preventScroll: true });
  });
}
