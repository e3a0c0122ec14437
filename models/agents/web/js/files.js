/** The tree of the workspace. A folder is read when it is opened. */

import { filePlace, get } from "./api.js";
import { at, attempt, h } from "./dom.js";
import { visible } from "./text.js";

const MOST_ENTRIES = 1_000;
const RANK = { folder: 0, file: 1, link: 2, other: 3 };

export class Files {
  /** @param {Function} chose Called with the path of a file. */
  constructor(chose) {
    this.chose = chose;
    this.opened = new Set();
    at("files-again").addEventListener("click", () => this.load());
  }

  /** Show the workspace of a conversation. */
  show(id) {
    this.id = id;
    this.opened.clear();
    at("tree").replaceChildren();
    return this.load();
  }

  /** Read what is open again. */
  async load() {
    const id = this.id;
    if (!id) return;
    const tree = await attempt(() => this.#folder(id, ""));
    if (tree && id === this.id) at("tree").replaceChildren(tree);
  }

  async #folder(id, path) {
    const { entries } = await get(filePlace(id, path));
    const list = h("ul", { class: "tree" });
    entries.sort((a, b) => RANK[a.kind] - RANK[b.kind] || a.path.localeCompare(b.path));
    for (const entry of entries.slice(0, MOST_ENTRIES)) {
      const whole = path ? `${path}/${entry.path}` : entry.path;
      const row = await this.#entry(id, entry, whole);
      list.append(h("li", {}, row));
    }
    if (entries.length > MOST_ENTRIES) {
      list.append(h("li", { class: "quiet" }, `[… ${entries.length - MOST_ENTRIES} more]`));
    }
    if (!entries.length) list.append(h("li", { class: "quiet" }, "empty"));
    return list;
  }

  async #entry(id, entry, path) {
    const name = visible(entry.path);
    if (entry.kind === "folder") return this.#branch(id, name, path);
    if (entry.kind !== "file") return h("span", { class: "quiet" }, `${name} (${entry.kind})`);
    const size = h("span", { class: "quiet" }, ` ${entry.size.toLocaleString()} B`);
    const open = () => this.chose(path);
    return h("button", { type: "button", class: "file", "data-path": path, onclick: open }, name, size);
  }

  async #branch(id, name, path) {
    const made = h("details", {}, h("summary", {}, `${name}/`));
    const fill = async () => {
      const inner = await attempt(() => this.#folder(id, path));
      if (inner) made.replaceChildren(made.firstChild, inner);
    };
    if (this.opened.has(path)) {
      made.open = true;
      await fill();
    }
    made.addEventListener("toggle", () => {
      if (made.open === this.opened.has(path)) return;
      if (made.open) {
        this.opened.add(path);
        fill();
      } else {
        this.opened.delete(path);
      }
    });
    return made;
  }
}
