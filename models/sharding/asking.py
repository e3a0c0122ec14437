"""Whom a config asks for layouts, and how long an answer may take."""

from __future__ import annotations

from models.errors import ConfigError
from models.llm import LanguageModel, language_model
from models.sharding.config import PlanConfig, SweepConfig

_MODEL_S, _AGENT_S = 60.0, 600.0


def named_model(config: PlanConfig | SweepConfig) -> LanguageModel:
    """Return the model of a config's address.

    Raises:
        ConfigError: The address is missing or none.
    """
    if not config.llm:
        raise ConfigError(
            "proposer language_model needs a model: name it in `llm`, such as "
            "llm=http://127.0.0.1:8000/v1#NAME, or take proposer=analytic"
        )
    return language_model(config.llm)


def answer_s(config: PlanConfig | SweepConfig) -> float:
    """Return the longest wait for an answer in seconds: an agent asks its model several times."""
    return _AGENT_S if config.asker == "agent" else _MODEL_S
