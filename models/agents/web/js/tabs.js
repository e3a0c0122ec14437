/** The panes at the side, one at a time. */

import { at } from "./dom.js";

export class Tabs {
  /** @param {Function} chose Called with the name of the pane that is shown. */
  constructor(chose) {
    this.tabs = [...document.querySelectorAll('[role="tab"]')];
    this.chose = chose;
    this.tabs.forEach((tab, index) => {
      tab.addEventListener("click", () => this.show(index));
      tab.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!by) return;
        event.preventDefault();
        const there = this.tabs.filter(({ hidden }) => !hidden);
        const next = there.at((there.indexOf(tab) + by) % there.length);
        this.show(this.tabs.indexOf(next));
        next.focus();
      });
    });
    this.show(0);
  }

  /** Offer one, or hide it: the first one is shown then in its place. */
  offer(name, isThere) {
    const index = this.tabs.findIndex(({ id }) => id === `tab-${name}`);
    this.tabs[index].hidden = !isThere;
    if (!isThere && this.name === name) this.show(0);
  }

  /** Show one by its number. */
  show(number) {
    this.tabs.forEach((tab, index) => {
      const isShown = index === number;
      tab.setAttribute("aria-selected", isShown);
      tab.tabIndex = isShown ? 0 : -1;
      at(tab.getAttribute("aria-controls")).hidden = !isShown;
    });
    this.name = this.tabs[number].id.replace("tab-", "");
    this.chose(this.name);
  }
}
