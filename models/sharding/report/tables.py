"""Tables of the page; they need no script, and every text from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from models.sharding.report.style import rank_colour

if TYPE_CHECKING:
    from models.sharding.diagnosis import Diagnosis
    from models.sharding.knowledge.index import Item

GB = 1e9
_CITED = re.compile(r"\[([^\[\]]+)\]")


def proposals_table(numbers: Mapping[str, Any]) -> str:
    """Return the answer: layouts with time, MFU, memory against capacity, why, risks, checks."""
    rows = []
    for one in numbers["proposals"]:
        step, memory = one["step_s"], one["memory_bytes"]
        rate = one["tokens_per_s"]
        speed = f"<br><small>{rate:,.0f} tokens/s/chip</small>" if rate else ""
        if one["ttft_s"] is not None:
            first, then = seconds(one["ttft_s"]), seconds(one["tpot_s"])
            speed = f"<br><small>first token {first}<br>each further {then}</small>"
        rows.append(
            f"<tr><td><b style='color:{rank_colour(one['rank'])}'>{one['rank']}</b></td>"
            f"<td class='word'><code>{escape(one['layout'])}</code></td>"
            f"<td><b>{seconds(step['middle'])}</b><br><small>{seconds(step['low'])} to "
            f"{seconds(step['high'])}</small>{speed}</td>"
            f"<td>{one['mfu']:.1%}</td>"
            f"<td class='word'>{memory_bar(memory, numbers['capacity_bytes'])}</td>"
            f"<td class='text'>{_list(one['risks']) or 'none known'}</td>"
            f"<td class='text'>{_check(one['check'])}</td></tr>"
            f"<tr class='why'><td></td><td class='text' colspan='6'>"
            f"{_reasons(one['justification'])}</td></tr>"
        )
    return (
        "<div class='wide'><table><tr><th></th><th class='word'>layout</th>"
        f"<th>predicted {whole(numbers)}<br>(P10 to P90)</th><th>MFU</th>"
        "<th class='word'>memory of a chip (P10 to P90)</th>"
        "<th class='word'>risks</th><th class='word'>checked</th></tr>"
        f"{''.join(rows)}</table></div>"
    )


def _reasons(sentences: Sequence[str]) -> str:
    """Return why a proposal stands here; ids of evidence and of texts stand small."""
    said = [_CITED.sub(r"<small>[\1]</small>", escape(one)) for one in sentences]
    return f"<ul>{''.join(f'<li>{one}</li>' for one in said)}</ul>" if said else ""


def memory_bar(memory: Mapping[str, float], capacity_bytes: float) -> str:
    """Return a bar of the middle, a line from P10 to P90 and a mark at the capacity."""
    full = 1.05 * max(memory["high"], capacity_bytes)
    low, middle, high, cap = (
        100 * value / full
        for value in (memory["low"], memory["middle"], memory["high"], capacity_bytes)
    )
    colour = "#d55e00" if memory["high"] > capacity_bytes else "#0072b2"
    return (
        f"{memory['middle'] / GB:.3g} GB <small>({memory['low'] / GB:.3g} to "
        f"{memory['high'] / GB:.3g}) of {capacity_bytes / GB:.3g}</small>"
        f"<div class='bar'><i style='width:{middle:.1f}%;background:{colour}'></i>"
        f"<u style='left:{low:.1f}%;width:{high - low:.1f}%'></u>"
        f"<s style='left:{cap:.1f}%'></s></div>"
    )


def terms_table(proposals: Sequence[Mapping[str, Any]]) -> str:
    """Return the seconds of a step by term."""
    names = [n for n in proposals[0]["terms_s"] if any(p["terms_s"][n] > 0 for p in proposals)]
    head = "".join(f"<th>{one['rank']}</th>" for one in proposals)
    rows = [
        f"<tr><td class='word'>{escape(name.replace('_', ' '))}</td>"
        + "".join(f"<td>{one['terms_s'][name]:.4g}</td>" for one in proposals)
        + "</tr>"
        for name in names
    ]
    total = "".join(f"<td><b>{sum(one['terms_s'].values()):.4g}</b></td>" for one in proposals)
    return (
        f"<table><tr><th class='word'>seconds</th>{head}</tr>{''.join(rows)}"
        f"<tr><td class='word'><b>step</b></td>{total}</tr></table>"
    )


def memory_table(proposals: Sequence[Mapping[str, Any]]) -> str:
    """Return GB by what holds them."""
    names = [
        name
        for name in proposals[0]["memory_parts"]
        if any(one["memory_parts"][name] > 0 for one in proposals)
    ]
    head = "".join(f"<th>{one['rank']}</th>" for one in proposals)
    rows = [
        f"<tr><td class='word'>{escape(name)}</td>"
        + "".join(f"<td>{one['memory_parts'][name] / GB:.3g}</td>" for one in proposals)
        + "</tr>"
        for name in names
    ]
    total = "".join(
        f"<td><b>{one['memory_bytes']['middle'] / GB:.4g}</b></td>" for one in proposals
    )
    return (
        f"<table><tr><th class='word'>GB</th>{head}</tr>{''.join(rows)}"
        f"<tr><td class='word'><b>all</b></td>{total}</tr></table>"
    )


def diagnosis_words(diagnosis: Diagnosis) -> str:
    """Return the sentences with their evidence as footnotes, and the evidence."""
    said = "".join(f"<li>{cited(text, diagnosis.evidence)}</li>" for text in diagnosis.sentences)
    doubts = _list(diagnosis.warnings)
    rows = "".join(
        f"<tr id='{_anchor(name)}'><td class='word'><code>{escape(name)}</code></td>"
        f"<td>{one.value:,.6g}</td><td class='word'>{escape(one.unit)}</td>"
        f"<td class='word'>{escape(one.source)}</td><td class='word'>{escape(one.trust)}</td></tr>"
        for name, one in diagnosis.evidence.items()
    )
    table = (
        "<details><summary>Evidence</summary><div class='wide'><table><tr><th class='word'>id</th>"
        "<th>value</th><th class='word'>unit</th><th class='word'>from</th>"
        f"<th class='word'>trust</th></tr>{rows}</table></div></details>"
    )
    return f"<ol>{said}</ol>{f'<p>In doubt:</p>{doubts}' if doubts else ''}{table}"


def cited(text: str, evidence: Mapping[str, Any]) -> str:
    """Return a sentence whose ids in brackets lead to their evidence; unknown ones stay text."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        if name not in evidence:
            return escape(found[0])
        return f"<sup><a href='#{_anchor(name)}'>{escape(name)}</a></sup>"

    parts, end = [], 0
    for found in _CITED.finditer(text):
        parts += [escape(text[end : found.start()]), link(found)]
        end = found.end()
    return "".join([*parts, escape(text[end:])])


