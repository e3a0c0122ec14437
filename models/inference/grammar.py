"""Outputs that fit a JSON schema, a regular expression or a grammar: masks over the vocabulary."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import torch

from models.errors import ConfigError
from models.inference.requests import Sampling
from models.inference.tokenizer import Tokenizer

if TYPE_CHECKING:
    import xgrammar

# Time and line of a source file in front of what the compiler says: other bytes every time.
_PLACE = re.compile(r"^\[\d\d:\d\d:\d\d\] \S+:\d+: ")


class GrammarError(ConfigError):
    """A schema, regular expression or grammar that does not compile."""


class GrammarState:
    """How far one output has come in its grammar."""

    def __init__(self, matcher: xgrammar.GrammarMatcher, vocabulary: int) -> None:
        import xgrammar

        self._matcher, self._vocabulary = matcher, vocabulary
        self._mask = xgrammar.allocate_token_bitmask(1, vocabulary)

    @property
    def is_complete(self) -> bool:
        """Whether the output has ended, its stop token included."""
        return bool(self._matcher.is_terminated())

    @property
    def is_stuck(self) -> bool:
        """Whether no token at all may come next."""
        return self._matcher.fill_next_token_bitmask(self._mask) and not bool(self._mask.any())

    def forbid(self, logits: torch.Tensor) -> None:
        """Set what must not come next to -inf, in place; logits of shape (vocabulary,)."""
        import xgrammar

        if self._matcher.fill_next_token_bitmask(self._mask):
            row = logits[: self._vocabulary].unsqueeze(0)
            xgrammar.apply_token_bitmask_inplace(row, self._mask, backend="cpu")

    def accept(self, token: int) -> None:
        """Go on by one token.

        Raises:
            ValueError: The grammar does not allow it.
        """
        if not self._matcher.accept_token(token):
            raise ValueError(f"token {token} is not allowed at this place of the grammar")

    def fork(self) -> GrammarState:
        """Return a state of its own at the same place."""
        return GrammarState(self._matcher.fork(), self._vocabulary)


class Grammars:
    """Compiles each grammar once for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, eos_ids: tuple[int, ...]) -> None:
        """Take a tokenizer; nothing is compiled or imported yet.

        Args:
            tokenizer: Text of tokens.
            vocabulary: Logits per row; some models have more than the tokenizer has tokens.
            eos_ids: Tokens that end an output; only they may follow a complete one.
        """
        self._tokenizer, self._vocabulary, self._eos_ids = tokenizer, vocabulary, eos_ids
        self._compiler: xgrammar.GrammarCompiler | None = None
        self._compiled: dict[tuple[str, str], Any] = {}

    def check(self, sampling: Sampling) -> None:
        """Compile what a request asks for, if it asks for anything.

        Raises:
            GrammarError: It does not compile, or the request names two grammars.
        """
        asked = _asked(sampling)
        if asked is not None and asked not in self._compiled:
            self._compiled[asked] = self._compile(*asked)

    def start(self, sampling: Sampling) -> GrammarState | None:
        """Return the state of an empty output; None if the request has no grammar.

        Raises:
            GrammarError: See `check`.
        """
        import xgrammar

        asked = _asked(sampling)
        if asked is None:
            return None
        self.check(sampling)
        return GrammarState(xgrammar.GrammarMatcher(self._compiled[asked]), self._vocabulary)

    def _compile(self, kind: str, text: str) -> Any:
        compiler = self._compiler = self._compiler or self._new_compiler()
        try:
            if kind == "schema":
                json.loads(text)
                # Free white space would let a small model fill its whole answer with it.
                return compiler.compile_json_schema(text, any_whitespace=False)
            if kind == "regex":
                return compiler.compile_regex(text)
            return compiler.compile_grammar(text)
        except Exception as error:  # xgrammar raises RuntimeError and others from C++
            what = str(error).strip().splitlines()
            said = _PLACE.sub("", what[-1]) if what else repr(error)
            raise GrammarError(
                f"the {kind} of a request does not compile: {said}; mend it or leave it out"
            ) from None

    def _new_compiler(self) -> xgrammar.GrammarCompiler:
        # Its import would fetch and compile kernels for accelerators that nobody asked for.
        os.environ.setdefault("XGRAMMAR_TOKEN_BITMASK_TRITON", "0")
        import xgrammar

        backend = self._tokenizer.backend
        words = [""] * self._vocabulary
        for token, number in backend.get_vocab(with_added_tokens=True).items():
            if number < self._vocabulary:
                words[number] = token
        # A control token is no text, however it is spelt; without a word it is never allowed.
        for number, added in backend.get_added_tokens_decoder().items():
            if added.special and number < self._vocabulary:
                words[number] = ""
        info = xgrammar.TokenizerInfo(
            words,
            _kind(json.loads(backend.to_str())),
            vocab_size=self._vocabulary,
            stop_token_ids=list(self._eos_ids),
        )
        return xgrammar.GrammarCompiler(info, max_threads=1)


def is_constrained(sampling: Sampling) -> bool:
    """Whether a request asks for a grammar."""
    return not (sampling.schema is None and sampling.regex is None and sampling.grammar is None)


def _asked(sampling: Sampling) -> tuple[str, str] | None:
    """Return kind and text of a request's grammar."""
    found = [
        (kind, text)
        for kind in ("schema", "regex", "grammar")
        if (text := getattr(sampling, kind)) is not None
    ]
    if len(found) > 1:
        raise GrammarError(
            f"a request may have one of schema, regex and grammar, got {len(found)}; keep one"
        )
    return found[0] if found else None


def _kind(tokenizer: dict[str, Any]) -> xgrammar.VocabType:
    """How the tokenizer spells bytes, by its decoder."""
    from xgrammar import VocabType

    decoder = json.dumps(tokenizer.get("decoder"))
    if '"ByteLevel"' in decoder:
        return VocabType.BYTE_LEVEL
    return VocabType.BYTE_FALLBACK if '"ByteFallback"' in decoder else VocabType.RAW
