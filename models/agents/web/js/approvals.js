/** Calls that wait: what they would do, why they wait, and the two answers. */

import { place, post } from "./api.js";
import { plannedDiff } from "./diff.js";
import { at, attempt, h, toast } from "./dom.js";
import { readable } from "./render.js";
import { block, parsed, visible } from "./text.js";

export class Approvals {
  /** @param {Function} answered Called after an answer was given. */
  constructor(answered) {
    this.answered = answered;
    this.shown = "";
  }

  /** Show what waits in a conversation. */
  show(id, calls) {
    const waiting = calls.filter((call) => call.waits);
    // What somebody types as a reason must not go when nothing changed.
    const wanted = JSON.stringify([id, waiting.map((call) => [call.call_id, call.digest])]);
    if (wanted === this.shown) return;
    this.shown = wanted;
    at("approvals").hidden = waiting.length === 0;
    at("approvals").replaceChildren(...waiting.map((call) => this.#card(id, call)));
  }

  #card(id, call) {
    const values = parsed(call.arguments);
    const planned = plannedDiff(call.name, values);
    const why = h("input", { type: "text", "aria-label": "Reason", placeholder: "Reason, which the model reads" });
    const answer = (path, body) => async () => {
      for (const button of card.querySelectorAll("button")) button.disabled = true;
      const done = await attempt(() => post(place(id, path), { call_id: call.call_id, ...body() }));
      if (done === undefined) {
        this.shown = "";
      } else {
        toast(`${path === "/approve" ? "approved" : "rejected"}: ${call.name}`, "good");
      }
      this.answered();
    };
    // With the digest of what is on the screen: other arguments would need another approval.
    const approve = answer("/approve", () => ({ digest: call.digest, by: "web" }));
    const reject = answer("/reject", () => ({ why: why.value }));
    const card = h(
      "article",
      { class: "approval", "aria-label": `${call.name} waits for an approval`, "data-call": call.call_id },
      h(
        "div",
        { class: "bar" },
        h("b", {}, `${visible(call.name)} waits for your approval`),
        h("span", { class: `risk ${call.risk}` }, call.risk ? `risk ${call.risk}` : "risk not rated"),
        h("span", { class: "quiet", title: call.digest }, `digest ${call.digest.slice(0, 12)}`),
      ),
      call.reasons.length
        ? h("ul", { class: "reasons" }, ...call.reasons.map((reason) => h("li", {}, visible(reason))))
        : null,
      ...(planned ?? [block(values ? readable(values) : call.arguments)]),
      h("details", { open: !isAsShown(call.arguments, values) }, h("summary", {}, "Exact arguments"), block(call.arguments, "exact", Infinity)),
      h(
        "form",
        {
          class: "bar",
          onsubmit: (event) => {
            event.preventDefault();
            reject();
          },
        },
        h("button", { type: "button", class: "approve", onclick: approve }, "Approve"),
        why,
        h("button", { type: "submit", class: "reject" }, "Reject"),
      ),
    );
    return card;
  }
}

/** Whether reading the arguments changed nothing: no number was rounded, no name came twice. */
function isAsShown(written, values) {
  const bare = (text) => text.replace(/\s+/g, "");
  return values !== null && bare(JSON.stringify(values)) === bare(written);
}
