/** Follows one conversation: every event once and in order, whatever the line does. */

import { get, open, place } from "./api.js";

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 10_000;
const SILENCE_MS = 60_000;
const LOCKED = 4001;
const GONE = 4004;
const REFUSED = 4400;

export class Follower {
  /**
   * @param {string} id The conversation.
   * @param {Object} hears `frame(frame)`: an event or a message; `state(name, detail)`: connecting,
   *   live, waiting (to try again), gone or refused.
   */
  constructor(id, hears) {
    this.id = id;
    this.hears = hears;
    this.seq = 0;
    this.wait = FIRST_WAIT_MS;
    this.isEnded = false;
    this.again = () => this.#connect();
    addEventListener("online", this.again);
    this.#connect();
  }

  end() {
    this.isEnded = true;
    removeEventListener("online", this.again);
    clearTimeout(this.timer);
    clearTimeout(this.watch);
    this.socket?.close();
  }

  #connect() {
    clearTimeout(this.timer);
    if (this.isEnded || (this.socket && this.socket.readyState <= WebSocket.OPEN)) return;
    this.hears.state("connecting");
    const rest = `${encodeURIComponent(this.id)}?after=${this.seq}&deltas=true`;
    const socket = open(`/ws/conversations/${rest}`);
    this.socket = socket;
    socket.onmessage = (message) => this.#take(socket, JSON.parse(message.data));
    socket.onclose = (closed) => socket === this.socket && this.#closed(closed);
    this.#listen(socket);
  }

  #listen(socket) {
    clearTimeout(this.watch);
    // The server sends a sign of life every 15 s; a dead line tells nobody that it is dead.
    this.watch = setTimeout(() => {
      if (socket !== this.socket) return;
      this.socket = null;
      socket.close();
      this.#closed({ code: 1006, reason: "" });
    }, SILENCE_MS);
  }

  #take(socket, frame) {
    if (socket !== this.socket || this.isEnded) return;
    this.#listen(socket);
    if (frame.kind) {
      if (frame.seq <= this.seq) return;
      this.seq = frame.seq;
    } else if (frame.type === "status") {
      this.wait = FIRST_WAIT_MS;
      this.hears.state("live");
    }
    this.hears.frame(frame);
  }

  async #closed({ code, reason }) {
    clearTimeout(this.watch);
    if (this.isEnded) return;
    if (code === LOCKED) {
      this.hears.state("refused", reason);
      dispatchEvent(new CustomEvent("locked"));
      return;
    }
    if (code === REFUSED) {
      this.hears.state("refused", reason);
      return;
    }
    // A server that stops closes its conversations in the same way.
    if (code === GONE && (await this.#isGone())) {
      this.hears.state("gone");
      return;
    }
    if (this.isEnded) return;
    this.hears.state("waiting", this.wait);
    this.timer = setTimeout(this.again, this.wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  async #isGone() {
    try {
      await get(place(this.id));
      return false;
    } catch (error) {
      return error.status === 404;
    }
  }
}
