"""A second model that shortens long logs, for the session's SUMMARIZE state."""

from __future__ import annotations

from models.errors import ConfigError
from models.kernels.prompts.render import render
from models.kernels.propose.asking import Asker
from models.kernels.propose.dialog import Use
from models.llm import user


class LogSummariser:
    """Shortens a log; goes into `Stages.summarise`, which a session switches off by name.

    Args:
        asker: The second model.
        most_words: Words that a summary may have.
    """

    def __init__(self, asker: Asker, most_words: int = 300) -> None:
        if most_words < 20:
            raise ConfigError(f"most_words is {most_words}; a summary needs at least 20")
        self._asker = asker
        self._most_words = most_words
        self.use = Use()
        """What its calls took."""

    def __call__(self, text: str) -> str:
        """Return the summary: the error word for word, its place, the calls that lead there.

        A summary that says nothing, or more than the log, is not believed: the log is returned.

        Raises:
            LanguageModelError: The model did not answer.
        """
        asked = render("summarise", text=text, most_words=self._most_words)
        answer = self._asker.ask([user(asked)])
        self.use.add(answer)
        self.use.calls += 1
        said = answer.text.strip()
        return said if 0 < len(said) < len(text) else text
