/** What others wrote, as text that hides nothing; and a small part of Markdown. */

import { h } from "./dom.js";

// Controls, and characters that are not seen or turn the direction of what follows.
const HIDDEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

// Without them emoji and some scripts fall apart; they matter in commands, not in prose.
const JOINERS = new Set(["\u200c", "\u200d"]);

/** Replace what cannot be seen by its number: `⟨U+202E⟩`. */
export function visible(text, isProse = false) {
  const shown = text.replaceAll("\r\n", "\n");
  return shown.replace(HIDDEN, (found) => {
    if (isProse && JOINERS.has(found)) return found;
    const number = found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return `⟨U+${number}⟩`;
  });
}

/** Cut a long text; what is left out is said. */
export function clipped(text, most) {
  if (text.length <= most) return text;
  return `${text.slice(0, most)}\n[… ${(text.length - most).toLocaleString()} more characters]`;
}

/** A block of text as it is. */
export function block(text, kind = "", most = 20_000) {
  return h("pre", { class: kind, dir: "ltr" }, clipped(visible(text), most));
}

/** Turn fences, `code`, **bold** and headings into elements; all else stays text. */
export function markdown(text) {
  const made = h("div", { class: "words", dir: "auto" });
  const parts = clipped(visible(text, true), 100_000).split(/^```[^\n]*\n?/m);
  parts.forEach((part, index) => {
    if (index % 2) made.append(h("pre", { dir: "ltr" }, part.replace(/\n$/, "")));
    else made.append(...lines(part));
  });
  return made;
}

function lines(text) {
  const trimmed = text.replace(/^\n+|\n+$/g, "");
  if (!trimmed) return [];
  return trimmed.split(/\n{2,}/).map((paragraph) => {
    const heading = /^(#{1,4}) +([^\n]+)$/.exec(paragraph);
    if (heading) return h("p", { class: "heading" }, ...inline(heading[2]));
    return h("p", { dir: "auto" }, ...inline(paragraph));
  });
}

function inline(text) {
  return text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/).map((part, index) => {
    if (index % 2 === 0) return part;
    if (part.startsWith("`")) return h("code", { dir: "ltr" }, part.slice(1, -1));
    return h("b", {}, part.slice(2, -2));
  });
}

/** Texts of a message's parts, of one kind. */
export function partsOf(message, kind = "text") {
  const parts = message?.parts ?? [];
  return parts.filter((part) => part.kind === kind).map((part) => part.text ?? "").join("\n");
}

/** Arguments as they are sent to the tool; null: they are no JSON object. */
export function parsed(text) {
  try {
    const values = JSON.parse(text);
    return values !== null && typeof values === "object" && !Array.isArray(values) ? values : null;
  } catch {
    return null;
  }
}

/** US dollars, with enough digits to see small sums. */
export function money(usd) {
  return `$${usd.toFixed(usd < 1 ? 4 : 2)}`;
}

/** A moment as the clock of this browser says it. */
export function clock(seconds) {
  const moment = new Date(seconds * 1000);
  const isToday = moment.toDateString() === new Date().toDateString();
  return isToday ? moment.toLocaleTimeString() : moment.toLocaleString();
}
