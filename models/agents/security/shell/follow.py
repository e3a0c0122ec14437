"""Follows a shell program along its syntax tree: what would flow where, without running it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from models.agents.security.shell.findings import Findings
from models.agents.security.shell.paths import absolute, is_secret
from models.agents.security.shell.values import NOTHING, SOMETHING, Text, joined
from models.agents.security.shell.words import Known, Words, descendants, source

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MOST_COMMANDS = 2_000
DEEPEST = 12
_MOST_TURNS = 16
_BRACED = re.compile(r"\{([^\s{};|&]*,[^\s{};|&]*)\}")
_CONNECTION = re.compile(r"^/dev/(tcp|udp)/")

Dispatch = Callable[["Follower", list[Text], Text], Text]


class Follower(Words):
    """Walks syntax trees.

    Args:
        dispatch: Says what a program does, given its words and what it reads; returns what it
            writes.
        findings: Where rules note what they found.
        known: From earlier commands of the same shell.
    """

    def __init__(self, dispatch: Dispatch, findings: Findings, known: Known) -> None:
        super().__init__(known)
        self.findings = findings
        self._dispatch = dispatch
        self._commands = self._depth = 0
        self.where = ""
        """The command that is looked at."""

    # ---- programs and texts

    def program(self, code: str, stdin: Text = NOTHING) -> Text:
        """Follow a shell program given as text; returns what it writes."""
        if self._depth >= DEEPEST:
            self.findings.add("unknown", "too-deep", "is nested too deep to be followed", code)
            return SOMETHING
        tree = _parser().parse(code.encode())
        if tree.root_node.has_error and (plain := _BRACED.sub(_spread, code)) != code:
            # The grammar does not know brace expansion where a command's name is expected.
            tree = _parser().parse(plain.encode())
        if tree.root_node.has_error:
            self.findings.add(
                "unknown", "syntax", "is no bash that can be followed to its end", code
            )
        self._depth += 1
        try:
            return self.run(tree.root_node, stdin)
        finally:
            self._depth -= 1

    def run(self, node: Node, stdin: Text) -> Text:
        """Follow a node; returns what it writes to its standard output."""
        handler = getattr(self, f"_{node.type}", None)
        if handler is not None:
            result: Text = handler(node, stdin)
            return result
        # Conditions, groups, lists, and whatever a broken tree holds: every part may run.
        return joined(self.run(child, stdin) for child in node.named_children)

    def call(self, words: Sequence[Text], stdin: Text) -> Text:
        """Follow a command of known words, as `xargs`, `sudo` or `find -exec` start it."""
        self._commands += 1
        if not words:
            return NOTHING
        if self._commands > MOST_COMMANDS or self._depth >= DEEPEST:
            self.findings.add("unknown", "too-long", "is too long to be followed", self.where)
            return SOMETHING
        name = words[0].text
        body = self.known.functions.get(name)
        self._depth += 1
        try:
            if body is not None:
                for place, word in enumerate(words[1:], 1):
                    self.known.variables[str(place)] = word
                self.known.variables["@"] = joined(words[1:], " ")
                return self.run(body, stdin)
            return self._dispatch(self, list(words), stdin)
        finally:
            self._depth -= 1

    def read(self, path: str) -> Text:
        """Return the content of a file, as far as commands before wrote it."""
        content = self.known.files.get(absolute(path, self.known.folder), SOMETHING)
        return content.marked(["secret"]) if is_secret(path) else content

    def write(self, path: str, content: Text) -> None:
        """Note what a file holds now; whoever reads from it reads it."""
        place = absolute(path, self.known.folder)
        self.known.files[place] = content
        if (reader := self.known.sinks.get(place)) is not None:
            self.run(reader, content)

    # ---- nodes, by the names of the grammar

    def _comment(self, _node: Node, _stdin: Text) -> Text:
        return NOTHING

    def apart(self, node: Node, stdin: Text) -> Text:
        """Follow what is within a node in a shell of its own."""
        outer, self.known = self.known, self.known.copy()
        try:
            return joined(self.run(child, stdin) for child in node.named_children)
        finally:
            self.known = outer

    _subshell = apart

    def _pipeline(self, node: Node, stdin: Text) -> Text:
        flow = stdin
        for child in node.named_children:
            flow = self.run(child, flow)
        return flow

    def _list(self, node: Node, stdin: Text) -> Text:
        return joined(self.run(child, stdin) for child in node.named_children)

    def _command(self, node: Node, stdin: Text) -> Text:
        words: list[Text] = []
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._variable_assignment(child, NOTHING)
            elif child.type == "herestring_redirect":
                stdin = joined(self.words(child))
            elif child.type in ("file_redirect", "heredoc_redirect"):
                stdin = self._redirected_input(child, stdin)
            elif child.type == "command_name":
                for part in child.named_children:
                    words += self.words(part)
            else:
                words += self.words(child)
        self.where = source(node)
        return self.call(words, stdin)

    def _redirected_statement(self, node: Node, stdin: Text) -> Text:
        body, *rest = node.named_children
        redirects = rest if not body.type.endswith("_redirect") else node.named_children
        for redirect in redirects:
            stdin = self._redirected_input(redirect, stdin)
        output = NOTHING if body in redirects else self.run(body, stdin)
        for redirect in redirects:
            for target in self._targets(redirect):
                self.call([Text(">"), target], output)
            if redirect.type == "heredoc_redirect":
                for child in redirect.named_children:
                    if child.type in ("pipeline", "command", "list", "redirected_statement"):
                        output = self.run(child, output)
        return output

    def _redirected_input(self, redirect: Node, stdin: Text) -> Text:
        if redirect.type == "herestring_redirect":
            return joined(self.words(redirect))
        if redirect.type == "heredoc_redirect":
            bodies = [child for child in redirect.named_children if child.type == "heredoc_body"]
            return joined(self._heredoc(body) for body in bodies)
        if any(child.type == "<" for child in redirect.children):
            targets = [self.words(child) for child in _files(redirect)]
            return joined(self.read(word.text) for words in targets for word in words)
        return stdin

    def _targets(self, redirect: Node) -> Iterator[Text]:
        """Yield the files that a redirect writes to."""
        if redirect.type == "heredoc_redirect":
            for child in redirect.named_children:
                if child.type == "file_redirect":
                    yield from self._targets(child)
        elif redirect.type == "file_redirect":
            signs = {child.type for child in redirect.children}
            if signs & {">", ">>", ">|", "&>", "&>>", "<>", ">&"}:
                for target in _files(redirect):
                    yield from self.words(target)
            elif "<" in signs:
                for target in _files(redirect):
                    for word in self.words(target):
                        if _CONNECTION.match(word.text):
                            yield word

    def _heredoc(self, body: Node) -> Text:
        if not body.named_children:
            return Text(source(body))
        return joined(
            Text(source(part))
            if part.type == "heredoc_content"
            else joined(piece.value for piece in self.pieces(part))
            for part in body.named_children
        )

    def _variable_assignment(self, node: Node, _stdin: Text) -> Text:
        name = node.child_by_field_name("name")
        value = node.child_by_field_name("value")
        if name is not None:
            pieces = [] if value is None else self.pieces(value)
            text = joined(piece.value for piece in pieces)
            if any(child.type == "+=" for child in node.children):
                text = joined([self.known.variables.get(source(name), NOTHING), text])
            self.known.variables[source(name)] = text
        return NOTHING

    def _function_definition(self, node: Node, _stdin: Text) -> Text:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is not None and body is not None:
            self.known.functions[source(name)] = body
            self._check_bomb(source(name), body)
        return NOTHING

    def _check_bomb(self, name: str, body: Node) -> None:
        calls = [
            node
            for node in descendants(body)
            if node.type == "command_name" and source(node) == name
        ]
        if not calls:
            return
        is_piped = any(node.type == "pipeline" for node in descendants(body))
        if is_piped or any(node.type == "&" for node in descendants(body)):
            self.findings.add(
                "high", "fork-bomb", "a function that starts copies of itself", source(body)
            )
        del self.known.functions[name]  # its calls cannot be followed to an end

    def _for_statement(self, node: Node, stdin: Text) -> Text:
        name = node.child_by_field_name("variable")
        body = node.child_by_field_name("body")
        values = [
            word
            for child in node.named_children
            if child not in (name, body)
            for word in self.words(child)
        ]
        outputs = []
        for value in values[:_MOST_TURNS] or [SOMETHING]:
            if name is not None:
                self.known.variables[source(name)] = value
            if body is not None:
                outputs.append(self.run(body, stdin))
        return joined(outputs)


def _files(redirect: Node) -> list[Node]:
    """Return what a redirect names, without the numbers of descriptors."""
    return [c for c in redirect.named_children if c.type not in ("number", "file_descriptor")]


def _spread(found: re.Match[str]) -> str:
    return found[1].replace(",", " ")


@lru_cache(maxsize=1)
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
