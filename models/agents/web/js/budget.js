/** How much of the budget is used. */

import { at, h } from "./dom.js";
import { money } from "./text.js";

/** Show steps, tokens and dollars, each with its limit where it has one. */
export function showBudget(details) {
  const limits = details.agent?.budget ?? {};
  const left = details.budget_left ?? {};
  const tokens = details.prompt_tokens + details.completion_tokens;
  const shown = [
    meter("Steps", details.steps, limits.steps, left.steps, (n) => Math.round(n).toLocaleString()),
    meter("Tokens", tokens, limits.tokens, left.tokens, (n) => Math.round(n).toLocaleString()),
    meter("Cost", details.cost_usd, limits.usd, left.usd, money),
  ];
  if (details.unpriced_calls) {
    shown.push(h("span", { class: "quiet" }, `${details.unpriced_calls} calls without a known price`));
  }
  at("budget").replaceChildren(...shown);
}

function meter(name, spent, limit, left, written) {
  if (limit === null || limit === undefined) {
    return h("span", { class: "meter" }, `${name} ${written(spent)}`);
  }
  // What delegated conversations took counts too: what is left says so.
  const used = Math.max(0, limit - (left ?? limit - spent));
  const bar = h("meter", { min: 0, max: Math.max(limit, 1e-9), high: limit * 0.8, value: used });
  bar.setAttribute("aria-label", `${name}: ${written(used)} of ${written(limit)}`);
  return h("span", { class: "meter" }, `${name} ${written(used)} / ${written(limit)} `, bar);
}
