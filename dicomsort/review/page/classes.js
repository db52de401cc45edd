// Which key stands for which class.

const COMMANDS = "xqufvr"; // letters that mean something else, see keys.js
const DIGITS = 9;

/**
 * The keys of each class: a digit for the first nine, and a letter, of its name if one is free there. Letters go first
 * to the classes without a digit, which get any letter if need be; with more classes than keys, the last have none.
 */
export function classKeys(labels) {
  const free = new Set("abcdefghijklmnopqrstuvwxyz");
  for (const letter of COMMANDS) free.delete(letter);
  const letters = new Map();
  const give = (places, lettersOf) => {
    for (const place of places) {
      const letter = letters.has(place) ? undefined : lettersOf(place).find((character) => free.delete(character));
      if (letter) letters.set(place, letter);
    }
  };
  const ownLetters = (place) => [...labels[place].toLowerCase()];
  const places = [...labels.keys()];
  give(places.slice(DIGITS), ownLetters);
  give(places.slice(DIGITS), () => [...free]);
  give(places.slice(0, DIGITS), ownLetters);
  return labels.map((label, place) => ({
    label,
    digit: place < DIGITS ? String(place + 1) : "",
    letter: letters.get(place) ?? "",
  }));
}
