"""The frame that pages without scripts share: no network, nothing that runs."""

from __future__ import annotations

from html import escape
from string import Template

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


def tile(value: str, name: str, beside: str = "") -> str:
    """Return a figure with its name."""
    return (
        f"<div class='tile'><b>{escape(value)}</b>{escape(name)}"
        f"{f'<br><small>{escape(beside)}</small>' if beside else ''}</div>"
    )
