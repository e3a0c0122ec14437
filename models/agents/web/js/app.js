/** The page: what is open, and who is told of what. */

import { Approvals } from "./approvals.js";
import { get, place, post, session } from "./api.js";
import { showBudget } from "./budget.js";
import { Changes } from "./changes.js";
import { askForConversation } from "./create.js";
import { at, attempt, settled } from "./dom.js";
import { Editor } from "./editor.js";
import { Files } from "./files.js";
import { Keys } from "./keys.js";
import { Conversations } from "./list.js";
import { askForMore } from "./more.js";
import { Panes } from "./panes.js";
import { Stream } from "./stream.js";
import { Tabs } from "./tabs.js";
import { Terminal } from "./terminal.js";
import { visible } from "./text.js";
import { startTheme, switchTheme } from "./theme.js";
import { Timeline } from "./timeline.js";

let current = null;
let details = null;
let shownHead = 0;
const drafts = new Map();

const look = settled(() => attempt(lookAgain), 120, 600);
// A conversation whose agent cannot be opened here still has a log to read, but no workspace.
const canWork = () => details !== null && !details.problem;
const lookAtFiles = settled(() => {
  if (!canWork()) return;
  if (tabs.name === "files") files.load();
  if (tabs.name === "changes") changes.load();
}, 600, 3_000);

const approvals = new Approvals(look);
const timeline = new Timeline({
  reveal: (seq) => stream.reveal(seq),
  forked: (id) => go(id),
  changed: look,
});
const stream = new Stream({
  status: look,
  events: (log) => {
    timeline.show(current, log);
    look();
    // Only what comes while one looks on: the beginning of a log changed these files long ago.
    if (shownHead && log.events.slice(shownHead).some(({ kind }) => kind === "result")) lookAtFiles();
    shownHead = log.seq;
  },
  chose: (seq) => {
    timeline.point(seq);
    stream.reveal(seq);
  },
  gone: () => go(null),
});
const editor = new Editor(() => files.load());
const files = new Files((path) => editor.open(current, path));
const changes = new Changes();
const terminal = new Terminal();
const tabs = new Tabs((name) => {
  if (!current) return;
  if (name === "changes" && canWork()) changes.show(current);
  if (name === "files") files.load();
  panes.chose(name);
});
const panes = new Panes((name, isThere) => tabs.offer(name, isThere));
const list = new Conversations((id) => go(id));

function go(id) {
  location.hash = id ? `#/${encodeURIComponent(id)}` : "";
}

