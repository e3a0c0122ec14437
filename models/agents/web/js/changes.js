/** What changed in the workspace. */

import { get, place } from "./api.js";
import { diffView } from "./diff.js";
import { at, attempt, h } from "./dom.js";
import { visible } from "./text.js";

export class Changes {
  constructor() {
    at("changes-again").addEventListener("click", () => this.load());
  }

  /** Show the changes of a conversation. */
  show(id) {
    this.id = id;
    at("changes").replaceChildren();
    return this.load();
  }

  /** Look again. */
  async load() {
    const id = this.id;
    if (!id) return;
    const found = await attempt(() => get(place(id, "/diff")));
    if (!found || id !== this.id) return;
    const rows = found.changes.map((change) =>
      h("li", {}, h("span", { class: `change ${change.kind}` }, change.kind), ` ${visible(change.path)}`),
    );
    const none = {
      none: "This workspace is neither a git repository nor copied on write; edits are shown among the events.",
      git: "Nothing changed since the last commit.",
      overlay: "Nothing changed.",
    };
    at("changes").replaceChildren(
      ...(rows.length ? [h("ul", { class: "tree" }, ...rows)] : [h("p", { class: "quiet" }, none[found.kind])]),
      ...(found.diff ? [diffView(found.diff)] : []),
      ...(found.truncated ? [h("p", { class: "quiet" }, "There is more than is shown.")] : []),
    );
  }
}
