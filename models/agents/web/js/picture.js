/** The agent's browser as it is seen: pictures on a canvas, which nothing is typed into. */

import { open } from "./api.js";
import { at } from "./dom.js";
import { visible } from "./text.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const LOCKED = 4001;
const ENDED = [1000, 4004, 4400];

export class Picture {
  constructor() {
    this.wait = FIRST_WAIT_MS;
  }

  /** Be ready for another conversation. */
  show(id) {
    this.#close();
    this.id = id;
    this.#blank("");
  }

  /** Look at it, or look away: who looks away makes the browser draw nothing. */
  look(isLooking) {
    if (isLooking && this.id && !this.socket) this.#connect();
    if (!isLooking) this.#close();
  }

  #connect() {
    clearTimeout(this.timer);
    at("picture-state").textContent = "connecting…";
    const socket = open(`/ws/browsers/${encodeURIComponent(this.id)}`);
    socket.binaryType = "blob";
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      this.wait = FIRST_WAIT_MS;
      if (typeof data === "string") this.#told(JSON.parse(data));
      else this.#draw(socket, data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.socket) return;
      if (code === LOCKED || ENDED.includes(code)) {
        at("picture-state").textContent = `closed: ${reason}`;
        return;
      }
      at("picture-state").textContent = "no connection, trying again…";
      this.timer = setTimeout(() => this.#connect(), this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    };
  }

  #told({ type, address, why }) {
    if (type === "page") {
      at("picture-address").textContent = visible(address, true);
      at("picture-state").textContent = "live, to look at only";
    } else if (type === "none") {
      this.#blank(why);
    }
  }

  async #draw(socket, jpeg) {
    // What comes while one is unpacked replaces what came before it.
    this.latest = jpeg;
    if (this.isDrawing) return;
    this.isDrawing = true;
    while (this.latest) {
      const next = this.latest;
      this.latest = null;
      const image = await createImageBitmap(next).catch(() => null);
      if (image && socket === this.socket) {
        const canvas = at("picture");
        if (canvas.width !== image.width) canvas.width = image.width;
        if (canvas.height !== image.height) canvas.height = image.height;
        canvas.getContext("2d").drawImage(image, 0, 0);
        canvas.hidden = false;
      }
      image?.close();
    }
    this.isDrawing = false;
  }

  #blank(why) {
    at("picture").hidden = true;
    at("picture-address").textContent = "";
    at("picture-state").textContent = why;
  }

  #close() {
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = null;
    socket?.close();
  }
}
