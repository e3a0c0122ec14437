"""Values that are assigned like a credential, whoever issued them."""

from __future__ import annotations

import re

import re2

from models.detection.secrets.checks import is_password, is_placeholder, is_random

KEYS = (
    *("secret", "Secret", "SECRET", "token", "Token", "TOKEN", "passw", "Passw", "PASSW"),
    *("pwd", "Pwd", "PWD", "api_key", "apikey", "api-key", "apiKey", "ApiKey", "API_KEY", "APIKEY"),
    *("Api-Key", "API-Key", "API key", "api key", "access_key", "accessKey", "ACCESS_KEY"),
    *("AccessKey", "access-key", "access key", "Access key", "Access-Key", "ApiToken"),
    *("credential", "CREDENTIAL", "private_key", "privateKey", "PRIVATE_KEY", "auth_key"),
    *("authKey", "AUTH_KEY", "AuthKey", "signing_key", "SIGNING_KEY", "signingKey"),
    *("encryption_key", "ENCRYPTION_KEY", "encryptionKey", "webhook_key", "license_key"),
    *("LICENSE_KEY", "Authorization", "authorization", "AUTHORIZATION"),
)
"""Beginnings of names whose values may be credentials."""

_NAME = (
    r"secret(?:[_ -]?key)?|token|passw(?:or)?d|passwd|pwd|api[_ -]?key|access[_ -]?key|"
    r"credentials?|private[_-]?key|auth[_-]?key|signing[_-]?key|encryption[_-]?key|"
    r"webhook[_-]?key|license[_-]?key|authorization"
)
_VALUE = r"[\w+/~.!@#%^&*$=:-]{8,256}"
_ASSIGNED = re2.compile(
    rf"(?i)((?:--)?[\w.\[\]-]{{0,60}}(?:{_NAME})[\w-]{{0,30}})"  # a name
    r"[\"'`\\]{0,2}\]?\)?"
    r"(?:"
    # An assignment, and a value with or without quotes.
    r"\s{0,8}(?::=|=>|==|[:=>])\s{0,8}(?:(?:bearer|token|bot)\s{1,2})?"
    rf"(?:\\?[\"'`]([^\"'`\s\\]{{8,256}})\\?[\"'`]|({_VALUE}))"
    # Arguments and sentences: in quotes, or after an option of a command.
    r"|(?:\s{0,8},\s{0,8}|\s{1,3}(?:is\s{1,3})?)[\"'`]([^\"'`\s\\]{8,256})[\"'`]"
    rf"|\s{{1,3}}(?:is\s{{1,3}})?({_VALUE}))"
)
_FREE = 5
"""The group of a value without any sign before it."""

_OTHERWISE = re.compile(
    r"hash|digest|checksum|sha\d|md5|etag|fingerprint|public|tokeniz|tokens$|token_?(?:type|count|"
    r"url|uri|id_|name|len|limit)|_(?:id|name|url|uri|path|file|type|length|size|field|label|"
    r"hint|prefix|pattern|regex|class|version|expiry|expires|ttl|arn)$|author\b|csrf|xsrf|"
    r"(?:key|token|secret)_?id$|token_?data$|(?:page|next|continuation)[_-]?token|token\d|"
    r"secretary|pad_token|eos_token|bos_token|unk_token|mask_token|sep_token|cls_token",
    re.IGNORECASE,
)
"""Names of what is public, derived, or about a credential."""

_CODE = re.compile(
    r"^(?:[a-z_][\w]*(?:\.[\w]+)+|[A-Za-z_][\w]*\(.*|[~.].*|[a-z]+://.*|[A-Z][A-Za-z]+|"
    r"[A-Z_]+|[a-z_-]+|\w+\[.*|os\..*|process\..*|self\..*|.*\(\).*|@.*|#.*|&\w+|\$\w*.*|"
    r"[\w.-]+\.(?:py|js|ts|json|ya?ml|toml|txt|md|go|rs|java|pem|key|crt|html?|com|org|net|io)|"
    r"(?:sha(?:256|512|1)|md5)[:-].*)$"
)
_NEXT = re.compile(r"&(?=[\w.-]+=)")
"""What comes after a value in an address."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PASSWORD_NAME = re.compile(r"passw|pwd|passwd", re.IGNORECASE)
_STRONG = re.compile(r"secret|api[_ -]?key|access[_-]?key|private|auth[_-]?key", re.IGNORECASE)


def assigned(text: str) -> list[tuple[int, int, str]]:
    """Return where values lie that are assigned to the name of a credential, with the name."""
    found = []
    for match in _ASSIGNED.finditer(text):
        name = match.group(1)
        group = next(n for n in range(2, _FREE + 1) if match.group(n) is not None)
        if _OTHERWISE.search(name) or (group == _FREE and not name.startswith("--")):
            continue
        first = match.span(group)[0]
        raw = match.group(group)
        if group in (3, _FREE):
            raw = _NEXT.split(raw, maxsplit=1)[0]
        value = raw.rstrip(".,;:)")
        if value and not raw.endswith("...") and _is_one(name, value, group in (2, 4)):
            found.append((first, first + len(value), name))
    return found


def _is_path(value: str) -> bool:
    return value.startswith("/") and not any(is_random(part) for part in value.split("/"))


def _is_one(name: str, value: str, is_quoted: bool) -> bool:
    if is_placeholder(value) or _CODE.match(value) or _is_path(value):
        return False
    if _UUID.fullmatch(value):
        return bool(_STRONG.search(name))
    if _PASSWORD_NAME.search(name):
        mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
        odd = any(not c.isalnum() and c not in "_-./" for c in value)
        strong = is_random(value) or (is_quoted and mixed and odd and len(value) >= 8)
        return strong and is_password(value)
    return len(value) >= 12 and is_random(value)
