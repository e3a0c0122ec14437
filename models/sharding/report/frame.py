"""The frame of the pages of calibrations and sweeps: a title, sections, charts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from models.sharding.report.style import charts_script


def framed(title: str, lead: str, body: str, figures: Mapping[str, Any]) -> str:
    """Return one HTML document that needs no network and runs no script but its own.

    Args:
        title: Plain text.
        lead: A sentence under the title, plain text.
        body: HTML of the sections.
        figures: Plotly figures by the name of their place in the body.
    """
    nonce = hashlib.sha256(body.encode()).hexdigest()[:32]
    return _PAGE.substitute(
        nonce=nonce,
        title=escape(title),
        lead=escape(lead),
        body=body,
        charts=charts_script(figures, nonce),
    )


_PAGE = Template(
    """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'nonce-$nonce'">
<title>$title</title><style>
body { font: 15px/1.5 Inter, system-ui, sans-serif; color: #1f2933; background: #f5f7fa;
  max-width: 80rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 0 0 .5rem }
section { background: #fff; border: 1px solid #e4e7eb; border-radius: 8px; padding: 1rem;
  margin: 1rem 0; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e4e7eb;
  vertical-align: top }
th { color: #52606d; font-weight: 600 } p { color: #52606d; margin: .25rem 0 }
tr.best td:first-child { border-left: 3px solid #0072b2 }
</style></head><body><h1>$title</h1><p>$lead</p>
$body $charts</body></html>
"""
)
