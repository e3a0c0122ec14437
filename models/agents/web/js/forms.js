/** Parts that the dialogs share. */

import { attempt, h } from "./dom.js";

/** A labelled field. */
export function field(label, input, hint = "") {
  return h("label", { class: "field" }, h("span", {}, label), input, hint ? h("small", {}, hint) : null);
}

/** A choice among words. */
export function choice(values, chosen, attributes = {}) {
  return h("select", attributes, ...values.map((value) => h("option", { selected: value === chosen }, value)));
}

/** A policy as three fields; `value()` is what the server takes. */
export function policyFields(policy) {
  const kind = choice(["never", "alarms", "risky", "always"], policy.kind, { name: "policy" });
  const threshold = choice(["low", "medium", "high"], policy.threshold ?? "high", { name: "threshold" });
  const unknown = h("input", { type: "checkbox", name: "unknown", checked: policy.unknown ?? true });
  const risky = h("div", {}, field("From this risk on", threshold), field("Also what nobody can rate", unknown));
  const follow = () => {
    risky.hidden = !["alarms", "risky"].includes(kind.value);
  };
  kind.addEventListener("change", follow);
  follow();
  return {
    parts: [field("Calls wait for an approval", kind), risky],
    value: () => ({ kind: kind.value, threshold: threshold.value, unknown: unknown.checked }),
  };
}

/** Show a dialog whose form does something; it closes when that succeeds. */
export function ask(dialog, title, parts, label, submit) {
  const form = dialog.querySelector("form");
  const head = h("h2", { id: dialog.getAttribute("aria-labelledby") }, title);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const go = label ? h("button", { type: "submit", class: "main" }, label) : null;
  form.replaceChildren(head, ...parts, h("div", { class: "bar end" }, cancel, ...(go ? [go] : [])));
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (go) go.disabled = true;
    const done = await attempt(async () => {
      await submit();
      return true;
    });
    if (go) go.disabled = false;
    if (done) dialog.close();
  };
  if (!dialog.open) dialog.showModal();
}
