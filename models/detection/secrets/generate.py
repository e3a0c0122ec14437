"""Texts with planted credentials and with what only looks like one; made by a seed, for figures.

Values are drawn from the forms themselves, so they cannot show that a form is right; they show
that it is found where people write credentials. With the forms left out (`names` alone) they stand
for families that nobody has seen.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from re import _parser as sre  # type: ignore[attr-defined]
from typing import Any

from models.detection.secrets.rules import Rule

_PRINTABLE = string.ascii_letters + string.digits + "_-"
_MOST_REPEATS = 24


@dataclass(frozen=True)
class Planted:
    """A text and what it holds.

    Attributes:
        text: As somebody would write it.
        value: The credential; empty: there is none.
        family: Category of the credential, or of what it only looks like.
        context: How it is written.
    """

    text: str
    value: str
    family: str
    context: str


def drawn(rule: Rule, chance: random.Random) -> str:
    """Return a credential of a form; its random parts are random."""
    while True:
        match rule.check:
            case "jwt":
                value = _jwt(chance)
            case "basic":
                pair = f"{_word(chance)}:{_letters(chance, 14)}"
                value = base64.b64encode(pair.encode()).decode()
            case "pem":
                value = _pem(chance)
            case _:
                value = _from_form(rule, chance)
        if rule.holds(value):
            return value


def contexts(name: str, value: str, chance: random.Random) -> dict[str, str]:
    """Write a credential in the ways in which people do, under a name of its own."""
    snake = f"{name}_{chance.choice(('api_key', 'token', 'secret', 'secret_key', 'access_key'))}"
    camel = name + "".join(part.title() for part in snake.removeprefix(name).split("_"))
    quoted = json.dumps(value)
    return {
        "env": f"PORT=8080\n{snake.upper()}={value}\nDEBUG=false\n",
        "export": f"cd app && export {snake.upper()}='{value}' && make run",
        "json": '{"region": "eu-1", "' + camel + f'": {quoted}, "retries": 3}}',
        "nested json": json.dumps({"body": json.dumps({snake: value, "n": 1})}),
        "yaml": f"service:\n  host: db.internal\n  {snake}: {value}\n  replicas: 2\n",
        "toml": f'[service]\n{snake} = "{value}"\ntimeout = 30\n',
        "python": f'client = Client(region="eu", {snake}="{value}", timeout=3)\n',
        "javascript": f"const config = {{ {camel}: '{value}', retries: 3 }};\n",
        "header": f"curl -sS -H 'X-{name.title()}-Api-Key: {value}' https://api.{name}.io/v1/x",
        "bearer": f'curl -H "Authorization: Bearer {value}" https://api.{name}.io/v1/items',
        "option": f"{name}ctl login --{snake.replace('_', '-')} {value} --region eu",
        "url": f"https://api.{name}.io/v1/items?limit=5&{snake}={value}&page=2",
        "log": f"2026-03-01T10:11:12Z INFO request done {snake}={value} status=200",
        "prompt": f"Please deploy it. The {snake.replace('_', ' ')} is '{value}', use it once.",
        "xml": f"<server><{snake}>{value}</{snake}><port>80</port></server>",
    }


def planted(rules: Sequence[Rule], seed: int, each: int) -> Iterator[Planted]:
    """Give texts with credentials: `each` values of each form, each in one way of writing."""
    chance = random.Random(seed)
    for rule in rules:
        for _ in range(each):
            value = drawn(rule, chance)
            if "\n" in value or " " in value or '"' in value:
                yield Planted(f"key material:\n{value}\n", value, rule.id, "as it is")
                continue
            if not any(f" {value} "[a:b] == value for a, b in rule.find(f" {value} ")):
                yield Planted(_with_words(rule, value, chance), value, rule.id, "its own words")
                continue
            ways = contexts(_word(chance), value, chance)
            way = chance.choice(sorted(ways))
            yield Planted(ways[way], value, rule.id, way)


def unseen(seed: int, count: int) -> Iterator[Planted]:
    """Give texts with credentials of issuers that no form knows."""
    chance = random.Random(seed)
    for number in range(count):
        family = f"issuer {number % 40}"
        shape = random.Random(f"{seed} {family}")
        alphabet = shape.choice(
            (string.ascii_letters + string.digits, string.hexdigits[:16],
             string.ascii_lowercase + string.digits, string.ascii_letters + string.digits + "-_",
             string.ascii_uppercase + string.digits, string.ascii_letters + string.digits + "+/")
        )  # fmt: skip
        prefix = shape.choice(("", "", _word(shape)[:4] + "_", _word(shape)[:3] + "-", "key-"))
        size = shape.choice((20, 24, 32, 32, 40, 48, 64))
        value = prefix + "".join(chance.choice(alphabet) for _ in range(size))
        ways = contexts(_word(chance), value, chance)
        way = chance.choice(sorted(ways))
        yield Planted(ways[way], value, family, way)


def lookalikes(seed: int, count: int) -> Iterator[Planted]:
    """Give texts without a credential that look as if they had one."""
    chance = random.Random(seed)
    makers = sorted(_LOOKALIKES)
    for number in range(count):
        kind = makers[number % len(makers)]
        yield Planted(_LOOKALIKES[kind](chance), "", kind, "none")


def _hex(chance: random.Random, size: int) -> str:
    return "".join(chance.choice("0123456789abcdef") for _ in range(size))


def _letters(chance: random.Random, size: int) -> str:
    return "".join(chance.choice(string.ascii_letters + string.digits) for _ in range(size))


def _uuid(chance: random.Random) -> str:
    raw = _hex(chance, 32)
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


_WORDS = (
    "billing", "orders", "atlas", "harbor", "pigeon", "quartz", "lantern", "meadow", "cobalt",
    "falcon", "ember", "willow", "granite", "saffron", "tundra", "velvet", "copper", "marble",
)  # fmt: skip


def _word(chance: random.Random) -> str:
    return chance.choice(_WORDS)


_LOOKALIKES: dict[str, Any] = {
    "commit": lambda c: f"git checkout {_hex(c, 40)} -- src/{_word(c)}.py",
    "digest": lambda c: f'"integrity": "sha512-{_letters(c, 86)}==", "token_type": "Bearer"',
    "sha256": lambda c: f"{_word(c)}.tar.gz sha256:{_hex(c, 64)}",
    "etag": lambda c: f'ETag: "{_hex(c, 32)}"\nX-Request-Id: {_uuid(c)}',
    "uuid": lambda c: f'{{"id": "{_uuid(c)}", "token_id": "{_uuid(c)}"}}',
    "reference": lambda c: f"{_word(c).upper()}_API_KEY=${{{_word(c).upper()}_API_KEY}}",
    "environment": lambda c: f'api_key = os.environ["{_word(c).upper()}_API_KEY"]',
    "vault": lambda c: f"password: {{{{ vault.{_word(c)}.password }}}}",
    "placeholder": lambda c: f"{_word(c)}_token = '<your-{_word(c)}-token>'",
    "documented": lambda c: 'aws_access_key_id = "AKIAIOSFODNN7EXAMPLE"',
    "code": lambda c: f"token = self.{_word(c)}_tokenizer.next_token(stream, {c.randrange(9)})",
    "call": lambda c: f"password = get_secret('{_word(c)}/{_word(c)}')",
    "path": lambda c: f"private_key = /etc/{_word(c)}/keys/{_word(c)}_ed25519.pem",
    "type": lambda c: f"secret: Optional[Secret{_word(c).title()}Provider] = None",
    "prose": lambda c: (
        f"The password of the {_word(c)} service is rotated each {_word(c)} quarter."
    ),
    "image": lambda c: f"data:image/png;base64,{base64.b64encode(c.randbytes(120)).decode()}",
    "public key": lambda c: f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5{_letters(c, 48)} me@{_word(c)}",
    "colour": lambda c: f".{_word(c)} {{ color: #{_hex(c, 6)}; margin: {c.randrange(99)}px }}",
    "version": lambda c: f"{_word(c)}=={c.randrange(9)}.{c.randrange(30)}.{c.randrange(9)}",
    "parameters": lambda c: (
        f'"max_tokens": {c.randrange(9999)}, "token_count": {c.randrange(9999)}'
    ),
    "default login": lambda c: "postgresql://postgres:postgres@localhost:5432/app",
    "csrf": lambda c: f'<input name="csrf_token" value="{_letters(c, 40)}">',
    "minified": lambda c: f"function {_letters(c, 2)}(e,t){{return e.{_letters(c, 3)}(t).token}}",
    "address": lambda c: f"token_url = 'https://{_word(c)}.io/oauth2/{_hex(c, 16)}/token'",
}


def _jwt(chance: random.Random) -> str:
    def part(values: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")

    head = part({"alg": chance.choice(("HS256", "RS256")), "typ": "JWT"})
    body = part({"sub": _letters(chance, 12), "iat": 1_700_000_000 + chance.randrange(10**6)})
    return f"{head}.{body}.{_letters(chance, 43)}"


def _pem(chance: random.Random) -> str:
    raw = base64.b64encode(chance.randbytes(300)).decode()
    lines = "\n".join(raw[at : at + 64] for at in range(0, len(raw), 64))
    kind = chance.choice(("", "RSA ", "EC ", "OPENSSH "))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


def _with_words(rule: Rule, value: str, chance: random.Random) -> str:
    """Write a credential whose form needs words around it, as the form itself says."""
    while True:
        text = _text(sre.parse(rule.pattern), chance, value)
        if value in text and any(text[a:b] == value for a, b in rule.find(text)):
            return f"config: {text}\n"


def _from_form(rule: Rule, chance: random.Random) -> str:
    while True:
        text = _text(sre.parse(rule.pattern), chance, None)
        spans = rule.find(text)
        if spans:
            return text[spans[0][0] : spans[0][1]]


def _text(parsed: Any, chance: random.Random, group: str | None) -> str:
    """Draw a text that a pattern matches; its first group is `group`, if that is given."""
    parts: list[str] = []
    for code, argument in parsed:
        name = str(code)
        if name == "LITERAL":
            parts.append(chr(argument))
        elif name == "NOT_LITERAL":
            parts.append(chance.choice([c for c in _PRINTABLE if c != chr(argument)]))
        elif name == "ANY":
            parts.append(chance.choice(string.ascii_lowercase + "_ "))
        elif name == "IN":
            parts.append(chance.choice(_members(argument)))
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, inner = argument
            is_filler = str(inner[0][0]) == "ANY" or "SPACE" in str(inner)
            most = min(int(high), max(int(low), 1) + (2 if is_filler else _MOST_REPEATS))
            times = chance.randint(int(low), max(int(low), most))
            parts += [_text(inner, chance, group) for _ in range(times)]
        elif name == "SUBPATTERN":
            number, _, _, inner = argument
            is_value = number == 1 and group is not None
            parts.append(group if is_value and group else _text(inner, chance, group))
        elif name == "BRANCH":
            parts.append(_text(chance.choice(argument[1]), chance, group))
    return "".join(parts)


def _members(items: Sequence[Any]) -> list[str]:
    found: list[str] = []
    is_negated = False
    for code, argument in items:
        name = str(code)
        if name == "NEGATE":
            is_negated = True
        elif name == "LITERAL":
            found.append(chr(argument))
        elif name == "RANGE":
            found += [chr(number) for number in range(argument[0], argument[1] + 1)]
        elif name == "CATEGORY":
            found += _CATEGORIES[str(argument)]
    if is_negated:
        return [char for char in (*_PRINTABLE, " ", ";", "/") if char not in found]
    return found


_CATEGORIES = {
    "CATEGORY_WORD": [*string.ascii_letters, *string.digits, "_"],
    "CATEGORY_DIGIT": [*string.digits],
    "CATEGORY_SPACE": [" "],
    "CATEGORY_NOT_SPACE": [*string.ascii_letters, *string.digits],
}
