"""What defines a campaign, an evaluation and a refinement."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from models.config import Config, Texts
from models.kernels.operators import OperatorSpec, select_operators
from models.kernels.samples.streams import Suite

State = Literal["lint", "compile", "audit", "summarise"]


class CampaignConfig(Config):
    """Operators, who writes their kernels, and what a kernel must stand before it counts."""

    ops: str = "slice60"
    """paper (the paper's set), all, slice60, families or patterns with commas between."""

    proposer: Literal["synthesizer", "language_model", "cascade", "replay"] = "synthesizer"
    """Who writes: rules; a language model; rules first and the model for what is left; or the
    modules of an earlier package, byte for byte."""

    llm: str = ""
    """Address of the language model (`openai/gpt-5`, `http://HOST/v1#NAME`, `scripted:FILE`)."""

    asker: Literal["model", "agent"] = "model"
    """Who answers where a model writes: the model itself, or an agent that works with it."""

    package: Path | None = None
    """Package whose modules are replayed."""

    profile: str = "interpreter"
    """Device whose lists and limits hold: interpreter, sm80 .. gfx1100, or a virtual dialect
    (padded32, gather_only)."""

    targets: Texts = ("sm90", "gfx942")
    """Compilers of the loop: the first for every candidate, the others by turns."""

    sessions: int = Field(3, ge=1, le=20)
    """Dialogs per operator; the paper takes 3."""

    calls: int = Field(15, ge=1, le=100)
    """Proposals per dialog; the paper takes 15."""

    off: tuple[State, ...] = ()
    """States that are left out, for ablations; what they would refuse is not counted as proven."""

    most_per_type: int | None = Field(None, ge=1)
    """Tests per type at most, for development and demonstrations; a published run has None."""

    seed: int = Field(0, ge=0)
    """Of everything that is drawn."""

    output: Path | None = None
    """Folder of ledger, package and report; None: below LOOM_HOME. The same folder goes on."""

    def operators(self) -> tuple[OperatorSpec, ...]:
        """Return the operators, those with most tests first: no long one is left for the end.

        Raises:
            UnknownNameError: A word of `ops` selects nothing.
        """
        return tuple(sorted(select_operators(self.ops), key=lambda one: (-one.tests, one.op_id)))

    @property
    def digest(self) -> str:
        """What is asked, 12 hexadecimal digits; where the answer goes plays no part."""
        return _digest(self)


class EvaluationConfig(Config):
    """A package, and the suites that it is put to."""

    package: Path | None = None
    """Folder of the package; None: the newest campaign's."""

    data: Path | None = None
    """Samples of one's own, as JSON lines (`models/kernels/samples/file.py`); None: none."""

    ops: str = "all"
    """Operators of the package that are put to the suites."""

    suites: tuple[Suite, ...] = ("V1", "V2", "V3")
    """S public samples, V1 other seeds, V2 layouts, V3 shapes, V4 types that no proposer saw,
    V6 out=, in place and error inputs."""

    seed: int = Field(1, ge=0)
    """Seed of every suite but S."""

    most_per_type: int | None = Field(None, ge=1)
    """Tests per type at most; a published run has None."""

    output: Path | None = None
    """Folder of ledger and report; None: the package's own."""

    @property
    def digest(self) -> str:
        """What is asked, 12 hexadecimal digits; where the answer goes plays no part."""
        return _digest(self)


class RefineConfig(Config):
    """Models that must train on generated kernels alone."""

    models: Texts = ("gpt", "llama", "dlrm", "resnet18")
    """Workloads: gpt, llama, dlrm, resnet18."""

    package: Path | None = None
    """Package that is refined; None: every module is written anew."""

    steps: int = Field(20, ge=1)
    """Training steps whose losses are compared with the CPU's."""

    seed: int = Field(0, ge=0)
    """Of weights and inputs."""

    output: Path | None = None
    """Folder of the refined package and report; None: below LOOM_HOME."""

    @property
    def digest(self) -> str:
        """What is asked, 12 hexadecimal digits; where the answer goes plays no part."""
        return _digest(self)


def _digest(config: Config) -> str:
    text = config.model_dump_json(exclude={"output"})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
