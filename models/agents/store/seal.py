"""Encryption at rest: what is written to a conversation's file can be read with its key only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import TYPE_CHECKING

from models.agents.errors import CorruptLogError, SealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"\x00loom\x01"
"""Begins every sealed value; JSON never begins so."""

_KEY_BYTES = 32
_NONCE_BYTES = 12


def new_key() -> str:
    """Return a random key: 32 bytes, as URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


class Seal:
    """Seals bytes with AES-256-GCM.

    Args:
        key: As `new_key` returns.

    Raises:
        SealError: The key is none.
    """

    def __init__(self, key: str) -> None:
        try:
            raw = base64.urlsafe_b64decode(key)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != _KEY_BYTES:
            raise SealError(
                "the key of conversations (`key=` or LOOM_AGENTS_STORE_KEY) must be 32 bytes as "
                f"URL-safe base64, got {len(key)} characters that are not; "
                "models.agents.store.new_key() makes one"
            )
        self._cipher = _aes(hashlib.sha256(b"cipher" + raw).digest())
        self._names = hashlib.sha256(b"names" + raw).digest()

    def shut(self, plain: bytes) -> bytes:
        """Seal bytes."""
        nonce = os.urandom(_NONCE_BYTES)
        return MAGIC + nonce + self._cipher.encrypt(nonce, plain, MAGIC)

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            CorruptLogError: It was changed, or sealed with another key.
        """
        from cryptography.exceptions import InvalidTag

        if not is_sealed(sealed):
            raise CorruptLogError("a value that should be sealed is not")
        start = len(MAGIC)
        nonce, rest = sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, MAGIC)
        except (InvalidTag, ValueError):
            raise CorruptLogError("a sealed value is not as it was written") from None

    def name(self, plain: bytes) -> bytes:
        """Return a name for equal bytes that says nothing to who has no key."""
        return hmac.digest(self._names, plain, "sha256")


def is_sealed(value: bytes) -> bool:
    """Whether bytes are sealed."""
    return value[: len(MAGIC)] == MAGIC


def check_key(seal: Seal | None, value: bytes, where: str) -> None:
    """Make sure that a file and a key belong together.

    Args:
        seal: Of the key that was given.
        value: Anything that the file holds sealed, if it is.
        where: The file, for errors.

    Raises:
        SealError: A key is missing, wrong, or given for a file that has none.
    """
    if seal is None:
        if is_sealed(value):
            raise SealError(
                f"{where} is encrypted; open its store with the key (`key=`; the command and the "
                "server: LOOM_AGENTS_STORE_KEY)"
            )
        return
    if not is_sealed(value):
        raise SealError(f"{where} is not encrypted; open its store without a key")
    try:
        seal.open(value)
    except CorruptLogError:
        raise SealError(
            f"{where} is encrypted with another key; give the one of its store (`key=`; the "
            "command and the server: LOOM_AGENTS_STORE_KEY)"
        ) from None


def _aes(key: bytes) -> AESGCM:
    # Not at import: most conversations have no key.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
