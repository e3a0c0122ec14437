/** A shell in the workspace, drawn from a Screen. */

import { open } from "./api.js";
import { at, h } from "./dom.js";
import { Screen } from "./screen.js";

const KEYS = {
  Enter: "\r", Backspace: "\x7f", Escape: "\x1b", Tab: "\t", Delete: "\x1b[3~", Insert: "\x1b[2~",
  PageUp: "\x1b[5~", PageDown: "\x1b[6~", F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS",
  F5: "\x1b[15~", F10: "\x1b[21~",
};
const MOVES = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", Home: "H", End: "F" };
const PIECE = 8_000;

export class Terminal {
  constructor() {
    this.screen = new Screen(24, 80);
    this.past = h("div", { class: "past" });
    this.now = h("div", { class: "now" });
    at("terminal-screen").append(this.past, this.now);
    this.kept = 0;
    at("terminal-open").addEventListener("click", () => this.start());
    at("terminal-stop").addEventListener("click", () => {
      this.#send("\x03");
      at("terminal-input").focus();
    });
    at("terminal-close").addEventListener("click", () => this.stop());
    at("terminal-screen").addEventListener("click", () => {
      // Marking text to copy it must not lose the mark.
      if (getSelection().isCollapsed) at("terminal-input").focus();
    });
    this.#listen(at("terminal-input"));
    new ResizeObserver(() => this.#fit()).observe(at("terminal"));
    this.#state("closed");
  }

  /** Be ready for another conversation. */
  show(id) {
    this.id = id;
    this.stop();
    this.screen.reset();
    this.past.replaceChildren();
    this.kept = this.screen.scrolled;
    this.#draw();
  }

  /** Open a shell. */
  start() {
    if (this.socket || !this.id) return;
    this.screen.reset();
    this.past.replaceChildren();
    this.kept = 0;
    const socket = open(`/ws/terminals/${encodeURIComponent(this.id)}`);
    this.socket = socket;
    this.#state("opening…");
    socket.onopen = () => {
      this.#state("open");
      this.told = "";
      this.#fit();
    };
    socket.onmessage = (message) => {
      const frame = JSON.parse(message.data);
      if (socket !== this.socket) return;
      if (frame.type === "output") {
        this.screen.write(frame.data);
        this.#ask();
      } else if (frame.type === "exit") {
        this.#state(`ended with exit code ${frame.code}`);
      }
    };
    socket.onclose = (closed) => {
      if (socket !== this.socket) return;
      this.socket = null;
      if (closed.code !== 1000) this.#state(`closed: ${closed.reason || "the connection was lost"}`);
      this.#buttons();
    };
    at("terminal-input").focus();
  }

  /** End the shell. */
  stop() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.#state("closed");
  }

