"""Two guards: a job's own group is left out of what is known, and texts stay data."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from models.sharding.calibrate import Runs
from models.sharding.job import Job
from models.sharding.knowledge.cases import Case
from models.sharding.knowledge.documents import Document
from models.sharding.knowledge.index import Item
from models.sharding.published import Published
from models.sharding.specs import ModelSpec

Origin = Literal["case", "document", "prior", "calibration"]
_LONGEST = 1200
"""Characters of a text that a model is shown."""
_NAME = re.compile(r"[^a-z0-9.]+")
_LONGEST_NAME = 48
_SIGNS = (
    (
        "asks to ignore what was said",
        r"\b(ignore|disregard|forget|override)\b.{0,40}"
        r"\b(above|previous|earlier|prior|instructions?|rules?|everything|all|system)\b",
    ),
    (
        "speaks to the model",
        r"\byou (must|should|will|are|shall)\b|\b(assistant|system)\s*:"
        r"|<\|?/?(system|im_start|im_end|assistant|user)",
    ),
    (
        "tells what to answer",
        r"\b(answer|respond|reply|output|return|propose|choose|print)\b"
        r".{0,30}(\b(only|exactly|always)\b|[{\[]|=\s*\d)",
    ),
    (
        "holds an answer",
        r"[{\[]\s*\\?['\"](layouts?|tensor|fsdp|data|pipeline)\\?['\"]\s*:",
    ),
)
_INSTRUCTIONS = tuple((said, re.compile(form, re.IGNORECASE | re.DOTALL)) for said, form in _SIGNS)


class Provenance(NamedTuple):
    """Whether one item may speak about a job, and why not."""

    id: str
    origin: Origin
    group: str
    is_used: bool
    reason: str


@dataclass(frozen=True)
class Guarded:
    """What may be known when a job is answered."""

    documents: tuple[Document, ...]
    cases: tuple[Case, ...]
    published: tuple[Published, ...]
    """For the prior."""
    runs: tuple[Runs, ...]
    """For the calibration."""
    provenance: tuple[Provenance, ...]
    """Of every item that was given, used or left out."""


def is_same_group(one: Job, other: Job) -> bool:
    """Whether two jobs are of one group: the same chip, and one model family or one shape.

    Shapes are compared since a name says nothing: the same model may come from a config.json.
    """
    if one.place.chip.name.lower() != other.place.chip.name.lower():
        return False
    family = one.model.family.lower()
    is_family = family != "" and family == other.model.family.lower()
    return is_family or is_same_shape(one.model, other.model)


def is_same_shape(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether two models are of the same sizes, whatever they are called."""
    return _shape(one) == _shape(other)


def leave_group_out(
    job: Job,
    documents: Sequence[Document] = (),
    cases: Sequence[Case] = (),
    published: Sequence[Published] = (),
    runs: Sequence[Runs] = (),
) -> Guarded:
    """Take everything of a job's own group out of what is known.

    Args:
        job: What is answered.
        documents: Those that tell the published answer of the group fall out.
        cases: Of the case base.
        published: Rows that the prior is made of.
        runs: Measured runs that constants are fitted on.
    """
    said: list[Provenance] = []

    def may(id: str, origin: Origin, there: Job) -> bool:
        is_own = is_same_group(job, there)
        reason = "of the job's own model family and chip" if is_own else ""
        group = f"{there.model.family}/{there.place.chip.name}"
        said.append(Provenance(id, origin, group, not is_own, reason))
        return not is_own

    own = f"{job.model.family}/{job.place.chip.name}".lower()
    kept_documents = []
    for one in documents:
        tells = own in {group.lower() for group in one.groups}
        reason = "tells the published layout of the job's own group" if tells else ""
        groups = ", ".join(sorted(one.groups))
        said.append(Provenance(one.id, "document", groups, not tells, reason))
        kept_documents += [] if tells else [one]
    return Guarded(
        tuple(kept_documents),
        tuple(one for one in cases if may(one.id, "case", one.job)),
        tuple(one for one in published if may(one.id, "prior", one.job)),
        tuple(
            one
            for place, one in enumerate(runs)
            if may(f"runs-{place + 1}", "calibration", one.job)
        ),
        tuple(said),
    )


def _shape(model: ModelSpec) -> tuple[int, ...]:
    return (
        model.layers, model.hidden, model.ffn, model.heads, model.kv_heads, model.vocab,
        model.experts, model.expert_ffn,
    )  # fmt: skip


def clean_text(text: str, most: int = _LONGEST) -> str:
    """Return a text without what cannot be seen, in compatible letters, cut to a length."""
    plain = unicodedata.normalize("NFKC", text)
    seen = "".join(
        " " if one.isspace() else one
        for one in plain
        if one.isspace() or unicodedata.category(one)[0] != "C"
    )
    return " ".join(seen.split())[:most]


def safe_name(name: str) -> str:
    """Return a name of small letters, digits, dots and dashes; `model` where it instructs."""
    plain = _NAME.sub("-", clean_text(name).lower())[:_LONGEST_NAME].strip("-.")
    is_sentence = instruction_signs(name) or instruction_signs(plain.replace("-", " "))
    return "model" if is_sentence or not plain else plain


def instruction_signs(text: str) -> list[str]:
    """Return what in a text reads like an instruction to a model rather than a fact.

    A list of patterns catches the plain cases only. What keeps instructions without effect is
    that every layout is checked and ranked by the cost model, whoever proposed it.
    """
    plain = clean_text(text, len(text))
    return [said for said, form in _INSTRUCTIONS if form.search(plain)]


class Shown(NamedTuple):
    """Texts as a model is shown them."""

    text: str
    """A JSON list; nothing in it can end the block that it stands in."""
    ids: tuple[str, ...]
    withheld: dict[str, str]
    """Id of a text that is not shown, and why."""


def as_data(items: Iterable[Item]) -> Shown:
    """Return texts as a JSON list in which marks of mark-up are escaped.

    Texts that read like instructions are withheld, with the reason.
    """
    rows, withheld = [], {}
    for one in items:
        signs = instruction_signs(f"{one.id} {one.title} {one.text} {one.source}")
        if signs:
            withheld[one.id] = "; ".join(signs)
            continue
        rows.append({"id": one.id, "text": clean_text(one.text), "source": clean_text(one.source)})
    return Shown(escaped(rows), tuple(str(row["id"]) for row in rows), withheld)


def escaped(value: object) -> str:
    """Return JSON in which `<`, `>` and `&` are escaped: no tag opens or closes in it."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
