/** The middle of the page: the events of one conversation, and what is happening just now. */

import { at, h, say } from "./dom.js";
import { EventLog } from "./log.js";
import { renderItem } from "./render.js";
import { Follower } from "./socket.js";
import { partsOf, visible } from "./text.js";
import { VirtualList } from "./virtual.js";

const MOST_LIVE = 20_000;

export class Stream {
  /**
   * @param {Object} hears `status(frame)`, `events(log)` after some were added, `chose(seq)`,
   *   `gone()`.
   */
  constructor(hears) {
    this.hears = hears;
    this.view = { unfolded: new Map(), progress: new Map(), chose: (seq) => hears.chose(seq) };
    this.list = new VirtualList(at("stream"), {
      render: (item) => renderItem(item, this.view),
      estimate: 90,
      sticks: true,
      onPaint: () => {
        this.isPainted = true;
      },
    });
    this.live = h("div", { class: "item live", hidden: true, "aria-hidden": "true" });
    this.liveText = document.createTextNode("");
    this.live.append(h("div", { class: "head" }, h("b", {}, "Agent, writing")), h("pre", {}, this.liveText));
    at("stream").append(this.live);
    this.log = new EventLog();
  }

  /** Follow a conversation; null: none. */
  follow(id) {
    this.follower?.end();
    this.follower = null;
    this.log = new EventLog();
    this.isCaughtUp = false;
    this.view.unfolded.clear();
    this.view.progress.clear();
    this.view.chosen = null;
    this.list.clear();
    this.#silence();
    if (id === null) return;
    this.follower = new Follower(id, {
      frame: (frame) => this.#take(frame),
      state: (name, detail) => this.#wire(name, detail),
    });
  }

  /** Bring an event in sight. */
  reveal(seq) {
    // A result is shown with its call, which may lie far before it.
    const call = this.log.calls.get(this.log.events[seq - 1]?.body.call_id);
    const index = this.log.indexOf(call?.key ?? seq);
    const item = this.log.items[index];
    if (!item) return;
    const before = this.log.items.find(({ key }) => key === this.view.chosen);
    this.view.chosen = item.key;
    for (const changed of [before, item]) if (changed) changed.version += 1;
    this.list.reveal(index);
  }

  #take(frame) {
    if (frame.kind) {
      this.log.add(frame);
      if (frame.kind === "answer") this.#silence();
      if (frame.kind === "result") this.view.progress.delete(frame.body.call_id);
      if (this.isCaughtUp) this.#speak(frame);
      this.#changed();
    } else if (frame.type === "status") {
      this.isCaughtUp = true;
      if (!frame.running) this.#silence();
      this.hears.status(frame);
      this.#changed();
    } else if (frame.type === "delta") {
      this.#delta(frame);
    }
  }

  #changed() {
    if (this.isAsked) return;
    this.isAsked = true;
    // Not per event: ten thousand come at once when a long conversation is opened.
    setTimeout(() => {
      this.isAsked = false;
      this.list.show(this.log.items);
      this.hears.events(this.log);
    }, 30);
  }

  #delta({ text = "", call_id: callId = "" }) {
    if (callId) {
      const said = (this.view.progress.get(callId) ?? "") + text;
      this.view.progress.set(callId, said.slice(-MOST_LIVE));
      const item = this.log.calls.get(callId);
      if (item) item.version += 1;
      this.#changed();
      return;
    }
    this.live.hidden = false;
    this.liveText.appendData(visible(text, true));
    if (this.liveText.length > MOST_LIVE) this.liveText.deleteData(0, this.liveText.length - MOST_LIVE);
    this.list.ask();
  }

  #silence() {
    this.liveText.data = "";
    this.live.hidden = true;
  }

  #speak({ kind, body }) {
    if (kind === "answer") say(`Agent: ${partsOf(body.message).slice(0, 300)}`);
    else if (kind === "intent" && body.waits) say(`${body.name} waits for an approval`);
    else if (kind === "failure") say(`Failure: ${body.message}`);
    else if (kind === "status" && body.phase !== "running") say(`Now ${body.phase ?? "idle"}`);
  }

  #wire(name, detail) {
    const words = {
      connecting: "connecting…",
      live: "live",
      waiting: "no connection, trying again…",
      gone: "deleted",
      refused: `refused: ${detail ?? ""}`,
    };
    at("wire").textContent = words[name];
    at("wire").className = `wire ${name}`;
    if (name === "gone") this.hears.gone();
  }
}
