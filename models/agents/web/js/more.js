/** What is rarely done with a conversation: title, policy, condense, export, delete. */

import { call, download, place, post } from "./api.js";
import { at, attempt, h, toast } from "./dom.js";
import { ask, field, policyFields } from "./forms.js";
import { visible } from "./text.js";

/** Show the dialog; `changed()` is told of changes, `deleted()` of the end. */
export function askForMore(details, { changed, deleted }) {
  const { id } = details;
  const dialog = at("more-dialog");
  const title = h("input", { type: "text", name: "title", maxlength: 500, value: details.title, dir: "auto" });
  const policy = policyFields(details.policy ?? { kind: "never" });
  const button = (label, work, kind = "") =>
    h("button", { type: "button", class: kind, onclick: () => attempt(work) }, label);
  const condense = async () => {
    const { condensed } = await post(place(id, "/condense"));
    toast(condensed ? "condensed" : "there is nothing to leave out yet", "good");
    changed();
  };
  const find = async () => {
    title.value = (await post(place(id, "/title"), { title: null })).title;
    changed();
  };
  const end = async () => {
    if (!confirm(`Delete '${details.title || id}' for ever? Files of its workspace stay.`)) return;
    await call("DELETE", place(id));
    dialog.close();
    deleted();
  };
  const parts = [
    field("Title", title),
    ...policy.parts,
    h(
      "div",
      { class: "bar" },
      button("Let the model find a title", find),
      button("Condense", condense),
      button("Export", () => download(place(id, "/export"), `${id}.jsonl`)),
      button("Delete…", end, "bad"),
    ),
    h(
      "dl",
      {},
      ...Object.entries({
        Id: id,
        Model: details.agent?.model ?? "unknown here",
        Workspace: details.agent?.workspace ?? "unknown here",
        Isolation: details.agent?.isolation ?? "unknown here",
        Problem: details.problem,
      }).flatMap(([name, value]) => (value ? [h("dt", {}, name), h("dd", {}, visible(value))] : [])),
    ),
  ];
  ask(dialog, "This conversation", parts, "Save", async () => {
    if (title.value !== details.title) await post(place(id, "/title"), { title: title.value });
    const wanted = policy.value();
    const had = details.policy ?? {};
    const isSame = had.kind === wanted.kind && (!["alarms", "risky"].includes(wanted.kind) ||
      (had.threshold === wanted.threshold && had.unknown === wanted.unknown));
    if (!isSame) await post(place(id, "/policy"), wanted);
    changed();
  });
}