function hashId() {
  try {
    return decodeURIComponent(location.hash.replace(/^#\/?/, "")) || null;
  } catch {
    return null;
  }
}

async function lookAgain() {
  const id = current;
  if (!id) return;
  const found = await get(place(id));
  if (id === current) show(found);
}

function show(found) {
  const isFirst = details === null;
  details = found;
  if (isFirst) showWorkspace(found);
  const title = visible(found.title || found.id, true);
  const phase = found.running ? "running" : found.phase;
  at("title").textContent = title;
  document.title = `${phase === "waiting" ? "(!) " : ""}${title} · Loomworks agents`;
  at("standing").textContent = phase;
  at("standing").className = `phase ${phase}`;
  at("standing").title = visible(found.failure?.message ?? found.reason ?? found.problem ?? "");
  at("run").disabled = found.running;
  at("pause").disabled = at("interrupt").disabled = !found.running;
  showBudget(found);
  approvals.show(found.id, found.open_calls);
  list.tell(found);
}

function showWorkspace({ id, problem }) {
  at("send").disabled = Boolean(problem);
  at("composer-text").placeholder = problem
    ? `Only its log can be read here: ${problem}`
    : "Say something; Ctrl+Enter sends";
  if (problem) return;
  files.show(id);
  terminal.show(id);
  panes.show(id, tabs.name);
  if (tabs.name === "changes") changes.show(id);
}

function openHash() {
  const id = hashId();
  if (id === current) return;
  if (!editor.mayLeave()) {
    history.replaceState(null, "", `#/${encodeURIComponent(current)}`);
    return;
  }
  // What was begun to be said here must not be sent there.
  drafts.set(current, at("composer-text").value);
  at("composer-text").value = drafts.get(id) ?? "";
  current = id;
  details = null;
  shownHead = 0;
  for (const name of ["main", "panes"]) at(name).hidden = !id;
  at("nothing").hidden = Boolean(id);
  editor.forget();
  approvals.show(id, []);
  timeline.show(id, null);
  at("title").textContent = id ?? "";
  stream.follow(id);
  files.show(null);
  changes.show(null);
  terminal.show(null);
  panes.show(null);
  list.mark(id);
  if (!id) {
    document.title = "Loomworks agents";
    return;
  }
  look();
}

// By the state of the button: a pause of something at rest would meet its next run.
const steer = (what) => () => current && !at(what).disabled && attempt(() => post(place(current, `/${what}`)));

async function send() {
  const field = at("composer-text");
  const text = field.value;
  if (!text.trim() || !current) return;
  at("send").disabled = true;
  await attempt(async () => {
    try {
      await post(place(current, "/messages"), { text });
    } catch (error) {
      // At capacity the message is kept: sending it again would say it twice.
      if (error.status === 429) field.value = "";
      throw error;
    }
    field.value = "";
    stream.list.toEnd();
  });
  at("send").disabled = !canWork();
}

const begin = () => askForConversation((made) => {
  list.load();
  go(made.id);
});
const more = () => details && askForMore(details, {
  changed: () => {
    look();
    list.refresh();
  },
  deleted: () => {
    go(null);
    list.load();
  },
});
const beside = (by) => () => {
  const id = list.beside(by);
  if (id) go(id);
};

async function unlock() {
  const told = await attempt(() => get("/health"));
  if (told?.needs_key && !session.key) {
    askForKey("");
    return;
  }
  await list.load();
  openHash();
  list.mark(current);
}

function askForKey(note) {
  at("key-note").textContent = note;
  if (!at("key-dialog").open) at("key-dialog").showModal();
  at("key").focus();
}

startTheme();
addEventListener("hashchange", openHash);
addEventListener("locked", () => {
  // Several calls may be refused at once: only the first knows that a key was given.
  if (at("key-dialog").open) return;
  const wasGiven = Boolean(session.key);
  session.key = "";
  if (current) {
    current = null;
    details = null;
    stream.follow(null);
    terminal.show(null);
    panes.show(null);
  }
  askForKey(wasGiven ? "The server does not take this key." : "");
});
at("key-dialog").addEventListener("cancel", (event) => event.preventDefault());
at("key-dialog").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  session.key = at("key").value.trim();
  at("key").value = "";
  at("key-dialog").close();
  unlock();
});
at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("composer-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    send();
  }
});
at("new").addEventListener("click", begin);
at("more").addEventListener("click", more);
for (const what of ["run", "pause", "interrupt"]) at(what).addEventListener("click", steer(what));

new Keys({
  n: ["new conversation", begin],
  "/": ["search", () => at("search").focus()],
  j: ["next conversation", beside(1)],
  k: ["conversation before", beside(-1)],
  m: ["write a message", () => at("composer-text").focus()],
  a: ["to the call that waits", () => at("approvals").querySelector(".approve")?.focus()],
  r: ["run", steer("run")],
  p: ["pause", steer("pause")],
  x: ["interrupt", steer("interrupt")],
  e: ["to the last event", () => stream.list.toEnd()],
  "[": ["timeline: event before", () => timeline.step(-1)],
  "]": ["timeline: next event", () => timeline.step(1)],
  1: ["files", () => tabs.show(0)],
  2: ["changes", () => tabs.show(1)],
  3: ["terminal", () => tabs.show(2)],
  t: ["dark or light", switchTheme],
});
unlock();
