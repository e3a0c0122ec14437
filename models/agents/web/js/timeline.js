/** The slider over all events: look back, go back, or go on elsewhere. */

import { place, post } from "./api.js";
import { at, attempt, settled, toast } from "./dom.js";
import { nameOf } from "./log.js";
import { clock, visible } from "./text.js";

export class Timeline {
  /** @param {Object} hears `reveal(seq)`, `forked(id)`, `changed()`. */
  constructor(hears) {
    this.log = null;
    this.id = null;
    const reveal = settled(() => hears.reveal(this.seq), 40);
    at("moment").addEventListener("input", () => {
      this.#name();
      reveal();
    });
    at("rewind").addEventListener("click", () =>
      attempt(async () => {
        await post(place(this.id, "/rewind"), { seq: this.seq });
        toast(`It goes on from event ${this.seq}; press Run or say something.`, "good");
        hears.changed();
      }),
    );
    at("fork").addEventListener("click", () =>
      attempt(async () => hears.forked((await post(place(this.id, "/fork"), { at: this.seq })).id)),
    );
  }

  get seq() {
    return Number(at("moment").value);
  }

  /** Show a conversation's events; the slider stays at the end if it was there. */
  show(id, log) {
    const isSame = this.id === id;
    this.id = id;
    this.log = log;
    const slider = at("moment");
    const wasAtEnd = !isSame || slider.value === slider.max;
    slider.max = Math.max(1, log?.seq ?? 0);
    if (wasAtEnd) slider.value = slider.max;
    this.#name();
  }

  /** Point at an event. */
  point(seq) {
    at("moment").value = seq;
    this.#name();
  }

  /** Go some events on or back. */
  step(by) {
    at("moment").value = this.seq + by;
    at("moment").dispatchEvent(new Event("input"));
  }

  #name() {
    const event = this.log?.events[this.seq - 1];
    const text = event ? `${this.seq} of ${this.log.seq} · ${clock(event.ts)} · ${nameOf(event)}` : "";
    at("moment-name").textContent = visible(text);
    at("moment").setAttribute("aria-valuetext", visible(text));
    for (const name of ["rewind", "fork"]) at(name).disabled = !event;
  }
}
