/** The server's routes. The key lives in this tab's session storage and nowhere else. */

const STORED = "loom.key";

export const session = {
  get key() {
    return sessionStorage.getItem(STORED) ?? "";
  },
  set key(value) {
    if (value) sessionStorage.setItem(STORED, value);
    else sessionStorage.removeItem(STORED);
  },
};

/** An answer that refuses. */
export class ApiError extends Error {
  constructor(status, type, message) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

/** Call a route and return the response; refusals are errors with the server's words. */
export async function call(method, path, { body, raw, signal } = {}) {
  const headers = {};
  if (session.key) headers.Authorization = `Bearer ${session.key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? raw : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, headers, body: sent, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "NetworkError", "the server cannot be reached; it may be starting again");
  }
  if (response.ok) return response;
  const told = (await response.json().catch(() => ({}))).error ?? {};
  if (response.status === 401) dispatchEvent(new CustomEvent("locked"));
  throw new ApiError(response.status, told.type ?? "", told.message ?? `status ${response.status}`);
}

export const get = async (path, options) => (await call("GET", path, options)).json();
export const post = async (path, body = {}) => (await call("POST", path, { body })).json();

/** The routes of one conversation. */
export const place = (id, rest = "") => `/api/conversations/${encodeURIComponent(id)}${rest}`;

/** A path of the workspace as part of an address. */
export const filePlace = (id, path) =>
  place(id, `/files/${path.split("/").map(encodeURIComponent).join("/")}`);

/** Open a socket; the key goes as a subprotocol, since a browser sets no headers. */
export function open(path) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  return new WebSocket(address, session.key ? ["loom", `key.${encoded(session.key)}`] : ["loom"]);
}

function encoded(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Save what a route answers as a file of the user. */
export async function download(path, name) {
  const address = URL.createObjectURL(await (await call("GET", path)).blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