  #state(text) {
    at("terminal-state").textContent = text;
    this.#buttons();
  }

  #buttons() {
    at("terminal-open").disabled = Boolean(this.socket) || !this.id;
    for (const name of ["terminal-stop", "terminal-close"]) at(name).disabled = !this.socket;
  }

  #listen(field) {
    field.addEventListener("keydown", (event) => {
      const typed = event.isComposing ? null : this.#key(event);
      if (typed === null) return;
      event.preventDefault();
      event.stopPropagation();
      this.#send(typed);
    });
    // Words, also those of input methods and of the clipboard.
    field.addEventListener("input", (event) => {
      if (event.isComposing) return;
      this.#send(field.value.replaceAll("\n", "\r"));
      field.value = "";
    });
    field.addEventListener("compositionend", () => {
      this.#send(field.value);
      field.value = "";
    });
    field.addEventListener("paste", (event) => {
      event.preventDefault();
      // The end of a paste must come from us alone: what follows it would be typed.
      const text = event.clipboardData.getData("text").replaceAll("\x1b", "").replace(/\r?\n/g, "\r");
      this.#send(this.screen.isPasteMarked ? `\x1b[200~${text}\x1b[201~` : text);
    });
  }

  #key(event) {
    if (event.metaKey || (event.key === "Tab" && event.shiftKey)) return null;
    if (event.ctrlKey && event.shiftKey) return null; // copy and paste of the browser
    const isMarked = !getSelection().isCollapsed;
    if (event.ctrlKey && event.key === "c" && isMarked) return null;
    if (event.ctrlKey && event.key === "v") return null;
    if (MOVES[event.key]) return `\x1b${this.screen.hasKeypad ? "O" : "["}${MOVES[event.key]}`;
    if (KEYS[event.key]) return KEYS[event.key];
    if (event.ctrlKey && !event.altKey && /^[a-z@[\\\]^_ ]$/i.test(event.key)) {
      return String.fromCharCode(event.key.toUpperCase().charCodeAt(0) & 31);
    }
    if (event.altKey && !event.ctrlKey && event.key.length === 1) return `\x1b${event.key}`;
    return null;
  }

  #send(text) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    for (let begin = 0; begin < text.length; begin += PIECE) {
      this.socket.send(JSON.stringify({ type: "input", data: text.slice(begin, begin + PIECE) }));
    }
  }

  #fit() {
    const place = at("terminal-screen");
    if (!place.clientHeight) return;
    const probe = h("span", { class: "probe" }, "X".repeat(100));
    place.append(probe);
    const { width, height } = probe.getBoundingClientRect();
    probe.remove();
    const columns = Math.max(20, Math.min(500, Math.floor((place.clientWidth - 12) / (width / 100))));
    const rows = Math.max(4, Math.min(200, Math.floor((place.clientHeight - 8) / height)));
    if (rows !== this.screen.rows || columns !== this.screen.columns) {
      this.screen.resize(rows, columns);
      this.#ask();
    }
    const told = `${rows} ${columns}`;
    if (told === this.told || this.socket?.readyState !== WebSocket.OPEN) return;
    this.told = told;
    this.socket.send(JSON.stringify({ type: "resize", rows, columns }));
  }

  #ask() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.#draw();
    });
  }

  #draw() {
    const { screen } = this;
    const place = at("terminal-screen");
    const isAtEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 30;
    const fresh = Math.min(screen.scrolled - this.kept, screen.past.length);
    this.kept = screen.scrolled;
    if (fresh > 0) this.past.append(...screen.past.slice(-fresh).map((line) => drawn(line, -1)));
    while (this.past.childElementCount > screen.past.length) this.past.firstChild.remove();
    const cursor = screen.isCursorShown ? screen.row : -1;
    this.now.replaceChildren(
      ...screen.lines.map((line, row) => drawn(line, row === cursor ? screen.column : -1)),
    );
    if (isAtEnd) place.scrollTop = place.scrollHeight;
  }
}

/** A line as runs of equal style. */
function drawn(line, cursor) {
  const made = h("div", { class: "row" });
  const cells = cursor < 0 ? line : [...line];
  while (cursor >= 0 && cells.length <= cursor) cells.push([" ", { fore: -1, back: -1, marks: "" }]);
  let run = null;
  for (let column = 0; column < cells.length; column += 1) {
    const [character, style] = cells[column];
    const isCursor = column === cursor;
    if (!run || run.style !== style || isCursor || run.isCursor) {
      run = { style, isCursor, node: styled(style, isCursor) };
      made.append(run.node);
    }
    run.node.firstChild.appendData(character);
  }
  if (!cells.length) made.append("\u200b");
  return made;
}

function styled({ fore, back, marks }, isCursor) {
  const made = h("span", { class: `${marks}${isCursor ? " cursor" : ""}`.trim() || null });
  made.append(document.createTextNode(""));
  if (fore >= 0) made.style.setProperty("--fore", colour(fore));
  if (back >= 0) made.style.setProperty("--back", colour(back));
  return made;
}

/** One of the 256 colours; the first 16 are the style sheet's. */
function colour(number) {
  if (number < 16) return `var(--ansi-${number})`;
  if (number >= 232) return `rgb(${Array(3).fill(8 + (number - 232) * 10).join(" ")})`;
  const parts = [36, 6, 1].map((size) => Math.floor((number - 16) / size) % 6);
  return `rgb(${parts.map((part) => (part ? 55 + part * 40 : 0)).join(" ")})`;
}
