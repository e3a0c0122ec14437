"""Every command in README and docs is one that exists, with options and keys that exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.__main__ import app
from flows.command.run import resolve_config
from flows.registry import find_bench, find_flow, load
from models.config import load_config
from models.settings import ROOT

# Tutorials are run whole (test_tutorials.py); their scripts are more than lines.
DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name != "tutorials"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
SEPARATORS = {"|", "||", "&&", ";", ">", ">>", "<", "2>", "&"}
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command in the shell blocks of a page."""
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if word in SEPARATORS:
                    yield words
                    words = []
                elif words or not re.match(r"[A-Z_]+=", word):
                    words.append(word)
            yield words


FOUND = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}"[:150])
    for page in PAGES
    for words in commands(page)
    if words and words[0] in ("loom", "make", "python", ".venv/bin/loom", ".venv/bin/python")
]


def understood(words: list[str]) -> dict[str, Any]:
    """Parse a command without running it; returns the parameters of its last part."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    assert not hasattr(command, "commands") or not rest or rest[0].startswith("-"), words
    own = rest[: rest.index("--")] if "--" in rest else rest
    for option in [word.split("=")[0] for word in own if word.startswith("--")]:
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        assert option in known | {"--help"}, f"{option} of {' '.join(words)}"
    parser = command.make_parser(command.make_context(words[0], [], resilient_parsing=True))
    values, left, _ = parser.parse_args(rest)
    assert left == [], f"too many words: {left}"
    return dict(values)


@pytest.mark.parametrize("words", FOUND)
def test_a_command_of_the_docs_exists_with_its_options_and_keys(words: list[str]):
    program, *rest = words
    if program == "make":
        assert [word for word in rest if "=" not in word and word not in TARGETS] == []
        return
    if program.endswith("python"):
        if rest[:1] == ["-m"]:
            assert importlib.util.find_spec(rest[1]) is not None
        return
    values = understood(rest)
    sets = list(values.get("set_") or [])
    if rest[0] == "run" and values.get("flow"):
        data = values.get("data")
        resolve_config(find_flow(values["flow"]), None, sets, Path(data) if data else None)
    if rest[0] == "bench":
        room = values["room"]
        if room != "all":
            entry = find_bench(room)
            assert not sets or entry.config
            if sets:
                load_config(load(entry.config), None, sets)


def test_there_are_commands_to_look_at_and_a_wrong_one_is_seen():
    assert len(FOUND) > 60
    with pytest.raises(AssertionError, match="--polcy"):
        understood(["agent", "run", "hi", "--polcy", "never"])
    with pytest.raises(AssertionError):
        understood(["detect", "secret", "x"])
