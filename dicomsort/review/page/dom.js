// Small help with elements: text only ever goes in as text.

/** A new element with classes, text and attributes; `on` holds its listeners. */
export function element(name, { classes = "", text = "", on = {}, ...attributes } = {}) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Set a text only where it is another: readers of the screen would say it again. */
export function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/** A probability as a whole percentage that never says 100 for less than 1. */
export function percent(value) {
  if (value === null || value === undefined) return "";
  return value > 0.995 && value < 1 ? ">99 %" : `${Math.round(value * 100)} %`;
}

/** The file's own name. */
export const nameOf = (path) => path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
