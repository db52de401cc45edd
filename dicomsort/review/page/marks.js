// What is said of an image in a word and a shape: how it was decided, waits, or was refused.

import { EXCLUDED, UNSURE } from "./decide.js";
import { decisionOf, isWaiting, store } from "./store.js";

/** The mark of an image: its kind (a class of the style sheet), shape and words; null if there is none. */
export function markOf(id) {
  const refusal = store.refusals.get(id);
  if (refusal && !store.marks.has(id)) return { kind: "refused", shape: "⚠", words: `not decided: ${refusal}` };
  const label = decisionOf(id);
  if (isWaiting(id)) return { kind: "waiting", shape: "…", words: `waits to be sent: ${label || "taken back"}` };
  if (!label) return null;
  if (label === EXCLUDED) return { kind: "excluded", shape: "✕", words: "excluded" };
  if (label === UNSURE) return { kind: "unsure", shape: "?", words: "unsure" };
  const model = store.items.get(id)?.label;
  if (!model || model === label) return { kind: "agreed", shape: "✓", words: label };
  return { kind: "corrected", shape: "✓", words: `${label}, not ${model}` };
}

const SHORT = {
  "confidence below the review threshold": "low confidence",
  "unlike the training data": "unlike training",
  "no label reaches its threshold": "no label",
  "header contradicts the picture": "header contradicts",
  "polarity in doubt": "polarity",
};

/** The reasons of an image in few words, for a tile. */
export const reasonsOf = (item) => item.reasons.map((reason) => SHORT[reason] ?? reason).join("; ");
