/** Elements without markup: whatever is not an element becomes a text node. */

/**
 * Build an element.
 * @param {string} tag
 * @param {Object} attributes Functions are listeners (`onclick`), `true` is an empty attribute,
 *   `false`, `null` and `undefined` are left out.
 * @param {...(Node|string|number|null)} children
 */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Find an element of the page by its id. */
export const at = (id) => document.getElementById(id);

/** Call a function once things have been quiet, but at the latest every `most` milliseconds. */
export function settled(work, quiet, most = quiet * 5) {
  let timer = 0;
  let since = 0;
  return () => {
    const now = performance.now();
    since ||= now;
    clearTimeout(timer);
    timer = setTimeout(() => {
      since = 0;
      work();
    }, Math.max(0, Math.min(quiet, since + most - now)));
  };
}

/** Show what went wrong or was done, for a while. */
export function toast(text, kind = "error") {
  const shown = h("div", { class: `toast ${kind}` }, text);
  shown.append(h("button", { type: "button", onclick: () => shown.remove() }, "Dismiss"));
  // What lies behind an open dialog can neither be read nor pressed.
  const place = document.querySelector("dialog[open] form") ?? at("toasts");
  place.append(shown);
  while (at("toasts").childElementCount > 5) at("toasts").firstElementChild.remove();
  setTimeout(() => shown.remove(), kind === "good" ? 5_000 : 20_000);
}

/** Run something that may fail; its failure is shown. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message);
    return undefined;
  }
}

/** Say something to screen readers. */
export function say(text) {
  at("said").textContent = text;
}
