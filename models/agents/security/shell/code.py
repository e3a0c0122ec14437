"""Programs in other languages given on a command line."""

from __future__ import annotations

import re

from models.agents.security.shell.findings import Findings
from models.agents.security.shell.follow import Follower
from models.agents.security.shell.options import parsed
from models.agents.security.shell.paths import absolute, is_disk, is_vital
from models.agents.security.shell.values import GAP, NOTHING, SOMETHING, Text, joined
from models.agents.security.shell.vocabulary import languages

_TEXTS = re.compile(
    r"'''(.*?)'''|\"\"\"(.*?)\"\"\"|'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"|`([^`]*)`", re.DOTALL
)
_STARTS = re.compile(r"system|popen|subprocess|exec|spawn|shell_exec|passthru|qx|`|%x|\|\s*getline")
_DELETES = re.compile(
    r"rmtree|rmSync|rimraf|remove_tree|rm_rf|removedirs|rmdirSync|unlink|\brmdir\b"
)
_FETCHES = re.compile(
    r"urlopen|urlretrieve|requests\.(get|post)|httpx|fetch\(|Net::HTTP|LWP|open-uri|https?\.get|socket"
)
_RUNS = re.compile(
    r"\b(exec|eval|compile|Function|instance_eval|vm\.run\w*|pickle\.loads|marshal\.loads)\b\s*[(\s]"
)
_CONNECTS = re.compile(r"socket.*(dup2|pty\.spawn|/bin/(ba)?sh)|dup2.*socket", re.DOTALL)


def check_code(follower: Follower, language: str, rest: list[Text], stdin: Text) -> Text:
    """Look at what an interpreter is given, on its command line or its input."""
    option = languages()[language]
    given = parsed(rest, (*option, "m", "W", "X", "f", "F", "v", "I"), ends_at_operand=True)
    codes = given.of(*option)
    if "awk" in language and given.operands and not given.of("f"):
        codes = given.operands[:1]
    elif not codes:
        file = given.operands[0].text if given.operands else "-"
        if file in ("-", "/dev/stdin"):
            codes = [stdin] if stdin != NOTHING and not given.of("m") else []
        elif (
            content := follower.known.files.get(absolute(file, follower.known.folder))
        ) is not None:
            codes = [content]
    for code in codes:
        _look(follower, language, code)
    if "awk" not in language:
        follower.findings.add("medium", "program", f"runs {language}", follower.where)
    return SOMETHING.marked(joined([stdin, *codes]).origins)


def _look(follower: Follower, language: str, code: Text) -> None:
    alarm = follower.findings.add
    if "network" in code.origins:
        alarm("high", "download-run", "runs what was downloaded", follower.where)
    if "decoded" in code.origins:
        alarm("high", "decode-run", "runs what was decoded", follower.where)
    text = code.text
    if _FETCHES.search(text) and (_RUNS.search(text) or _STARTS.search(text)):
        alarm("high", "download-run", f"{language} code that fetches and runs", follower.where)
    if _CONNECTS.search(text):
        alarm("high", "connection", "gives another machine a shell here", follower.where)
    literals = [next(filter(None, found), "") for found in _TEXTS.findall(text)]
    deletes = _DELETES.search(text)
    for literal in literals:
        if is_disk(literal) and re.search(r"open|write", text):
            alarm("high", "disk", f"writes to the raw disk {literal}", follower.where)
        if deletes and literal and "/" in literal and is_vital(literal):
            alarm("high", "vital-delete", f"deletes {literal} with all below it", follower.where)
    if _STARTS.search(text):
        _commands(follower, literals)


def _commands(follower: Follower, literals: list[str]) -> None:
    """Follow the texts of a program that starts others as if each were a command."""
    outer, found = follower.findings, Findings()
    follower.findings = found
    where = follower.where
    for literal in (*literals, " ".join(literals)):
        if len(literal) > 2 and GAP not in literal:
            follower.program(literal)
    follower.findings, follower.where = outer, where
    for finding in found.found:
        if finding.level == "high":  # of the rest most texts are none at all
            outer.add(finding.level, finding.rule, finding.why, finding.where)
