/** One item of the stream as an element. Nothing here makes markup of what others wrote. */

import { diffView, plannedDiff } from "./diff.js";
import { h } from "./dom.js";
import { summary } from "./log.js";
import { block, clock, markdown, money, parsed, partsOf, visible } from "./text.js";

const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const MOST_FOLDS = 1_000;

/**
 * Make the row of an item.
 * @param {Object} item Of an EventLog.
 * @param {Object} view `unfolded` is a Map of keys to whether they were opened or closed by hand;
 *   `chose(seq)` is told when somebody points at an event; `progress` maps calls to what they said;
 *   `chosen` is the key of the item that is pointed at.
 */
export function renderItem(item, view) {
  const { event } = item;
  const left = `${item.isLeft ? " left" : ""}${item.key === view.chosen ? " chosen" : ""}`;
  const made = h(
    "article",
    { class: `item ${event.kind}${left}`, "data-seq": event.seq, tabindex: "-1" },
    head(item, view),
    ...bodyOf(item, view),
  );
  made.setAttribute("aria-label", `${heading(event)}, event ${event.seq}`);
  return made;
}

function bodyOf(item, view) {
  const { kind, body } = item.event;
  try {
    return (Object.hasOwn(BODIES, kind) ? BODIES[kind] : unknown)(body, item, view);
  } catch {
    // Written by another version: what it holds is shown as it is.
    return unknown(body, item, view);
  }
}

function head({ event, isLeft }, view) {
  const name = h("b", {}, heading(event));
  const button = h(
    "button",
    {
      type: "button",
      class: "seq",
      title: "Point the timeline at this event",
      onclick: () => view.chose(event.seq),
    },
    `#${event.seq}`,
  );
  const said = [name, isLeft ? " on a branch that was left" : ""];
  return h("div", { class: "head" }, ...said, h("span", { class: "gap" }), h("time", {}, clock(event.ts)), button);
}

function heading({ kind, body, source }) {
  const names = {
    user: "You",
    answer: "Agent",
    intent: body.name === "finish" ? "Agent, final" : `Tool ${visible(body.name ?? "")}`,
    result: "Result",
    failure: "Failure",
    notice: "Notice to the model",
    condensed: "Condensed",
    rewound: "Rewound",
    forked: "Forked",
    status: `Now ${body.phase ?? "idle"}`,
    system: "System prompt",
    started: "Began",
    note: `Note: ${visible(String(body.topic ?? ""))}`,
    approved: "Approved",
  };
  return Object.hasOwn(names, kind) ? names[kind] : `${visible(kind)} (${source})`;
}

const BODIES = {
  user: (body) => [markdown(partsOf(body.message)), ...pictures(body.message?.parts ?? [])],
  answer: (body, item, view) => {
    const thoughts = partsOf(body.message, "reasoning");
    const text = partsOf(body.message);
    return [
      thoughts ? fold(`${item.key}-thoughts`, "Thoughts", view, false, () => [block(thoughts)]) : null,
      text ? markdown(text) : null,
      h("p", { class: "quiet" }, paid(body)),
    ].filter(Boolean);
  },
  intent: call,
  result: (body) => [block(body.text ?? "")],
  notice: (body) => [block(body.text ?? "")],
  failure: (body) => [h("p", { class: "bad" }, visible(`${body.error ?? ""}: ${body.message ?? ""}`))],
  condensed: (body, item, view) => [
    h("p", {}, `The model sees a summary of events ${(body.keep_until ?? 0) + 1} to ${(body.tail_from ?? 1) - 1}.`),
    fold(`${item.key}-summary`, "Summary", view, false, () => [block(body.summary ?? "")]),
  ],
  rewound: (body) => [h("p", {}, `It goes on from event ${body.to}.`)],
  forked: (body) => [h("p", {}, `A copy of ${visible(body.conversation ?? "")} up to event ${body.seq}.`)],
  status: (body) => (body.reason ? [h("p", {}, visible(body.reason))] : []),
  system: (body, item, view) => [
    fold(`${item.key}-system`, "Text", view, false, () => [block(body.text ?? "")]),
  ],
  started: unknown,
};

