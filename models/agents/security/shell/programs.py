"""What single programs do with their words and their input."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from models.agents.security.shell import destroyers, senders
from models.agents.security.shell.code import check_code
from models.agents.security.shell.follow import Follower
from models.agents.security.shell.options import Arguments, parsed
from models.agents.security.shell.paths import absolute
from models.agents.security.shell.texts import TEXTS, decoder, same
from models.agents.security.shell.values import GAP, NOTHING, SOMETHING, Text, joined
from models.agents.security.shell.vocabulary import languages, names, skipped, wrappers

Program = Callable[[Follower, list[Text], Text], Text]

_ASSIGNS = re.compile(r"^\w+=")


def program(follower: Follower, words: list[Text], stdin: Text) -> Text:
    """Say what a command does; returns what it writes to its standard output."""
    name, rest = words[0], words[1:]
    plain = name.text.rsplit("/", 1)[-1] if name.text != "/" else "/"
    if "network" in name.origins:
        _alarm(follower, "download-run", "runs what a download says")
    elif GAP in name.text:
        follower.findings.add(
            "unknown", "name", "the program's name is only known when it runs", follower.where
        )
    for rule in (destroyers.check, senders.check):
        rule(follower, plain, rest, stdin)
    if known := _PROGRAMS.get(plain):
        return known(follower, rest, stdin)
    if plain in names("fetchers"):
        return senders.fetched(plain, rest) or NOTHING
    if plain in names("decoders"):
        return decoder(follower, rest, stdin)
    if plain in names("filters") and "awk" not in plain:
        return same(follower, rest, stdin)
    if plain in names("shells"):
        return _shell(follower, rest, stdin)
    if plain in wrappers():
        return _wrapper(follower, plain, rest, stdin)
    if language := next((code for code in languages() if plain.startswith(code)), None):
        return check_code(follower, language, rest, stdin)
    if "/" in name.text or plain.endswith((".sh", ".bash")):
        return _file(follower, name.text, rest, stdin)
    if plain not in names("readers"):
        follower.findings.add("medium", "program", f"runs {plain or 'a program'}", follower.where)
    flows = stdin.marked(word_origin for word in rest for word_origin in word.origins)
    return SOMETHING.marked(flows.origins)


def _alarm(follower: Follower, rule: str, why: str) -> None:
    follower.findings.add("high", rule, why, follower.where)


def run_code(follower: Follower, code: Text, stdin: Text = NOTHING) -> Text:
    """Follow text that a shell is given as its program."""
    if "network" in code.origins:
        _alarm(follower, "download-run", "runs what was downloaded")
    if "decoded" in code.origins:
        _alarm(follower, "decode-run", "runs what was decoded, so that nobody can read it first")
    if code.text.strip() in ("", GAP):
        if not code.origins and GAP in code.text:
            follower.findings.add(
                "unknown", "code", "runs text that is only known when it runs", follower.where
            )
        return SOMETHING.marked(code.origins)
    return follower.program(code.text.replace(GAP, "$_"), stdin)


def _shell(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    given = parsed(rest, "oO", ends_at_operand=True)
    if given.has("c"):
        if not given.operands:
            return NOTHING
        for place, word in enumerate(given.operands[1:]):
            follower.known.variables[str(place)] = word
        return run_code(follower, given.operands[0], stdin)
    if given.operands and not given.has("s"):
        file = given.operands[0]
        if file.text in ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            return run_code(follower, stdin)
        return _file(follower, file.text, given.operands[1:], stdin)
    if stdin == NOTHING:
        return NOTHING
    return run_code(follower, stdin)


def _file(follower: Follower, path: str, rest: Sequence[Text], stdin: Text) -> Text:
    content = follower.known.files.get(absolute(path, follower.known.folder))
    if content is None:
        follower.findings.add("medium", "script", f"runs {path}", follower.where)
        return SOMETHING
    for place, word in enumerate(rest, 1):
        follower.known.variables[str(place)] = word
    return run_code(follower, content, stdin)


def _wrapper(follower: Follower, name: str, rest: list[Text], stdin: Text) -> Text:
    if name in names("raise_rights"):
        follower.findings.add("medium", "root", f"runs as another user ({name})", follower.where)
    given = parsed(rest, wrappers()[name], ends_at_operand=True)
    inner = given.operands[skipped(name) :]
    if name == "env" and (whole := given.of("S", "split-string")):
        return run_code(follower, joined([*whole, *inner], " "), stdin)
    if name in ("script", "flock") and (code := given.of("c")):
        return run_code(follower, code[0], stdin)
    if name == "watch":
        return run_code(follower, joined(inner, " "), stdin)
    while inner and name in ("env", "sudo") and _ASSIGNS.match(inner[0].text):
        inner = inner[1:]
    if not inner and given.has("s", "i") and name == "sudo":
        return _shell(follower, [], stdin)
    if not inner and name == "env":
        return SOMETHING.marked(["secret"])
    return follower.call(inner, stdin) if inner else SOMETHING


def _cd(follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    operands = parsed(rest).operands
    target = operands[0].text if operands else "~"
    follower.known.folder = absolute(target, follower.known.folder) if target != "-" else GAP
    return NOTHING


def _eval(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    return run_code(follower, joined(rest, " "), stdin)


def _source(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    if not rest:
        return NOTHING
    if rest[0].text in ("/dev/stdin", "-"):
        return run_code(follower, stdin)
    return _file(follower, rest[0].text, rest[1:], stdin)


def _alias(follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    for word in rest:
        name, equals, value = word.text.partition("=")
        if equals:
            # Whether it is used or not: what it stands for will run.
            run_code(follower, Text(value, word.origins))
            follower.known.variables.setdefault(name, Text(value, word.origins))
    return NOTHING


def _trap(follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    operands = parsed(rest).operands
    if len(operands) > 1:
        run_code(follower, operands[0])
    return NOTHING


def _read(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    first = stdin.text.split("\n", 1)[0] if stdin != NOTHING else GAP
    for word in parsed(rest, "adinNptu").operands:
        follower.known.variables[word.text] = Text(first, stdin.origins)
    return NOTHING


def _export(follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    for word in rest:
        name, equals, value = word.text.partition("=")
        if equals:
            follower.known.variables[name] = Text(value, word.origins)
    return NOTHING


def _xargs(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    given = parsed(rest, "IadEeLlnPs", ends_at_operand=True)
    inner = given.operands or [Text("echo")]
    marks = [value.text for value in given.of("I")] or (["{}"] if given.has("i") else [])
    fed = [Text(word, stdin.origins) for word in stdin.text.split()] or [stdin]
    if not marks:
        return follower.call([*inner, *fed], NOTHING)
    outputs = []
    for word in fed[:16]:
        filled = [_filled(part, marks[0], word) for part in inner]
        outputs.append(follower.call(filled, NOTHING))
    return joined(outputs)


def _filled(part: Text, mark: str, word: Text) -> Text:
    if mark not in part.text:
        return part
    return Text(part.text.replace(mark, word.text), part.origins | word.origins)


def _find(follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    texts = [word.text for word in rest]
    starts = []
    for word in rest:
        if word.text.startswith(("-", "(", "!", "\\")):
            break
        starts.append(word)
    for place, text in enumerate(texts):
        if text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = next((i for i in range(place, len(texts)) if texts[i] in (";", "+")), len(texts))
            inner = rest[place + 1 : end]
            for start in starts or [Text(".")]:
                follower.call([_filled(part, "{}", start) for part in inner], NOTHING)
        if text == "-delete":
            follower.call([Text("rm"), Text("-rf"), *(starts or [Text(".")])], NOTHING)
    return SOMETHING


def _ssh(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    follower.findings.add("medium", "remote", "runs something on another machine", follower.where)
    given = parsed(rest, "bcDEeFIiJLlmOopQRSWw", ends_at_operand=True)
    if len(given.operands) > 1:
        return run_code(follower, joined(given.operands[1:], " "), stdin)
    return run_code(follower, stdin) if stdin != NOTHING else SOMETHING


def _su(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    follower.findings.add("medium", "root", "runs as another user (su)", follower.where)
    given: Arguments = parsed(rest, ("c", "command", "s", "shell"))
    for code in given.of("c", "command"):
        run_code(follower, code, stdin)
    return SOMETHING


def _at(follower: Follower, _rest: list[Text], stdin: Text) -> Text:
    follower.findings.add("medium", "later", "runs something later", follower.where)
    return run_code(follower, stdin) if stdin != NOTHING else NOTHING


def _env_dump(_follower: Follower, _rest: list[Text], _stdin: Text) -> Text:
    return SOMETHING.marked(["secret"])


_PROGRAMS: dict[str, Program] = {
    **TEXTS, "cd": _cd, "pushd": _cd, "eval": _eval, "source": _source, ".": _source,
    "alias": _alias, "trap": _trap, "read": _read, "export": _export, "declare": _export,
    "readonly": _export, "typeset": _export, "local": _export, "xargs": _xargs,
    "parallel": _xargs, "find": _find, "fd": _find, "ssh": _ssh, "su": _su, "at": _at,
    "batch": _at, "printenv": _env_dump,
}  # fmt: skip
