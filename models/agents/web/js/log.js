/** Events put together to what is shown: a call and its result are one item. */

import { parsed, partsOf } from "./text.js";

const SILENT = new Set(["spent", "title", "begun"]);

export class EventLog {
  constructor() {
    this.events = [];
    this.items = [];
    this.calls = new Map();
    this.byId = new Map();
    this.last = "";
  }

  get seq() {
    return this.events.length;
  }

  /** Take the next event. */
  add(event) {
    const isNext = !this.last || event.parent === this.last;
    this.byId.set(event.id, event.seq);
    this.events.push(event);
    this.last = event.id;
    const { body } = event;
    if (event.kind === "result" || event.kind === "approved") {
      const item = this.calls.get(body.call_id);
      if (item) {
        item[event.kind] = event;
        item.version += 1;
      }
    } else if (isShown(event)) {
      const item = { key: event.seq, version: 0, event, isLeft: false };
      if (event.kind === "intent") this.calls.set(body.call_id, item);
      this.items.push(item);
    }
    if (!isNext) this.#mark();
  }

  /** Mark what lies on branches that were left. */
  #mark() {
    const kept = new Set();
    let seq = this.seq;
    while (seq) {
      kept.add(seq);
      seq = this.byId.get(this.events[seq - 1].parent) ?? 0;
    }
    for (const item of this.items) {
      const isLeft = !kept.has(item.event.seq);
      if (isLeft !== item.isLeft) {
        item.isLeft = isLeft;
        item.version += 1;
      }
    }
  }

  /** The index of the item that shows an event, or of the last one before it. */
  indexOf(seq) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle].key <= seq) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

function isShown({ kind, body }) {
  if (SILENT.has(kind)) return false;
  if (kind === "status") return body.phase !== undefined && body.phase !== "running";
  if (kind !== "answer") return true;
  return Boolean(partsOf(body.message).trim() || partsOf(body.message, "reasoning").trim());
}

/** An event in a few words. */
export function nameOf({ kind, body }) {
  switch (kind) {
    case "user":
    case "answer":
      return partsOf(body.message).slice(0, 60) || kind;
    case "intent":
      return `${body.name} ${summary(body.arguments ?? "{}")}`.slice(0, 60);
    case "result":
      return `${body.name ?? "call"}: ${body.outcome ?? "ok"}`;
    case "status":
      return body.phase ?? "idle";
    default:
      return kind;
  }
}

/** Arguments in a line. */
export function summary(text) {
  const values = parsed(text);
  if (!values) return text.slice(0, 120);
  const main = values.command ?? values.path ?? values.pattern ?? values.message ?? values.url;
  if (typeof main === "string") return main.split("\n")[0].slice(0, 120);
  return text.slice(0, 120);
}
