"""Prevention inside our own agents: a call that carries a credential is rated before it runs.

Named in an agent as `analyzer: models.detection.guard:SecretGuard`, alone or beside others
(`models.detection.guard:rails` takes the rails over shell commands along).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from models.agents.security.base import Ensemble, Risk
from models.agents.security.shell import ShellRails
from models.detection.secrets import SecretScanner
from models.detection.secrets.rules import rules_digest
from models.llm import Message, ToolCall


@lru_cache(maxsize=1)
def _scanner() -> SecretScanner:
    return SecretScanner()


class SecretGuard:
    """Rates calls by the credentials in their arguments.

    high: one is certain. medium: something is assigned like one. Of any other call it has no
    opinion. Secrets that an agent is given by name never stand in its calls.
    """

    def rate(self, call: ToolCall, history: Sequence[Message]) -> Risk | None:
        """Rate a call; its history does not matter."""
        found = _scanner().scan(call.arguments)
        if not found:
            return None
        certain = [finding for finding in found if finding.certainty == "certain"]
        shown = certain or found
        reasons = tuple(
            dict.fromkeys(
                f"carries a credential: {f.rule} ({f.provider}) {f.preview}" for f in shown
            )
        )
        evidence = {"secrets": [f.digest for f in shown], "rules": rules_digest()}
        return Risk("high" if certain else "medium", reasons, evidence)


def rails() -> Ensemble:
    """Return the guard beside the rails over shell commands."""
    return Ensemble((ShellRails(), SecretGuard()))
