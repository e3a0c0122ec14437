/** The conversations at the side: searched, loaded as one scrolls, kept up to date. */

import { get } from "./api.js";
import { at, attempt, h, settled } from "./dom.js";
import { clock, money, visible } from "./text.js";
import { VirtualList } from "./virtual.js";

const PAGE = 200;
const MOST = 2_000;
const AGAIN_MS = 5_000;

export class Conversations {
  /** @param {Function} chose Called with an id. */
  constructor(chose) {
    this.chose = chose;
    this.rows = [];
    this.next = null;
    this.total = 0;
    this.current = null;
    this.busy = 0;
    this.list = new VirtualList(at("list"), {
      render: (row) => this.#row(row),
      estimate: 58,
      onPaint: (list) => this.#painted(list),
    });
    const begin = settled(() => this.load(), 200);
    at("search").addEventListener("input", begin);
    at("phase").addEventListener("change", begin);
    setInterval(() => !document.hidden && this.isOpen && this.refresh(), AGAIN_MS);
  }

  /** Load the first page of what is searched. */
  async load() {
    const page = await this.#page(PAGE, "");
    if (!page) return;
    this.isOpen = true;
    this.list.clear();
    this.rows = [];
    this.#take(page, []);
  }

  /** Look again at what is loaded: states change and conversations begin. */
  async refresh() {
    if (this.busy) return;
    const size = Math.min(MOST, Math.max(PAGE, this.rows.length));
    const page = await this.#page(size, "", true);
    if (page) this.#take(page, this.rows.slice(page.conversations.length));
  }

  /** Mark the one that is open. */
  mark(id) {
    this.current = id;
    this.#show();
    const index = this.rows.findIndex((row) => row.id === id);
    if (index >= 0 && !at("list").querySelector("[aria-current]")) this.list.reveal(index);
  }

  /** Take over what is known of one: the open one is looked at more often than the list. */
  tell(details) {
    const row = this.rows.find(({ id }) => id === details.id);
    if (!row) return;
    for (const name of Object.keys(row)) if (name in details) row[name] = details[name];
    this.#show();
  }

  /** The one before or after the open one. */
  beside(by) {
    const index = this.rows.findIndex((row) => row.id === this.current);
    return this.rows[Math.max(0, Math.min(this.rows.length - 1, index + by))]?.id;
  }

  async #page(limit, cursor, isQuiet = false) {
    this.asking?.abort();
    this.asking = new AbortController();
    const query = new URLSearchParams({ limit, cursor, q: at("search").value, phase: at("phase").value });
    const ask = () => get(`/api/conversations?${query}`, { signal: this.asking.signal });
    this.busy += 1;
    try {
      // Unasked for, it fails in silence: the line of the open conversation tells it.
      return await (isQuiet ? ask().catch(() => undefined) : attempt(ask));
    } finally {
      this.busy -= 1;
    }
  }

  #take(page, rest) {
    const known = new Set(page.conversations.map((row) => row.id));
    const old = rest.filter((row) => !known.has(row.id));
    this.rows = [...page.conversations, ...old];
    if (!old.length) this.next = page.next;
    this.total = page.total;
    const many = page.total === 1 ? "conversation" : "conversations";
    const told = `${page.total.toLocaleString()} ${many}`;
    if (at("count").textContent !== told) at("count").textContent = told;
    this.#show();
  }

  #show() {
    this.list.show(
      this.rows.map((row) => ({
        ...row,
        key: row.id,
        version: `${row.title}|${row.phase}|${row.running}|${row.seq}|${row.id === this.current}`,
      })),
    );
  }

  async #painted(list) {
    const last = list.indexAt(list.scroller.scrollTop + list.scroller.clientHeight);
    if (!this.next || this.busy || last < this.rows.length - PAGE / 4) return;
    const page = await this.#page(PAGE, this.next);
    if (!page) return;
    const known = new Set(this.rows.map((row) => row.id));
    this.rows = [...this.rows, ...page.conversations.filter((row) => !known.has(row.id))];
    this.next = page.next;
    this.#show();
  }

  #row(row) {
    const phase = row.running ? "running" : row.phase;
    const isCurrent = row.id === this.current;
    const button = h(
      "button",
      { type: "button", class: "talk", "data-id": row.id, onclick: () => this.chose(row.id) },
      h("span", { class: "name", dir: "auto" }, visible(row.title || row.id, true).slice(0, 120)),
      h("span", { class: `phase ${phase}` }, phase),
      h("span", { class: "quiet" }, `${row.steps} ${row.steps === 1 ? "step" : "steps"} · ${money(row.cost_usd)} · ${clock(row.updated)}`),
    );
    if (isCurrent) button.setAttribute("aria-current", "true");
    return h("div", { role: "listitem", class: isCurrent ? "current" : "" }, button);
  }
}