function unknown(body, item, view) {
  return [fold(`${item.key}-raw`, "Details", view, false, () => [block(JSON.stringify(body, null, 2))])];
}

function paid(body) {
  const usage = body.usage ?? {};
  const tokens = (usage.prompt_tokens ?? 0) + (usage.completion_tokens ?? 0);
  const parts = [visible(body.model ?? "")];
  if (tokens) parts.push(`${tokens.toLocaleString()} tokens`);
  if (body.cost_usd) parts.push(money(body.cost_usd));
  if (body.source && body.source !== "live") parts.push(visible(body.source));
  return parts.filter(Boolean).join(" · ");
}

function call(body, item, view) {
  const written = body.arguments ?? "{}";
  const values = parsed(written);
  if (body.name === "finish" && typeof values?.message === "string") {
    return [markdown(values.message)];
  }
  const result = item.result?.body;
  const outcome = result ? (result.outcome ?? "ok") : item.approved ? "approved" : body.waits ? "waits" : "runs";
  const diff = result?.data?.diff;
  const line = [
    h("code", {}, visible(summary(written))),
    h("span", { class: `outcome ${outcome}` }, outcome),
    body.risk ? h("span", { class: `risk ${body.risk}` }, `risk ${body.risk}`) : null,
  ];
  // Edits and what went wrong are what people look for.
  const isOpen = Boolean(diff) || ["error", "unknown"].includes(outcome);
  return [
    fold(`${item.key}-call`, line, view, isOpen, () => [
      ...(diff ? [diffView(diff)] : argumentsView(body.name, written, values, view, item)),
      ...(result ? resultView(result, Boolean(diff)) : progressView(body.call_id, view)),
    ]),
  ];
}

function argumentsView(name, written, values, view, item) {
  const planned = item.result ? null : plannedDiff(name, values);
  if (planned) return planned;
  const pretty = values ? readable(values) : written;
  return [h("p", { class: "quiet" }, "Arguments"), block(pretty)];
}

/** Arguments by name; texts of several lines stay lines. */
export function readable(values) {
  return Object.entries(values)
    .map(([name, value]) => {
      const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
      return text.includes("\n") ? `${name}:\n${text}` : `${name}: ${text}`;
    })
    .join("\n");
}

function resultView(result, isEdit) {
  const label = result.duration_s ? `Result after ${result.duration_s.toFixed(2)} s` : "Result";
  const text = result.text ?? "";
  if (isEdit) return [h("p", { class: "quiet" }, visible(text))];
  return [h("p", { class: "quiet" }, label), block(text), ...pictures(result.images ?? [])];
}

function progressView(callId, view) {
  const said = view.progress.get(callId);
  return said ? [h("p", { class: "quiet" }, "So far"), block(said)] : [];
}

function pictures(parts) {
  return parts
    .filter((part) => part.data && PICTURES.has(part.media_type ?? "image/png"))
    .map((part) => {
      const kind = part.media_type ?? "image/png";
      return h("img", { src: `data:${kind};base64,${part.data}`, alt: "Picture of a tool" });
    });
}

/** A part that opens and closes, and stays so when its row is made again. */
function fold(key, label, view, isOpen, fill) {
  const open = view.unfolded.get(key) ?? isOpen;
  const made = h("details", { open }, h("summary", {}, label));
  const filled = () => made.childElementCount > 1 || made.append(...fill());
  if (open) filled();
  made.addEventListener("toggle", () => {
    if (made.open) filled();
    if (made.open !== open || view.unfolded.has(key)) view.unfolded.set(key, made.open);
    if (view.unfolded.size > MOST_FOLDS) view.unfolded.delete(view.unfolded.keys().next().value);
  });
  return made;
}