def counterfactuals_table(counterfactuals: Sequence[Mapping[str, Any]]) -> str:
    """Return what the step would take without each limit."""
    rows = "".join(
        f"<tr><td class='word'>{escape(one['kind'])}</td><td>{one['step_s']:.4g}</td>"
        f"<td>{one['saved_s']:.4g}</td><td>{one['share']:.1%}</td></tr>"
        for one in counterfactuals
    )
    return (
        "<table><tr><th class='word'>without</th><th>step, s</th><th>saved, s</th><th>share</th>"
        f"</tr>{rows}</table>"
    )


def knowledge_list(items: Sequence[Item]) -> str:
    """Return retrieved texts with their sources."""
    return "".join(
        f"<details><summary><code>{escape(one.id)}</code> {escape(one.title)}</summary>"
        f"<p>{escape(one.text)}</p><p class='muted'>{escape(one.source)}</p></details>"
        for one in items
    )


def rejected_table(numbers: Mapping[str, Any]) -> str:
    """Return how many layouts fell out, by reason."""
    counted = numbers["counted"]
    rows = "".join(
        f"<tr><td class='word'>{escape(reason)}</td><td>{n:,}</td><td>{n / counted:.1%}</td></tr>"
        for reason, n in sorted(numbers["rejected"].items(), key=lambda item: -item[1])
    )
    left = counted - sum(numbers["rejected"].values())
    return (
        f"<table><tr><th class='word'>of {counted:,} legal layouts</th><th>layouts</th>"
        f"<th>share</th></tr>{rows}<tr><td class='word'><b>left to rank by time</b></td>"
        f"<td>{left:,}</td><td>{left / max(counted, 1):.1%}</td></tr></table>"
    )


def whole(numbers: Mapping[str, Any]) -> str:
    """Return what the seconds are of: a step of training, or a batch that is served."""
    return "batch" if numbers["job"]["stage"] == "serve" else "step"


def seconds(value: float) -> str:
    """Return seconds, or milliseconds below one."""
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def _anchor(name: str) -> str:
    return "evidence-" + re.sub(r"[^A-Za-z0-9.]", "-", name)


def _list(said: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in said)}</ul>" if said else ""


def _check(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return "rules and memory model only"
    answers = {True: "yes", False: "no", None: "not known"}
    said = " · ".join(f"{name}: {answers[check[name]]}" for name in ("legal", "fits", "compiled"))
    held = check["argument_bytes"]
    exact = f"<br>held between steps: {held / GB:.4g} GB (compiled)" if held is not None else ""
    return (
        f"<b class='{'good' if check['verdict'] == 'ok' else 'bad'}'>{escape(check['verdict'])}</b>"
        f" ({escape(check['level'])})<br>{said}{exact}{_list(check['reasons'])}"
        f"{_list(check['warnings'])}"
    )
