// Every request to the server, and the ways in which one fails.

/** The server has too much to draw just now. */
export class Busy extends Error {}

/** The server did not answer, or no longer knows this page. */
export class Unreachable extends Error {}

/** The server answered that it will not do this. */
export class Refused extends Error {}

const PATIENCE = 60_000; // a server that takes longer is taken for gone, and asked again
const GONE = "The server does not answer.";
export const ENDED = "This page's session has ended: open the address that dicomsort printed.";

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE), ...options });
  } catch {
    throw new Unreachable(GONE);
  }
  if (response.status === 403) throw new Unreachable(ENDED);
  if (!response.ok) throw new Refused(await reasonOf(response));
  return response;
}

async function reasonOf(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

async function bodyOf(response) {
  try {
    return await response.json();
  } catch {
    throw new Unreachable(GONE); // cut off on the way
  }
}

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export const state = async () => bodyOf(await request("/api/state"));
/** A list: its ids, and whether a study in it has several images (`studies`). */
export const list = async (query) => bodyOf(await request(`/api/ids?${query}`));
export const ids = async (query) => (await list(query)).ids;
export const items = async (wanted) => (await bodyOf(await request(`/api/items?ids=${wanted.join(",")}`))).items;
export const decide = async (wanted, label) => bodyOf(await post("/api/decisions", { ids: wanted, label }));
export const undo = async () => bodyOf(await post("/api/undo", {}));
export const ahead = (wanted) => post("/api/ahead", { ids: wanted });

/** Why there is no picture at this address; "" if there is one after all. */
export async function pictureFault(address) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin" });
  } catch {
    throw new Unreachable(GONE);
  }
  if (response.status === 403) throw new Unreachable(ENDED);
  if (response.status === 503) throw new Busy();
  return response.ok ? "" : (await response.text()) || `The server answered ${response.status}.`;
}
