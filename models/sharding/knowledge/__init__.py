"""What others did and wrote: cases, documents, and finding those that speak to a question.

facets.py      what a text is about         cases.py   published and own runs
documents.py   own-words knowledge          embed.py   sentence embeddings (optional)
index.py       BM25 and embeddings, fused   guard.py   own group left out, texts as data
recall.py       what is recalled for a job
"""

from models.sharding.knowledge.cases import Case, append_case, cases_of, read_cases
from models.sharding.knowledge.documents import Document, read_documents
from models.sharding.knowledge.embed import CachedEmbedder, Embedder, load_embedder
from models.sharding.knowledge.facets import facets_of
from models.sharding.knowledge.guard import Guarded, as_data, leave_group_out
from models.sharding.knowledge.index import Hit, Knowledge, Retrieval
from models.sharding.knowledge.recall import Recalled, recall

__all__ = [
    "CachedEmbedder",
    "Case",
    "Document",
    "Embedder",
    "Guarded",
    "Hit",
    "Knowledge",
    "Recalled",
    "Retrieval",
    "append_case",
    "as_data",
    "cases_of",
    "facets_of",
    "leave_group_out",
    "load_embedder",
    "read_cases",
    "read_documents",
    "recall",
]
