/** Keys of the page, which can be turned off, and the dialog that lists them. */

import { at, h } from "./dom.js";

const OFF = "loom.keys-off";

export class Keys {
  /** @param {Object} does Functions by key, each `[what it does, function]`. */
  constructor(does) {
    this.does = { ...does, "?": ["this list", () => this.help()] };
    document.addEventListener("keydown", (event) => this.#pressed(event));
    at("help").addEventListener("click", () => this.help());
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    // A dialog that was just closed may keep the focus for a moment; nobody types into it.
    const dialog = event.target.closest("dialog");
    const typed = event.target.closest("input, textarea, select, dialog, [contenteditable]");
    if (typed && (!dialog || dialog.open)) return;
    if (localStorage.getItem(OFF)) return;
    const found = this.does[event.key];
    if (!found) return;
    event.preventDefault();
    found[1]();
  }

  /** Show the list. */
  help() {
    const dialog = at("help-dialog");
    const rows = Object.entries(this.does).map(([key, [what]]) =>
      h("tr", {}, h("td", {}, h("kbd", {}, key)), h("td", {}, what)),
    );
    const fixed = [
      ["Ctrl+Enter", "send the message"],
      ["Ctrl+S", "save the file in the editor"],
      ["Shift+Tab", "leave the terminal"],
      ["Escape", "close a dialog"],
    ].map(([key, what]) => h("tr", {}, h("td", {}, h("kbd", {}, key)), h("td", {}, what)));
    const box = h("input", { type: "checkbox", checked: !localStorage.getItem(OFF) });
    box.addEventListener("change", () => {
      if (box.checked) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, "1");
    });
    dialog.replaceChildren(
      h("h2", { id: "help-title" }, "Keys"),
      h("table", {}, ...rows, ...fixed),
      h("label", {}, box, " keys of one letter work"),
      h("div", { class: "bar end" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
    );
    dialog.showModal();
  }
}
