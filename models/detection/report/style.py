"""Colours that the pages of this room share."""

from __future__ import annotations

from html import escape

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


def badge(outcome: str) -> str:
    """Return an outcome on its colour."""
    return f"<span class='badge' style='background:{OUTCOMES[outcome]}'>{escape(outcome)}</span>"


def short(text: str, longest: int) -> str:
    """Return the beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}…"
