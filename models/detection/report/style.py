"""Colours and the frame that the pages of this room share."""

from __future__ import annotations

from html import escape
from string import Template

# Okabe-Ito colours: told apart with any colour vision.
OUTCOMES = {
    "executed": "#d55e00", "policy": "#cc79a7", "partial": "#e69f00", "attempted": "#0072b2",
    "undetermined": "#7b8794", "benign": "#009e73",
}  # fmt: skip
KINDS = {
    "user_message": ("user", "#0072b2"), "assistant_message": ("agent", "#1f2933"),
    "reasoning": ("thought", "#7b8794"), "tool_call": ("call", "#e69f00"),
    "tool_result": ("result", "#009e73"), "system_message": ("system", "#7b8794"),
    "summary": ("summary", "#7b8794"), "notice": ("notice", "#7b8794"),
}  # fmt: skip
"""How an event is called, and its colour."""

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.5 Inter, system-ui, sans-serif; color: #1f2933; margin: 0 auto;
  max-width: 1080px; padding: 1.5rem; background: #fff }
h1 { font-size: 1.5rem; margin: 0 0 .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem }
.muted, small { color: #616e7c } code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; max-height: 24rem;
  overflow: auto; background: #f5f7fa; padding: .5rem; border-radius: 4px }
.badge { color: #fff; border-radius: 4px; padding: .1rem .5rem; font-weight: 600 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; overflow-wrap: anywhere;
  border-bottom: 1px solid #e4e7eb }
th, td.n, th.n, .badge { white-space: nowrap; overflow-wrap: normal }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.event { border-left: 4px solid #e4e7eb; padding: .15rem .7rem; margin: .35rem 0 }
.event.named { background: #fff4e5 } summary { cursor: pointer }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem } .tile { border: 1px solid #e4e7eb;
  border-radius: 6px; padding: .6rem .9rem; min-width: 8.5rem }
.tile b { display: block; font-size: 1.4rem } .told { border-left: 4px solid #d55e00;
  padding-left: .8rem; margin: .6rem 0 } a { color: #0072b2 }
svg text { font: 13px Inter, system-ui, sans-serif; fill: #1f2933 }
</style></head><body>
$body
</body></html>
""")


def page(title: str, body: str) -> str:
    """Return a whole page; the title is text, the body HTML."""
    return _PAGE.substitute(title=escape(title), body=body)


def badge(outcome: str) -> str:
    """Return an outcome on its colour."""
    return f"<span class='badge' style='background:{OUTCOMES[outcome]}'>{escape(outcome)}</span>"


def tile(value: str, name: str, beside: str = "") -> str:
    """Return a figure with its name."""
    return (
        f"<div class='tile'><b>{escape(value)}</b>{escape(name)}"
        f"{f'<br><small>{escape(beside)}</small>' if beside else ''}</div>"
    )


def short(text: str, longest: int) -> str:
    """Return the beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}…"
