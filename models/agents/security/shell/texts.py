"""Programs that make, pass on and change text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from models.agents.security.shell.follow import Follower
from models.agents.security.shell.options import parsed
from models.agents.security.shell.paths import absolute
from models.agents.security.shell.values import NOTHING, SOMETHING, Text, joined


def _echo(_follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    words = list(rest)
    reads_escapes = False
    while words and re.fullmatch(r"-[neE]+", words[0].text):
        reads_escapes |= "e" in words.pop(0).text
    said = joined(words, " ")
    return Text(_escapes(said.text) if reads_escapes else said.text, said.origins)


def _printf(_follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    words = [word for word in rest if word.text != "--"]
    if not words:
        return NOTHING
    form, values = _escapes(words[0].text), [word.text for word in words[1:]]
    rounds: list[str] = []
    while True:
        used = 0

        def fill(found: re.Match[str]) -> str:
            nonlocal used
            if found[0] == "%%":
                return "%"
            used += 1
            value = values.pop(0) if values else ""
            return _escapes(value) if found[0].endswith("b") else value

        rounds.append(re.sub(r"%%|%[-+ 0#]*\d*(?:\.\d+)?[a-zA-Z]", fill, form))
        if not values or not used:
            break
    return Text("".join(rounds), joined(words).origins)


def _escapes(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2]:
            return chr(int(found[2], 8) % 256)
        return {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}.get(found[3], found[3])

    return re.sub(r"\\(?:x([0-9a-fA-F]{1,2})|0?([0-7]{1,3})|(.))", value, text)


def _cat(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    given = parsed(rest)
    if not given.operands:
        return stdin
    return joined(
        stdin if word.text in ("-", "/dev/stdin") else follower.read(word.text).marked(word.origins)
        for word in given.operands
    )


def _tee(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    for word in parsed(rest).operands:
        follower.call([Text(">"), word], stdin)
    return stdin


def _write(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    for word in rest:
        follower.write(word.text, stdin)
    return NOTHING


def _copy(follower: Follower, rest: list[Text], _stdin: Text) -> Text:
    given = parsed(rest, ("t", "target-directory", "S", "suffix", "m", "o", "g"))
    if len(given.operands) >= 2:
        *sources, target = given.operands
        for source in sources:
            place = absolute(source.text, follower.known.folder)
            if (content := follower.known.files.get(place)) is not None:
                name = source.text.rsplit("/", 1)[-1]
                follower.write(target.text, content)
                follower.known.files[absolute(f"{target.text}/{name}", follower.known.folder)] = (
                    content
                )
    return NOTHING


def _base64(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    given = parsed(rest, ("w", "wrap", "i", "o"))
    source = follower.read(given.operands[0].text) if given.operands else stdin
    if not given.has("d", "D", "decode", "di"):
        return SOMETHING.marked(source.origins)
    if source.is_known:
        try:
            plain = base64.b64decode(source.text, validate=False).decode()
            return Text(plain, source.origins)
        except (binascii.Error, UnicodeDecodeError, ValueError):
            pass
    return SOMETHING.marked([*source.origins, "decoded"])


def decoder(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    """Turn text into other text that cannot be told here."""
    operands = parsed(rest).operands
    sources = [stdin, *(follower.read(word.text) for word in operands)]
    return SOMETHING.marked([*joined(sources).origins, "decoded"])


def _rev(_follower: Follower, _rest: list[Text], stdin: Text) -> Text:
    lines = [line[::-1] for line in stdin.text.split("\n")]
    return Text("\n".join(lines), stdin.origins)


def same(follower: Follower, rest: list[Text], stdin: Text) -> Text:
    """Pass on lines that cannot be told; where they came from stays."""
    files = [follower.read(word.text) for word in parsed(rest, "ncefmdst").operands]
    known = [file for file in files if file.origins]
    whole = joined([stdin, *known])
    return (
        whole
        if stdin != NOTHING and not known and stdin.is_known
        else SOMETHING.marked(whole.origins)
    )


TEXTS: dict[str, Callable[[Follower, list[Text], Text], Text]] = {
    "echo": _echo,
    "printf": _printf,
    "cat": _cat,
    "tee": _tee,
    ">": _write,
    "cp": _copy,
    "mv": _copy,
    "install": _copy,
    "ln": _copy,
    "base64": _base64,
    "rev": _rev,
}
