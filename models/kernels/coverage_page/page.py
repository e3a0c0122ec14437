"""One HTML file that needs no network: figures, map, table, and a part per operator on demand."""

from __future__ import annotations

import base64
import difflib
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.chart_style import BAND, BLUE, GREEN, MUTED, ORANGE, RED, SKY
from models.kernels.coverage_page.charts import curve, tree_map
from models.kernels.coverage_page.figures import (
    against_proposals,
    by_rule,
    hand_written,
    headline,
    heat_map,
)
from models.kernels.coverage_page.model import (
    STATUSES,
    AttemptView,
    CoverageView,
    OperatorView,
)

_WEB = Path(__file__).parent / "web"
_CONTEXT_LINES = 3
STATUS_COLOURS = {"kernel": GREEN, "metadata": SKY, "vacuous": BAND, "unproven": ORANGE,
                  "failed": RED, "missing": MUTED}  # fmt: skip
STATUS_WORDS = {
    "kernel": "kernel-backed",
    "metadata": "metadata only",
    "vacuous": "vacuous",
    "unproven": "unproven",
    "failed": "failed",
    "missing": "not run",
}


def render_page(view: CoverageView) -> str:
    """Return the page as one HTML document.

    Sources, sessions and failures are packed one by one: a browser unpacks those of the operator
    that is opened.
    """
    environment = Environment(
        loader=FileSystemLoader(_WEB), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    paper, every = headline(view)
    sets = {
        "paper-like set": [one for one in view.operators if one.exclusion is None],
        "all operators": list(view.operators),
    }
    lines = [(name, len(found), against_proposals(found)) for name, found in sets.items()]
    packed = [packed_detail(one, view) for one in view.operators]
    rows = _script_json(table_rows(view))
    return environment.get_template("page.html.j2").render(
        view=view,
        sets=(paper, every),
        statuses=STATUSES,
        words=STATUS_WORDS,
        colours=STATUS_COLOURS,
        line_colours=(BLUE, ORANGE),
        rules=by_rule(view.operators),
        hand_written=hand_written(view.operators),
        families=sorted({one.family for one in view.operators}),
        map=Markup(tree_map(view.operators)),
        curve=Markup(curve(lines)),
        rows=Markup(rows),
        packed=packed,
        style=Markup((_WEB / "page.css").read_text(encoding="utf-8")),
        script=Markup((_WEB / "page.js").read_text(encoding="utf-8")),
        nonce=hashlib.sha256(rows.encode()).hexdigest()[:32],
    )


def table_rows(view: CoverageView) -> dict[str, Any]:
    """Return what the table is built of: short lists, for there are hundreds of operators."""
    return {
        "dtypes": list(view.dtypes),
        "targets": list(view.targets),
        "words": STATUS_WORDS,
        "rows": [
            {
                "op": one.op_id,
                "family": one.family,
                "paper": one.exclusion is None,
                "status": one.status,
                "passed": one.passed,
                "total": one.total,
                "tests": [list(one.tests.get(name, (0, 0))) for name in view.dtypes],
                # One letter per target: compiled, refused, or not tried.
                "built": [_letters(one, name, view.targets) for name in view.dtypes],
                "rules": list(one.rules),
                "hand": one.is_hand_written,
                "calls": one.calls,
            }
            for one in view.operators
        ],
    }


def _letters(one: OperatorView, dtype: str, targets: Sequence[str]) -> str:
    found = one.compiled.get(dtype, {})
    return "".join({True: "y", False: "n", None: "-"}[found.get(name)] for name in targets)


def packed_detail(one: OperatorView, view: CoverageView) -> str:
    """Return all that is shown of an opened operator: JSON, gzip, base64."""
    detail = {
        "facts": _facts(one),
        "matrix": {name: one.compiled.get(name, {}) for name in view.dtypes},
        "events": [event.model_dump() for event in one.events],
        "attempts": _attempts(one.attempts),
        "source": one.attempts[-1].source if one.attempts else None,
        "failure": None if one.failure is None else one.failure.model_dump(),
        "heat": None if one.failure is None else heat_map(one.failure.machine),
    }
    # A lone surrogate of a hostile source has an escape in JSON and none in UTF-8.
    raw = json.dumps(detail, ensure_ascii=True, separators=(",", ":"), default=str).encode()
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()


def _facts(one: OperatorView) -> dict[str, str]:
    last = one.attempts[-1] if one.attempts else None
    facts = {
        "why": one.reason,
        "signature": one.signature,
        "source": last.sha if last else "",
        "written by": one.proposer or (last.proposer if last else ""),
        "rules": ", ".join(one.rules) + (" (hand-written)" if one.is_hand_written else ""),
        "choices": last.policy if last else "",
        "calls": "" if one.calls is None else str(one.calls),
        "CPU": "" if one.cpu_s is None else f"{one.cpu_s:.2f} s",
        "left out of the paper-like set": one.exclusion or "",
        "evidence": ", ".join(one.evidence),
    }
    return {name: said.strip() for name, said in facts.items() if said.strip()}


def _attempts(attempts: Sequence[AttemptView]) -> list[dict[str, Any]]:
    """Return attempts with what each changed; the text itself is there once, as the last source."""
    shown, before = [], ""
    for number, one in enumerate(attempts):
        lines = difflib.unified_diff(
            before.splitlines(), one.source.splitlines(), lineterm="", n=_CONTEXT_LINES
        )
        values = one.model_dump(exclude={"source"})
        shown.append({**values, "diff": list(lines)[2:] if number else []})
        before = one.source
    return shown


def _script_json(value: Any) -> str:
    """Return JSON that can stand in a script: `<` could end it."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
