/** Differences as lines: of unified text, and of an edit that did not happen yet. */

import { h } from "./dom.js";
import { visible } from "./text.js";

const MOST_LINES = 2_000;
const SHOWN = new Set(["path", "text", "old", "new", "line"]);
const KINDS = { "+": "added", "-": "removed", "@": "place" };

/** A unified difference as an element. */
export function diffView(text, label = "Difference") {
  const lines = text.replace(/\n$/, "").split("\n");
  const shown = lines.slice(0, MOST_LINES).map((line) => {
    const isHead = /^(\+\+\+|---|diff |index |new file|deleted file)/.test(line);
    const kind = isHead ? "name" : (KINDS[line[0]] ?? "");
    return h("span", { class: `line ${kind}` }, `${visible(line)}\n`);
  });
  if (lines.length > MOST_LINES) {
    const left = (lines.length - MOST_LINES).toLocaleString();
    shown.push(h("span", { class: "line name" }, `[… ${left} more lines]`));
  }
  return h("pre", { class: "diff", dir: "ltr", role: "group", "aria-label": label }, ...shown);
}

/** What an editing tool is about to do, as elements; null: it edits nothing that we know. */
export function plannedDiff(name, values) {
  const path = typeof values?.path === "string" ? values.path : "";
  const signed = (sign, text) => (text ? text.replace(/\n$/, "").split("\n").map((l) => sign + l) : []);
  const text = (key) => (typeof values?.[key] === "string" ? values[key] : "");
  let lines = [];
  if (name === "create") lines = signed("+", text("text"));
  else if (name === "str_replace") lines = [...signed("-", text("old")), ...signed("+", text("new"))];
  else if (name === "insert") lines = [`@@ after line ${values?.line} @@`, ...signed("+", text("text"))];
  else return null;
  const diff = diffView([`--- a/${path}`, `+++ b/${path}`, ...lines].join("\n"), "Planned difference");
  // Nothing that was asked for may be out of sight, such as that a file is replaced.
  const rest = Object.keys(values).filter((key) => !SHOWN.has(key));
  return [diff, ...rest.map((key) => h("p", {}, visible(`${key}: ${JSON.stringify(values[key])}`)))];
}
