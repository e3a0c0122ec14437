"""What is known about sharding, in our own words: short texts that each name their source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from models.config import Config
from models.errors import ConfigError, DatasetMissingError, DatasetUnreadableError
from models.settings import ROOT
from models.sharding.knowledge.facets import FACETS, VALUES

SHIPPED = ROOT / "datasets" / "sharding" / "knowledge" / "documents.jsonl"
TOPICS = frozenset({
    "compute", "memory", "weights", "gradients", "tensor", "context", "expert", "bubble",
    "stages", "recompute", "host", "latency", "optimizer", "network", "torus", "serving",
    "software", "search",
})  # fmt: skip
"""What a document can explain: terms of the cost model, and what lies across them."""


class Document(Config):
    """One text of a few sentences."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)
    """Name, unique in its file."""
    title: str = Field(min_length=3, max_length=120)
    """What it says, in a line."""
    text: str = Field(min_length=20, max_length=1200)
    """A few sentences."""
    source: str = Field(min_length=3)
    """Paper or document, and section, that the facts are from."""
    topics: tuple[str, ...]
    """What it explains, of `TOPICS`; the main one first."""
    about: dict[str, frozenset[str]] = Field(default_factory=dict)
    """Facets: what it is about; a facet that is absent fits all."""
    groups: frozenset[str] = frozenset()
    """Groups "family/chip" whose published answer it tells; left out with them."""

    @field_validator("topics")
    @classmethod
    def _known_topics(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        if not topics or set(topics) - TOPICS:
            wrong = ", ".join(sorted(set(topics) - TOPICS)) or "none"
            raise ValueError(f"topics: {wrong}; known: {', '.join(sorted(TOPICS))}")
        return topics

    @field_validator("about")
    @classmethod
    def _known_facets(cls, about: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
        for name, values in about.items():
            if name not in FACETS:
                raise ValueError(f"facet '{name}'; known: {', '.join(FACETS)}")
            if name in VALUES and values - VALUES[name]:
                known = ", ".join(sorted(VALUES[name]))
                raise ValueError(f"{name}: {', '.join(sorted(values))}; known: {known}")
        return about

    @cached_property
    def facets(self) -> Mapping[str, frozenset[str]]:
        """What it is about."""
        return self.about


def read_documents(path: Path = SHIPPED) -> tuple[Document, ...]:
    """Read documents, one JSON object per line.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: A line is no JSON.
        ConfigError: A document lacks a key, has one too many, or its id repeats.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DatasetMissingError(f"documents {path} do not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetUnreadableError(f"documents {path} cannot be read ({error})") from None
    found: dict[str, Document] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = Document.model_validate(json.loads(line))
        except ValidationError as error:
            said = " ".join(str(error).split())
            raise ConfigError(f"{path}, line {number}: {said}") from None
        except (ValueError, RecursionError) as error:
            raise DatasetUnreadableError(
                f"{path}, line {number} is no JSON ({error}); it may be cut off, fetch it again"
            ) from None
        if document.id in found:
            raise ConfigError(f"{path}, line {number}: the id '{document.id}' repeats; rename one")
        found[document.id] = document
    return tuple(found.values())
