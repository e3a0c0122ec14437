"""A page as text: headings, words, and numbered elements that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Frame, Page

MOST_CHARACTERS = 12_000
"""Of one part of a page."""
_MOST_FRAMES = 10

_WALK = r"""
first => {
  const usable = `a[href],button,input:not([type=hidden]),select,textarea,summary,[onclick],
    [role=button],[role=link],[role=checkbox],[role=radio],[role=tab],[role=menuitem],
    [role=option],[role=switch],[role=combobox],[contenteditable=""],[contenteditable=true]`;
  const silent = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "HEAD", "SVG", "IFRAME"]);
  const elements = [], lines = [];
  let line = "", size = 0;
  const plain = text => (text || "").replace(/\s+/g, " ").trim();
  const short = (text, most = 150) => {
    text = plain(text);
    return text.length > most ? text.slice(0, most) + "..." : text;
  };
  const end = () => {
    const text = plain(line);
    if (text) { lines.push(text); size += text.length; }
    line = "";
  };
  const named = node => short(node.getAttribute("aria-label")
    || (node.labels && node.labels.length && node.labels[0].innerText)
    || (node.matches("input[type=submit],input[type=button]") && node.value)
    || (node.matches("input,select,textarea") ? "" : node.innerText)
    || node.placeholder || node.alt || node.title
    || (node.querySelector("img[alt]") || {}).alt || node.name || "");
  const told = node => {
    const tag = node.tagName.toLowerCase(), type = node.type || "";
    const name = JSON.stringify(named(node));
    const off = node.disabled ? ", disabled" : "";
    if (tag === "a") return `link ${name} -> ${short(node.getAttribute("href"), 200)}`;
    if (tag === "select") {
      const all = [...node.options].slice(0, 30).map(o => short(o.label, 60)).join(" | ");
      const now = node.selectedOptions.length ? short(node.selectedOptions[0].label, 60) : "";
      return `choice ${name} = ${JSON.stringify(now)} of ${all}${off}`;
    }
    if (type === "checkbox" || type === "radio")
      return `${type} ${name} ${node.checked ? "on" : "off"}${off}`;
    if (tag === "textarea" || (tag === "input" && !/^(submit|button|image|reset)$/.test(type))) {
      const value = type === "password" ? (node.value ? "(hidden)" : "") : short(node.value);
      return `field ${name} (${type || "text"}) = ${JSON.stringify(value)}${off}`;
    }
    return `${node.getAttribute("role") || (tag === "input" ? "button" : tag)} ${name}${off}`;
  };
  const walk = (node, depth) => {
    if (size > 400000 || elements.length >= 2000 || depth > 400) return;
    if (node.nodeType === 3) { line += node.data; return; }
    if (node.nodeType !== 1 || silent.has(node.tagName.toUpperCase())) return;
    const style = getComputedStyle(node);
    if (style.display === "none") return;
    const isSeen = style.display === "contents"
      || node.checkVisibility({visibilityProperty: true, opacityProperty: true});
    if (isSeen && node.matches(usable)) {
      elements.push(node);
      line += ` [${first + elements.length - 1} ${told(node)}] `;
      if (!/^(SUMMARY|DIV|SECTION|LI|TR|TD)$/.test(node.tagName)) return;
    }
    const isBlock = !/^(inline|contents)/.test(style.display);
    if (isBlock) end();
    const level = /^H([1-6])$/.exec(node.tagName);
    if (level) line += "#".repeat(Number(level[1])) + " ";
    if (node.tagName === "LI") line += "- ";
    if (isSeen && node.tagName === "IMG" && node.alt) line += ` (image: ${short(node.alt)}) `;
    const slotted = node.tagName === "SLOT" ? node.assignedNodes() : [];
    const below = slotted.length ? slotted : (node.shadowRoot || node).childNodes;
    for (const child of below) if (isSeen || child.nodeType === 1) walk(child, depth + 1);
    if (/^T[DH]$/.test(node.tagName)) line += " | ";
    else if (isBlock) end();
  };
  if (document.body) walk(document.body, 0);
  end();
  return {lines, elements};
}
"""


class Snapshot:
    """What a page shows, and its elements by number."""

    def __init__(self, lines: list[str], elements: list[ElementHandle]) -> None:
        self.elements = elements
        """The first has the number 1."""
        self._parts = _parts(lines)

    @classmethod
    async def of(cls, page: Page) -> Snapshot:
        """Look at a page with its frames."""
        lines: list[str] = []
        elements: list[ElementHandle] = []
        for frame in page.frames[:_MOST_FRAMES]:
            if frame is not page.main_frame and frame.url in ("", "about:blank"):
                continue
            seen, found = await _look(frame, len(elements) + 1)
            if frame is not page.main_frame and seen:
                lines.append(f"--- frame {frame.url[:200]}")
            lines += seen
            elements += found
        return cls(lines, elements)

    def part(self, number: int) -> str:
        """Return a part of the text, from 1, with a note where there are more."""
        number = max(1, min(number, len(self._parts)))
        text = self._parts[number - 1]
        if len(self._parts) > 1:
            text += f"\n[part {number} of {len(self._parts)}; browser_view(part=N) shows others]"
        return text


async def _look(frame: Frame, first: int) -> tuple[list[str], list[ElementHandle]]:
    handle = await frame.evaluate_handle(_WALK, first)
    lines: list[str] = await (await handle.get_property("lines")).json_value()
    found = await (await handle.get_property("elements")).get_properties()
    known: dict[str, Any] = dict(found)
    elements = [known[str(at)].as_element() for at in range(len(known)) if str(at) in known]
    return lines, [element for element in elements if element is not None]


def _parts(lines: list[str]) -> list[str]:
    """Cut a text between lines, and lines that are longer than a part."""
    parts: list[str] = [""]
    for line in lines:
        for start in range(0, max(1, len(line)), MOST_CHARACTERS):
            piece = line[start : start + MOST_CHARACTERS]
            if parts[-1] and len(parts[-1]) + len(piece) + 1 > MOST_CHARACTERS:
                parts.append("")
            parts[-1] += ("\n" if parts[-1] else "") + piece
    return parts
