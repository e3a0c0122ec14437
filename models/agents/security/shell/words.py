"""From written words to what they stand for, as far as that is known."""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.agents.security.shell.values import (
    GAP,
    NOTHING,
    SOMETHING,
    Piece,
    Text,
    joined,
    words_of,
)

if TYPE_CHECKING:
    from tree_sitter import Node

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = {"IFS": " ", "HOME": "~", "PWD": ".", "OLDPWD": ".", "TMPDIR": "/tmp"}


@dataclass
class Known:
    """What the commands so far have set.

    Attributes:
        variables: Values by name.
        functions: Bodies by name.
        files: Contents of files that were written, by path.
        sinks: Commands that read what is written to a path.
        folder: Current folder; `.`: where the shell began.
    """

    variables: dict[str, Text] = field(default_factory=dict)
    functions: dict[str, Node] = field(default_factory=dict)
    files: dict[str, Text] = field(default_factory=dict)
    sinks: dict[str, Node] = field(default_factory=dict)
    folder: str = "."

    def copy(self) -> Known:
        """Return one for a subshell; files are shared."""
        return Known(
            dict(self.variables), dict(self.functions), self.files, self.sinks, self.folder
        )


class Words(ABC):
    """Expands words.

    Args:
        known: What commands before have set.
    """

    def __init__(self, known: Known) -> None:
        self.known = known

    @abstractmethod
    def run(self, node: Node, stdin: Text) -> Text:
        """Follow a node; returns what it writes to its standard output."""

    @abstractmethod
    def apart(self, node: Node, stdin: Text) -> Text:
        """Follow what is within a node in a shell of its own."""

    def _word(self, node: Node, _stdin: Text) -> Text:
        self.words(node)
        return NOTHING

    _string = _concatenation = _raw_string = _simple_expansion = _expansion = _word
    _command_substitution = _process_substitution = _ansi_c_string = _word

    def words(self, node: Node) -> list[Text]:
        """Return the words that a written one becomes."""
        return words_of(self.pieces(node))

    def pieces(self, node: Node) -> list[Piece]:
        """Return the parts of a word."""
        match node.type:
            case (
                "word"
                | "number"
                | "test_operator"
                | "regex"
                | "heredoc_start"
                | "special_variable_name"
            ):
                return [Piece(Text(_ESCAPED.sub(r"\1", source(node))), "bare")]
            case "raw_string":
                return [Piece(Text(source(node)[1:-1]), "quoted")]
            case "ansi_c_string":
                return [Piece(Text(_unescaped(source(node)[2:-1])), "quoted")]
            case "string" | "translated_string":
                return self._quoted(node)
            case "concatenation" | "array" | "herestring_redirect" | "command_name":
                return [piece for child in node.named_children for piece in self.pieces(child)]
            case "simple_expansion" | "expansion":
                return [Piece(self._expanded(node), "split")]
            case "command_substitution":
                output = self.apart(node, NOTHING)
                return [Piece(Text(output.text.rstrip("\n"), output.origins), "split")]
            case "process_substitution":
                return [Piece(self._as_file(node), "quoted")]
            case _:
                self.run(node, NOTHING) if node.named_children else None
                return [Piece(SOMETHING, "quoted")]

    def _quoted(self, node: Node) -> list[Piece]:
        parts: list[Text] = []
        at = node.start_byte + (2 if node.type == "translated_string" else 1)
        raw = node.text or b""
        for child in [*node.named_children, None]:
            # Blanks between parts belong to no node of their own.
            end = child.start_byte if child is not None else node.end_byte - 1
            between = raw[at - node.start_byte : end - node.start_byte].decode(errors="replace")
            parts.append(Text(re.sub(r'\\(["$`\\])', r"\1", between)))
            if child is None:
                break
            if child.type == "string_content":
                parts.append(Text(re.sub(r'\\(["$`\\\n])', r"\1", source(child))))
            else:
                parts += [piece.value for piece in self.pieces(child)]
            at = child.end_byte
        return [Piece(joined(parts), "quoted")]

    def _expanded(self, node: Node) -> Text:
        names = [c for c in descendants(node) if c.type.endswith("variable_name")]
        if not names:
            return SOMETHING
        name = source(names[0])
        value = self.known.variables.get(name)
        if value is None and name in _SPECIAL:
            value = Text(_SPECIAL[name])
        signs = [child.type for child in node.children]
        fallback = [c for c in node.named_children if c is not names[0]]
        if any(sign in (":-", "-", ":=", "=") for sign in signs) and value is None and fallback:
            return joined(piece.value for child in fallback for piece in self.pieces(child))
        if value is None:
            return SOMETHING
        # `${x%.*}`, `${x:1:2}`, `${x//a/b}`: changed in ways that are not followed.
        is_plain = len(node.named_children) <= 1 or any(sign == ":-" for sign in signs)
        return value if is_plain and "#" not in signs else SOMETHING.marked(value.origins)

    def _as_file(self, node: Node) -> Text:
        path = f"/dev/fd/{node.start_byte}"
        if any(child.type == ">(" for child in node.children):
            self.known.sinks[path] = node.named_children[0]
        else:
            self.known.files[path] = self.apart(node, NOTHING)
        return Text(path)


def source(node: Node) -> str:
    """Return the text of a node."""
    return (node.text or b"").decode(errors="replace")


def descendants(node: Node) -> Iterator[Node]:
    """Yield all nodes below one."""
    for child in node.children:
        yield child
        yield from descendants(child)


def _unescaped(text: str) -> str:
    try:
        return codecs.decode(text.encode("latin-1", "backslashreplace"), "unicode_escape")
    except (UnicodeDecodeError, ValueError):
        return GAP
