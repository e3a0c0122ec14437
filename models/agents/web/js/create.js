/** The dialog that begins a conversation. */

import { get, post } from "./api.js";
import { at, attempt, h } from "./dom.js";
import { ask, choice, field, policyFields } from "./forms.js";

const MODEL = "loom.model";
const NOBODY = "what tools declare";

/** Ask what it shall be; `begun(details)` is told of the conversation. */
export async function askForConversation(begun) {
  const found = await attempt(() => Promise.all([get("/api/tools"), get("/api/offers")]));
  if (!found) return;
  const [tools, offers] = found;
  const text = (name, more = {}) => h("input", { type: "text", name, autocomplete: "off", ...more });
  const number = (name, step) => h("input", { type: "number", name, min: 0, step });
  const model = text("model", { required: true, value: localStorage.getItem(MODEL) ?? "" });
  const title = text("title", { maxlength: 500 });
  const workspace = text("workspace");
  const isolation = choice(offers.isolations, "sandbox", { name: "isolation" });
  const limits = { steps: number("steps", 1), tokens: number("tokens", 1), usd: number("usd", "any") };
  const policy = policyFields({ kind: "risky" });
  const analyzer = choice([...offers.analyzers, NOBODY], "rails", { name: "analyzer" });
  const servers = offers.mcp.map((name) => {
    const box = h("input", { type: "checkbox", name: "mcp", value: name });
    return { box, label: h("label", { class: "tool" }, box, ` ${name}`) };
  });
  const usual = h("input", { type: "checkbox", name: "usual", checked: true });
  const boxes = tools
    .filter((tool) => tool.name !== "think" && tool.name !== "finish")
    .map((tool) => {
      const box = h("input", { type: "checkbox", name: "tool", value: tool.name });
      return { box, label: h("label", { class: "tool", title: tool.description }, box, ` ${tool.name}`) };
    });
  const list = h("div", { class: "tools", hidden: true }, ...boxes.map(({ label }) => label));
  usual.addEventListener("change", () => {
    list.hidden = usual.checked;
  });
  const parts = [
    field("Model", model, "openai/gpt-5, http://HOST/v1#NAME, local:NAME, scripted:FILE"),
    field("Title", title, "Empty: made of the first message"),
    field("Workspace", workspace, offers.roots.length > 0
      ? `A folder below ${offers.roots.join(", ")}; empty: one of its own`
      : "Empty: a folder of its own"),
    field("Isolation", isolation, "sandbox: behind walls, without network"),
    ...policy.parts,
    field("Risk is rated by", analyzer, "rails: shell commands are followed without running them"),
    h(
      "fieldset",
      {},
      h("legend", {}, "Limits (empty: none)"),
      field("Steps", limits.steps),
      field("Tokens", limits.tokens),
      field("US dollars", limits.usd),
    ),
    h("fieldset", {}, h("legend", {}, "Tools"), field("The usual ones", usual), list),
    ...(servers.length > 0
      ? [h("fieldset", {}, h("legend", {}, "MCP servers"), ...servers.map(({ label }) => label))]
      : []),
  ];
  ask(at("new-dialog"), "New conversation", parts, "Begin", async () => {
    const budget = {};
    for (const [name, input] of Object.entries(limits)) {
      if (input.value !== "") budget[name] = Number(input.value);
    }
    const chosen = boxes.filter(({ box }) => box.checked).map(({ box }) => box.value);
    const agent = {
      model: model.value.trim(),
      tools: usual.checked ? null : chosen,
      policy: policy.value(),
      analyzer: analyzer.value === NOBODY ? "" : analyzer.value,
      mcp: Object.fromEntries(servers.filter(({ box }) => box.checked).map(({ box }) => [box.value, null])),
      budget,
      workspace: workspace.value.trim(),
      isolation: isolation.value,
    };
    const details = await post("/api/conversations", { agent, title: title.value.trim() });
    localStorage.setItem(MODEL, agent.model);
    begun(details);
  });
  model.focus();
}
