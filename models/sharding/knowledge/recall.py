"""What is recalled for a job: documents for its diagnosis, cases that are like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.sharding.job import Job
from models.sharding.knowledge.cases import Case
from models.sharding.knowledge.embed import Embedder
from models.sharding.knowledge.facets import facets_of
from models.sharding.knowledge.guard import Guarded
from models.sharding.knowledge.index import Item, Knowledge, Retrieval
from models.sharding.layout import Layout


@dataclass(frozen=True)
class Recalled:
    """Documents and cases for one job, best first."""

    documents: Retrieval
    cases: Retrieval

    @property
    def items(self) -> tuple[Item, ...]:
        """All texts, documents first."""
        return self.documents.items + self.cases.items

    @property
    def notes(self) -> tuple[str, ...]:
        """What was missing, in sentences."""
        said = [f"documents: {note}" for note in self.documents.notes]
        return (*said, *(f"cases: {note}" for note in self.cases.notes))

    def on(self, topic: str) -> Item | None:
        """Return the best document that is mainly about a topic."""
        return next((one for one in self.documents.items if one.topics[:1] == (topic,)), None)


def recall(
    job: Job,
    known: Guarded,
    sentences: Sequence[str] = (),
    embedder: Embedder | None = None,
    reason: str = "",
    documents: int = 8,
    cases: int = 4,
) -> Recalled:
    """Find what speaks to a job and its diagnosis.

    Args:
        job: What is answered.
        known: What may be known of it (`leave_group_out`).
        sentences: Of the diagnosis; empty: the job alone is the question.
        embedder: Finds documents by meaning too.
        reason: Why there is no embedder (`load_embedder`).
        documents: Documents that are wanted.
        cases: Cases that are wanted.
    """
    facets = facets_of(job)
    here = Case("", job, Layout(), "ran", None, "")
    like = here.text.partition(" Layout ")[0]
    question = " ".join(sentences) or like
    papers = Knowledge(known.documents, embedder, reason)
    # Cases are written by one form: their words say all, and numbers have no meaning to embed.
    runs = Knowledge(known.cases)
    return Recalled(
        papers.search(question, facets, documents), runs.search(like, facets, cases, least=cases)
    )
