/** Dark or light: what the system prefers, until somebody chooses. */

import { at } from "./dom.js";

const STORED = "loom.theme";

/** Apply what was chosen before. */
export function startTheme() {
  const chosen = localStorage.getItem(STORED);
  if (chosen) document.documentElement.dataset.theme = chosen;
  at("theme").addEventListener("click", switchTheme);
}

/** Choose the other one. */
export function switchTheme() {
  const now = document.documentElement.dataset.theme;
  const isDark = now ? now === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const next = isDark ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem(STORED, next);
}
