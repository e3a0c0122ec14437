"""Keys: found in the environment only, and struck out of everything that is kept or shown."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from models.errors import ConfigError

MARK = "[secret]"

_NAMES = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_|$)")
_SHAPES = re.compile(
    r"sk-[A-Za-z0-9_-]{16,}"
    r"|(?:ghp|gho|ghs|ghu|github_pat)_[A-Za-z0-9_]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|AKIA[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_-]{35}"
    r"|hf_[A-Za-z0-9]{30,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|(?<=Bearer )[A-Za-z0-9._~+/-]{16,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
    re.DOTALL,
)

# Shorter values are words such as "true" or "test": striking them out would garble texts.
_SHORTEST = 8

# Hosts whose key has a name of its own everywhere.
_USUAL = {"api.openai.com": "OPENAI_API_KEY"}


class ApiKey:
    """A key that no print, log, digest or pickle shows; `reveal` is for the request only."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key itself."""
        return self._value

    def __repr__(self) -> str:
        return "ApiKey('***')"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled; the other process reads its own environment")


def redact(text: str, *keys: ApiKey) -> str:
    """Strike out known keys, secrets of the environment, and what is shaped like a secret."""
    for value in {key.reveal() for key in keys if key} | _environment_secrets():
        text = text.replace(value, MARK)
    return _SHAPES.sub(MARK, text)


def _environment_secrets() -> set[str]:
    return {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST and _NAMES.search(name.upper())
    }


def key_for(url: str) -> ApiKey | None:
    """Return the key for an address: from the variable that the settings name for its host.

    A key goes to its own host only. `LOOM_LLM_KEY_VARIABLES` holds `host=VARIABLE` pairs with
    commas between; a host with a port is `host:port`.

    Raises:
        ConfigError: The pairs cannot be read, or the variable is not set.
    """
    from models.settings import get_settings

    names = dict(_USUAL)
    asked = get_settings().llm_key_variables
    for pair in filter(None, (item.strip() for item in asked.split(","))):
        host, sign, variable = pair.partition("=")
        if not sign or not variable.isidentifier():
            raise ConfigError(
                f"LOOM_LLM_KEY_VARIABLES holds host=VARIABLE pairs, found '{redact(pair)}'; it "
                "names the variable with the key, never the key itself"
            )
        names[host.strip().lower()] = variable
    place = urlsplit(url)
    variable = names.get(place.netloc.lower()) or names.get((place.hostname or "").lower()) or ""
    if not variable:
        return None
    value = os.environ.get(variable, "")
    if not value and place.hostname not in _USUAL:
        raise ConfigError(
            f"the key of {place.hostname} should be in the variable {variable}, which is not "
            "set; set it, or mend LOOM_LLM_KEY_VARIABLES"
        )
    return ApiKey(value) if value else None
