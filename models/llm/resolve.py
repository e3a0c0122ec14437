"""A model by its address, as configs and command lines write it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

from models.errors import ConfigError, unknown_name
from models.llm.base import LanguageModel, Model
from models.llm.budget import Budget
from models.llm.errors import ModelNotFoundError
from models.llm.meter import Meter

FORMS = {
    "scripted:FILE": "replies played from a YAML or JSONL file",
    "cassette:FILE": "recorded calls, replayed",
    "http://HOST:PORT/v1#MODEL": "an OpenAI-compatible server (also https)",
    "litellm:PROVIDER/MODEL": "any provider by litellm; `litellm:` may be left out",
    "local:NAME": "the engine of this project",
    "router:FILE": "YAML with a list of addresses per purpose, best first; '' for all others",
    "text:ADDRESS": "tools as text, for a model at ADDRESS that knows none",
}


def language_model(
    address: str,
    *,
    budget: Budget | None = None,
    meter: Meter | None = None,
    record: str | None = None,
) -> LanguageModel:
    """Make the model of an address; nothing is called or loaded before its first use.

    Args:
        address: One of the forms of `FORMS`.
        budget: What all its calls together may take.
        meter: Where its calls are counted.
        record: For `cassette:FILE`: address of the model to call for what is not recorded.

    Raises:
        ModelNotFoundError: The address has no known form, or no model.
        LanguageModelError: A script or cassette cannot be read.
        ConfigError: A key or the local engine is not set up.
    """
    model = _model(address.strip(), record)
    if budget is None and meter is None:
        return model
    from models.llm.metered import MeteredModel

    return MeteredModel(model, budget=budget, meter=meter)


def _model(address: str, record: str | None = None) -> LanguageModel:
    form, sign, rest = address.partition(":")
    if record is not None and form != "cassette":
        raise ConfigError(f"only a cassette records; '{address}' is none, leave `record` out")
    if not rest and sign:
        raise ModelNotFoundError(f"'{address}' names no model; {_known_forms()}")
    if form == "scripted":
        from models.llm.script_file import scripted_model

        return scripted_model(Path(rest))
    if form == "cassette":
        from models.llm.cassette import CassetteModel

        inner = _model(record) if record is not None else None
        return CassetteModel(Path(rest), inner, mode="auto" if inner else "replay")
    if form in ("http", "https"):
        return _http(address)
    if form == "local":
        return _local(rest)
    if form == "router":
        return _router(Path(rest))
    if form == "text":
        from models.llm.text_tools import TextTools

        return TextTools(_model(rest))
    if form == "litellm" or (not sign and "/" in address) or "/" in form:
        from models.llm.providers import LiteLlmModel, check_provider

        if form == "litellm":
            return LiteLlmModel(rest)
        check_provider(address)
        return LiteLlmModel(address)
    if sign:
        raise unknown_name("form of a model's address", f"{form}:", FORMS, "(see docs/llm.md)")
    raise ModelNotFoundError(f"'{address}' is no address of a model; {_known_forms()}")


def _http(address: str) -> Model:
    from models.llm.http import HttpModel
    from models.llm.secrets import key_for

    url, name = urldefrag(address)
    if not name:
        raise ModelNotFoundError(
            f"'{url}' says no model; write {url}#MODEL with the name that the server knows"
        )
    return HttpModel(url, name, api_key=key_for(url))


def _local(name: str) -> LanguageModel:
    from models.settings import get_settings

    dotted = get_settings().llm_local
    module, _, function = dotted.partition(":")
    try:
        factory: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"local:{name} needs the factory {dotted}, which cannot be loaded ({error}); set "
            "LOOM_LLM_LOCAL=module:function, or use another address"
        ) from None
    model = factory(name)
    if not isinstance(model, LanguageModel):
        raise ConfigError(
            f"the factory {dotted} made a {type(model).__name__}, which is no language model"
        )
    return model


def _router(file: Path) -> Model:
    import yaml

    from models.llm.router import RouterModel

    try:
        routes = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"router file {file} cannot be read ({error})") from None
    if not isinstance(routes, dict) or not all(_is_route(route) for route in routes.values()):
        raise ConfigError(
            f"router file {file} must map each purpose to a list of addresses, for example "
            "judge: [openai/gpt-4o, local:smollm2]"
        )
    # An address on two routes is one model: its circuit opens for both.
    made: dict[str, LanguageModel] = {}
    for address in (address for route in routes.values() for address in route):
        made.setdefault(address, _model(address))
    return RouterModel({str(key or ""): [made[a] for a in route] for key, route in routes.items()})


def _is_route(value: Any) -> bool:
    return bool(value) and isinstance(value, list) and all(isinstance(a, str) for a in value)


def _known_forms() -> str:
    return "known: " + ", ".join(FORMS)
