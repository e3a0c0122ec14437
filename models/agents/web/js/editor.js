/** One file of the workspace as text: read, changed, written back as it was but for the changes. */

import { call, download, filePlace } from "./api.js";
import { at, attempt, toast } from "./dom.js";
import { visible } from "./text.js";

const MOST_BYTES = 1_000_000;

export class Editor {
  /** @param {Function} saved Called after a file was written. */
  constructor(saved) {
    this.saved = saved;
    const field = at("editor-text");
    at("editor-save").addEventListener("click", () => this.save());
    at("editor-close").addEventListener("click", () => this.close());
    at("editor-download").addEventListener("click", () =>
      attempt(() => download(filePlace(this.id, this.path), this.path.split("/").pop())),
    );
    field.addEventListener("input", () => this.#note(this.isChanged ? "not saved" : ""));
    field.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "s") {
        event.preventDefault();
        this.save();
      }
    });
    addEventListener("beforeunload", (event) => this.isChanged && event.preventDefault());
  }

  get isChanged() {
    return !at("editor").hidden && !at("editor-text").readOnly && at("editor-text").value !== this.field;
  }

  /** Open a file. */
  async open(id, path) {
    if (!this.mayLeave()) return;
    await attempt(async () => {
      const bytes = await read(id, path);
      const text = bytes.length > MOST_BYTES ? null : decoded(bytes);
      Object.assign(this, { id, path, text });
      at("editor").hidden = false;
      at("editor-path").textContent = visible(path);
      const field = at("editor-text");
      // A field has one kind of line end: a file that mixes them would come back changed.
      this.isDos = text !== null && text.includes("\r\n");
      const isMixed = text !== null && /\r(?!\n)/.test(text) | (this.isDos && /(^|[^\r])\n/.test(text));
      field.readOnly = text === null || Boolean(isMixed);
      field.value = text ?? "";
      this.field = field.value;
      at("editor-save").disabled = field.readOnly;
      this.#note(
        text === null
          ? "This is no text of up to 1 MB; it can be downloaded."
          : isMixed
            ? "Its lines end in different ways: it can be looked at only."
            : "",
      );
      field.focus();
    });
  }

  /** Write the file, unless somebody else did since it was opened. */
  save() {
    if (at("editor-save").disabled) return undefined;
    return attempt(async () => {
      const found = await read(this.id, this.path).then(decoded, (error) => {
        if (error.status === 404) return this.text;
        throw error;
      });
      if (found !== this.text) {
        this.text = found;
        toast(`${this.path} was changed meanwhile by somebody else; save again to replace it`);
        return;
      }
      const shown = at("editor-text").value;
      const text = this.isDos ? shown.replaceAll("\n", "\r\n") : shown;
      await call("PUT", filePlace(this.id, this.path), { raw: text });
      this.text = text;
      this.field = shown;
      this.#note("saved");
      this.saved();
    });
  }

  /** Put the file away. */
  close() {
    if (!this.mayLeave()) return;
    at("editor").hidden = true;
  }

  /** Put it away whatever is in it: another conversation is shown. */
  forget() {
    at("editor").hidden = true;
  }

  /** Whether nothing would be lost, or somebody says that it may. */
  mayLeave() {
    return !this.isChanged || confirm(`${this.path} is not saved. Leave it?`);
  }

  #note(text) {
    at("editor-note").textContent = text;
  }
}

async function read(id, path) {
  return new Uint8Array(await (await call("GET", filePlace(id, path))).arrayBuffer());
}

function decoded(bytes) {
  try {
    // The mark at the beginning is a part of the file.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}
