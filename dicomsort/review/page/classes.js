// Which key stands for which class.

const COMMANDS = "xqufvr"; // letters that mean something else, see keys.js

/** The keys of each class: a digit for the first nine, and the first letter of its name that is free. */
export function classKeys(labels) {
  const free = new Set("abcdefghijklmnopqrstuvwxyz");
  for (const letter of COMMANDS) free.delete(letter);
  return labels.map((label, place) => {
    const letter = [...label.toLowerCase()].find((character) => free.delete(character)) ?? "";
    return { label, digit: place < 9 ? String(place + 1) : "", letter };
  });
}
