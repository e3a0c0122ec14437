"""What defines a run of `detect-attacks`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from models.config import Config
from models.detection.reasoning.train import TrainConfig


class DetectConfig(Config):
    """Whose sessions are looked at, by what, and what is written."""

    data: Path | None = None
    """A user's home folder (the logs of all agent programs below it), a log or a folder of logs,
    or a file of sessions (`detection-session/1`, its labels are not read); none: the shipped
    sample of every log format."""

    installation: bool = False
    """Judge the conversations of this installation's own agents, all that lie below LOOM_HOME: of
    `run-agents`, `loom agent`, its server, and of agents that write kernels or layouts."""

    format: str | None = None
    """Format of the logs; none: told by what they hold."""

    detector: Path | None = None
    """Trained file; none: the shipped one."""

    policies: Path | None = None
    """File of policies; none: the shipped ones."""

    servers: tuple[str, ...] = ()
    """MCP servers that are approved; none named: any is."""

    labels: Path | None = None
    """File of labels: whose word the results of tools are, and who may see what they tell; none:
    nobody is trusted."""

    personas: tuple[str, ...] = ()
    """Users, or names of folders that sessions run in, of who attacks on duty, as red teams do:
    nobody is called for what they do."""

    judge: str = ""
    """Address of a language model that votes near the threshold (`openai/gpt-5`,
    `http://HOST/v1#NAME`, `local:NAME`, `scripted:FILE`); empty: none is asked."""

    asker: Literal["model", "agent"] = "model"
    """Who votes: the model itself, or an agent that works with it, in its own conversation."""

    spans: Literal["alerts", "all", "none"] = "alerts"
    """Whose OpenTelemetry spans are written."""

    partition: int = Field(200, ge=1)
    """Sessions that one task examines; the judge is asked about all of them at once."""

    @model_validator(mode="after")
    def _has_one_source(self) -> DetectConfig:
        if self.installation and (self.data is not None or self.format is not None):
            raise ValueError("`installation` is a source by itself; leave `data` and `format` out")
        return self


class TrainFlowConfig(TrainConfig):
    """A training, and where its file goes; nothing given: as the shipped one was trained."""

    output: Path | None = None
    """File to write; none: below LOOM_HOME. The shipped file is never replaced by a flow."""
