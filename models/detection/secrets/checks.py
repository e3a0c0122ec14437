"""What a form alone does not say: whether a value is random, decodes, or only stands for one."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping

_STANDS_FOR_ONE = re.compile(
    r"example|sample|dummy|placeholder|change.?me|redacted|replace|your[_-]?|xxxx|\*\*\*\*|"
    r"\.\.\.|<[a-z_ -]+>|\$\{|\{\{|%\(|%s|fake|foobar|1234567890|abcdefgh|00000000|deadbeef|"
    r"not[_-]?a[_-]?real|insert[_-]|todo|aabbcc",
    re.IGNORECASE,
)
_PUBLISHED = frozenset(
    (
        "s6BhdRkqt3:gX1fBat3bV",  # RFC 6749
        "Aladdin:open sesame",  # RFC 7617
        "test:123£",  # RFC 7617
    )
)
"""Logins that standards show, as they are before they are encoded."""

_PARTS = re.compile(r"[_.:-]")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_RUN = re.compile(r"(.)\1{7}")
_PASSWORDS = (
    "password passw0rd postgres mysql root admin secret guest user test pass prefect airflow "
    "mongo redis rabbitmq letmein qwerty welcome password1 password123 mypassword mysecret "
    "secretpassword userpassword dbpassword passwd pwd scott tiger hunter2 "
)
_USUAL_PASSWORDS = frozenset(_PASSWORDS.split())

_PAIRS = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io "
    "le ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho "
    "pe ec pr no ct us ac ot il tr ly nc et ut ss so rs un lo wa ge ie wh ee wi em ad ol rt "
    "po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev ld ry "
    "mp fe bl ab gh ty op wo sa ay ex ke fr oo av ag if ap gr od bo sp rd do uc bu ei ov by "
    "rm ep tt oc fa ef cu rn sc gi da yo cr cl du ga qu ue ff ba ey ls va um pp ua up lu go "
    "ht ru ug ds lt pi rc rr eg au ck ew mu br bi pt ak pu ui rg ib tl ny ki rk ys ob mm fu "
    "ph og ms ye ud mb ip ub oi rl gu dr hr cc tw ft wn nu af hu nn eo vo rv nf xp gn sm fl "
    "iz ok nl my gl aw ju oa eq sy sl ps jo lf nv je nk kn gs dy hy ze ks xt bs ik dd pk tc "
    "ah ee "
)
_USUAL_PAIRS = frozenset(_PAIRS.split())


def entropy(text: str) -> float:
    """Return Shannon's entropy of the characters, in bits per character."""
    if not text:
        return 0.0
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


def is_placeholder(value: str) -> bool:
    """Whether a value only shows where one goes."""
    return bool(_STANDS_FOR_ONE.search(value) or _RUN.search(value))


def is_random(value: str) -> bool:
    """Whether a value looks drawn by chance rather than written by people.

    Random letters pair up evenly; in words and names two thirds of the pairs are among the most
    usual 250 of 676.
    """
    return any(_is_random_part(part) for part in (value, *_PARTS.split(value)))


def _is_random_part(value: str) -> bool:
    size = len(value)
    digits = sum(char.isdigit() for char in value)
    letters = sum(char.isalpha() for char in value)
    if size < 10 or letters == 0 or entropy(value) < min(3.0, 0.72 * math.log2(size)):
        return False
    if _HEX.fullmatch(value):
        return size >= 16 and digits >= size / 4 and letters >= 2
    kinds = [_kind(char) for char in value]
    changes = sum(a != b for a, b in itertools.pairwise(kinds)) / (size - 1)
    lower = value.lower()
    pairs = [
        lower[n : n + 2] for n in range(size - 1) if lower[n].isalpha() and lower[n + 1].isalpha()
    ]
    usual = sum(pair in _USUAL_PAIRS for pair in pairs) / len(pairs) if pairs else 0.0
    if digits >= 2 and changes >= 0.2 and (usual < 0.75 or len(pairs) < 6):
        return True
    # Letters alone, or nearly: words are told by their pairs.
    return len(pairs) >= 12 and usual < 0.55 and changes >= 0.15


def _kind(char: str) -> int:
    if char.isdigit():
        return 0
    return 1 if char.islower() else 2 if char.isupper() else 3


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_jwt(value: str) -> bool:
    try:
        head = json.loads(_decoded(value.split(".")[0]))
    except ValueError:
        return False
    return isinstance(head, dict) and str(head.get("alg", "none")).lower() != "none"


def _is_basic(value: str) -> bool:
    try:
        login = _decoded(value).decode("utf-8")
    except UnicodeDecodeError:
        return False
    if login in _PUBLISHED:
        return False
    user, colon, password = login.partition(":")
    return bool(user and colon and user.isprintable()) and is_password(password)


def is_password(value: str) -> bool:
    """Whether a value can be a password that somebody uses, and none of documentation."""
    if len(value) < 6 or not value.isprintable() or is_placeholder(value):
        return False
    word = value.lower()
    if "secret" in word or "passw" in word:
        return False
    if word in _USUAL_PASSWORDS or word.strip("0123456789_!-") in _USUAL_PASSWORDS:
        return False
    return entropy(value) >= 2.3 and not word.startswith(("$", "{", "%", "<", "["))


def _is_pem(value: str) -> bool:
    body = re.sub(r"-----[^-]*-----|\\[nr]|[^A-Za-z0-9+/=]", "", value)
    return len(body) >= 64 and entropy(body) >= 4.2


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "jwt": _is_jwt,
    "basic": _is_basic,
    "password": is_password,
    "pem": _is_pem,
    "random": is_random,
}
"""Tests that a rule may name."""
