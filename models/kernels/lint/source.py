"""Before any rule: size, characters, parsing and depth of a module's text."""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from dataclasses import dataclass

MOST_BYTES = 262_144
"""Largest source. The longest family emitter with its device library stays under a quarter."""
MOST_LINES = 6_000
DEEPEST = 90
"""Levels of nesting in the tree; an `elif` chain counts one per branch."""
MOST_NODES = 120_000
MOST_DEFINITIONS = 400
"""Functions and constants at module level."""

_WORD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class Fault:
    """Why a text has no tree to look at."""

    rule: str
    line: int
    col: int
    message: str
    hint: str


def read_tree(source: str) -> tuple[ast.Module | None, list[Fault]]:
    """Parse a module; None with the reason when it is too large or does not parse."""
    size = len(source.encode("utf-8", "surrogatepass"))
    lines = source.count("\n") + 1
    if size > MOST_BYTES or lines > MOST_LINES:
        said = f"{size} bytes in {lines} lines, at most {MOST_BYTES} in {MOST_LINES}"
        return None, [Fault("RES002", 0, 0, said, "share code in device helpers and helpers")]
    faults = _characters(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        said = f"does not parse: {error.msg}"
        where = (error.lineno or 0, error.offset or 0)
        hint = "answer with one whole Python module and no text around it"
        return None, [*faults, Fault("FMT001", *where, said, hint)]
    except (ValueError, OverflowError, UnicodeError) as error:
        said = f"does not parse: {error}"
        return None, [*faults, Fault("FMT001", 0, 0, said, "write plain UTF-8 text")]
    except (RecursionError, MemoryError):
        return None, [*faults, _too_deep("the parser gave up")]
    depth, nodes = _measure(tree)
    if depth > DEEPEST or nodes > MOST_NODES:
        return None, [*faults, _too_deep(f"{depth} levels, {nodes} nodes")]
    if len(tree.body) > MOST_DEFINITIONS:
        said = f"{len(tree.body)} definitions at module level, at most {MOST_DEFINITIONS}"
        return None, [*faults, Fault("RES002", 0, 0, said, "share code in helpers")]
    return tree, faults


def _too_deep(found: str) -> Fault:
    said = f"nested too deeply or too large: {found}; at most {DEEPEST} levels, {MOST_NODES} nodes"
    return Fault("RES002", 0, 0, said, "name intermediate results")


def _characters(source: str) -> list[Fault]:
    """Return identifiers that are not what they look like, and characters that hide text."""
    faults: list[Fault] = []
    if source.isascii() and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", source):
        return faults
    for number, line in enumerate(re.split(r"\n", source), 1):
        for place, char in enumerate(line):
            if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and char != "\t":
                said = f"character U+{ord(char):04X}, which hides or reorders text"
                hint = "write plain text with newlines and spaces"
                faults.append(Fault("CHT005", number, place + 1, said, hint))
                break
        for word in _WORD.finditer(line.split("#")[0]):
            if not word[0].isascii():
                plain = unicodedata.normalize("NFKC", word[0])
                said = f"name '{word[0]}' is not ASCII" + (
                    f"; Python reads it as '{plain}'" if plain != word[0] else ""
                )
                faults.append(Fault("CHT005", number, word.start() + 1, said, "use ASCII names"))
                break
    return faults


def _measure(tree: ast.Module) -> tuple[int, int]:
    """Return depth and number of nodes, without recursion."""
    level: list[ast.AST] = [tree]
    depth = nodes = 0
    while level and depth <= DEEPEST and nodes <= MOST_NODES:
        nodes += len(level)
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth, nodes
