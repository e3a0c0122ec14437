/** Programs beside the conversation: which there are, VS Code and a desktop in frames. */

import { call, get, place, post } from "./api.js";
import { at, attempt, h } from "./dom.js";
import { Picture } from "./picture.js";

const LOOK_MS = 5_000;
const RENEW_MS = 240_000;
// Of an origin of its own, so it is the same as itself and not as this page. Never: the top window.
const MAY = "allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-downloads";

export class Panes {
  /** @param {Function} offer Called with the name of a pane and whether there is one. */
  constructor(offer) {
    this.offer = offer;
    this.framed = [new Framed("ide", "VS Code"), new Framed("desktop", "Desktop")];
    this.picture = new Picture();
    at("wide").addEventListener("click", () => {
      at("wide").setAttribute("aria-pressed", at("panes").classList.toggle("wide"));
    });
  }

  /** Be ready for another conversation; `name` is the tab that is shown. */
  async show(id, name) {
    this.id = id;
    for (const one of this.framed) one.show(id);
    this.picture.show(id);
    if (!id) return;
    const found = await attempt(() => get(place(id, "/panes")));
    if (id !== this.id || !found) return;
    for (const pane of found.panes) {
      this.offer(pane.name, pane.installed);
      const framed = this.framed.find((one) => one.name === pane.name);
      if (framed && pane.state === "running") framed.tell("it runs; open it to look at it");
    }
    this.chose(name);
  }

  /** Another tab is shown. */
  chose(name) {
    this.picture.look(name === "browser");
  }
}

/** A program in a frame: opened and ended by people, watched while it is open. */
class Framed {
  constructor(name, title) {
    this.name = name;
    this.title = title;
    at(`${name}-open`).addEventListener("click", () => this.open());
    at(`${name}-close`).addEventListener("click", () => this.end());
    document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
      // This page may frame the ports that the server had when it was loaded.
      if (effectiveDirective === "frame-src" && this.frame) this.#drop("load this page again: the server has other ports now");
    });
    this.show(null);
  }

  show(id) {
    this.id = id;
    this.#drop("");
  }

  tell(text) {
    at(`${this.name}-state`).textContent = text;
    at(`${this.name}-open`).disabled = !this.id || Boolean(this.frame) || this.isStarting;
    at(`${this.name}-close`).disabled = !this.id || this.isStarting;
  }

  async open() {
    const { id } = this;
    this.isStarting = true;
    this.tell("starting…");
    let told;
    try {
      told = await post(this.#place(id));
    } catch (error) {
      if (id === this.id) this.#drop(error.message);
      return;
    }
    if (id !== this.id) return;
    this.isStarting = false;
    this.frame = h("iframe", { title: this.title, sandbox: MAY, allow: "clipboard-write", src: told.url });
    at(`${this.name}-frame`).replaceChildren(this.frame);
    this.timers = [
      setInterval(() => this.#look(), LOOK_MS),
      // The ticket is short; whoever looks on gets another.
      setInterval(() => post(this.#place(id)).catch(() => {}), RENEW_MS),
    ];
    this.tell("open");
  }

  async end() {
    const { id } = this;
    await attempt(() => call("DELETE", this.#place(id)));
    if (id === this.id) this.#drop("ended");
  }

  async #look() {
    const { id, frame } = this;
    let found;
    try {
      found = await get(place(id, "/panes"));
    } catch {
      if (frame === this.frame) this.tell("no connection, trying again…");
      return;
    }
    if (frame !== this.frame || !frame) return;
    const { state, why } = found.panes.find(({ name }) => name === this.name);
    if (state === "running") this.tell("open");
    else this.#drop(why || "it was ended; open it again");
  }

  #place(id) {
    return place(id, `/panes/${this.name}`);
  }

  #drop(text) {
    for (const timer of this.timers ?? []) clearInterval(timer);
    this.timers = [];
    this.frame?.remove();
    this.frame = null;
    this.isStarting = false;
    this.tell(text);
  }
}
