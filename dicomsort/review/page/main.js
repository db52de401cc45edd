// Starts the page: asks for the state, builds each part, and draws them whenever the store has changed.

import * as address from "./address.js";
import * as api from "./api.js";
import { lost } from "./connection.js";
import { resume } from "./decide.js";
import { byId } from "./dom.js";
import { drawEmpty, prepareEmpty } from "./empty.js";
import { buildFilters, change, drawFilters } from "./filters.js";
import { drawGrid, listenToGrid } from "./grid.js";
import { prepareHelp } from "./help.js";
import { listen } from "./keys.js";
import { load } from "./list.js";
import { drawMessages, prepareMessages } from "./messages.js";
import { buildPanel, drawPanel } from "./panel.js";
import { drawSingle, listenToSingle, toggleView } from "./single.js";
import { learn, store, subscribe } from "./store.js";

function build() {
  prepareMessages();
  prepareEmpty();
  prepareHelp();
  buildFilters();
  buildPanel((field, value) => change({ [field]: value }));
  listenToGrid(toggleView);
  listenToSingle();
  listen();
}

function draw() {
  drawFilters();
  drawMessages();
  drawEmpty();
  drawGrid();
  drawSingle();
  drawPanel();
  address.writeSoon();
}

function goToAddress() {
  const { wanted, at, view, tile } = address.read(store.session);
  Object.assign(store, { wanted, view, tile });
  return load(at);
}

async function continueWaiting() {
  try {
    await resume();
  } catch (error) {
    if (!(error instanceof api.Unreachable)) throw error;
    await lost(error);
    await continueWaiting();
  }
}

async function start() {
  try {
    store.session = await api.state();
  } catch (error) {
    byId("message").textContent = error.message;
    return;
  }
  learn({ notices: store.session.notices });
  build();
  await goToAddress();
  subscribe(draw);
  draw();
  byId(store.view).focus({ preventScroll: true });
  addEventListener("hashchange", goToAddress);
  await continueWaiting();
  document.body.classList.add("ready");
}

start();
