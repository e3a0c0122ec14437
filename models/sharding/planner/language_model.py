"""A language model proposes; what it says is checked, ranked by the cost model, or left out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from models.llm import (
    Budget,
    LanguageModel,
    Meter,
    MeteredModel,
    Options,
    Reply,
    Request,
    generate_value,
)
from models.llm.blocking import run
from models.llm.bulk import BulkModel
from models.llm.errors import LanguageModelError, MalformedReplyError, ReplyTimeoutError
from models.sharding.job import Job
from models.sharding.knowledge.guard import clean_text
from models.sharding.planner.analytic import AnalyticProposer
from models.sharding.planner.base import PlanContext, Planned
from models.sharding.planner.candidates import MOST, SCHEMA, Checker
from models.sharding.planner.merge import merge
from models.sharding.planner.prompt import Prompt, build_prompt
from models.sharding.propose import propose

_LONGEST_REPLY = 20_000
"""Characters of a reply that are parsed: three layouts with their reasons take a tenth of it."""


class _Answer(NamedTuple):
    layouts: tuple[dict[str, Any], ...]
    calls: int
    tokens: int
    failure: str
    """Why there are no layouts; empty: there are."""


class _Brief(MeteredModel):
    """A metered model whose long replies are refused before anybody parses them."""

    async def _generate(self, request: Request) -> Reply:
        reply = await super()._generate(request)
        if len(reply.text) > _LONGEST_REPLY:
            raise MalformedReplyError(
                f"{self.name} answered with {len(reply.text):,} characters, at most "
                f"{_LONGEST_REPLY:,} are read; lower max_tokens"
            )
        return reply


class LanguageModelProposer:
    """Asks a language model for layouts beside those of the cost model.

    Its layouts pass the same checks and are merged as `merge` says. Whatever goes wrong, the
    answer is the analytic one with the reason.

    Args:
        model: Any model of `models.llm`.
        budget: Limits of all its calls; None: none but `timeout_s` and `max_tokens`.
        timeout_s: Longest wait for an answer, repairs included.
        max_tokens: Longest reply.
        repairs: Further tries after an answer that does not fit the schema.
        anonymous: Leave the names of models out of what it is told.
        shortlist: Analytic layouts that it is shown.
    """

    name = "language model"

    def __init__(
        self,
        model: LanguageModel,
        *,
        budget: Budget | None = None,
        timeout_s: float = 60.0,
        max_tokens: int = 1500,
        repairs: int = 1,
        anonymous: bool = False,
        shortlist: int = 8,
    ) -> None:
        self._model = model
        self._budget = budget
        self._timeout_s = timeout_s
        self._options = Options(temperature=0, max_tokens=max_tokens, schema_name="layouts")
        self._repairs = repairs
        self._anonymous = anonymous
        self._shortlist = shortlist

    def propose(self, job: Job, context: PlanContext) -> Planned:
        """Return checked proposals, in part the language model's.

        Raises:
            ConfigError: `context.count` is below 1.
        """
        return self.propose_all([(job, context)])[0]

    def propose_all(self, asked: Sequence[tuple[Job, PlanContext]]) -> list[Planned]:
        """Answer many jobs; the model is asked about all at once, in batches where it plans them.

        Raises:
            ConfigError: A `count` is below 1.
        """
        plans = [
            replace(AnalyticProposer().propose(job, context), proposer=self.name)
            for job, context in asked
        ]
        prompts = {
            place: self._prompt(*asked[place])
            for place, plan in enumerate(plans)
            if plan.infeasible is None
        }
        answers = run(self._ask_all([*prompts.values()])) if prompts else []
        found = dict(zip(prompts, answers, strict=True))
        return [
            self._joined(*asked[place], plan, prompts[place], found[place])
            if plan.infeasible is None
            else replace(plan, fallback_reason=f"nothing to ask: {plan.infeasible.reason}")
            for place, plan in enumerate(plans)
        ]

    def _prompt(self, job: Job, context: PlanContext) -> Prompt:
        most = max(self._shortlist, context.count)
        shortlist = propose(job, context.constants, most, context.prior)
        return build_prompt(job, context, shortlist, MOST, self._anonymous)

    @staticmethod
    def _joined(
        job: Job, context: PlanContext, analytic: Planned, prompt: Prompt, answer: _Answer
    ) -> Planned:
        analytic = replace(
            analytic, withheld=prompt.withheld, calls=answer.calls, tokens=answer.tokens
        )
        if answer.failure:
            return replace(analytic, fallback_reason=answer.failure)
        is_sure = analytic.proposals[0].memory_bytes.high <= job.place.chip.hbm_bytes
        checker = Checker(job, context, is_sure)
        return merge(
            analytic, [checker.check(one) for one in answer.layouts], checker, prompt.shown
        )

    async def _ask_all(self, prompts: Sequence[Prompt]) -> list[_Answer]:
        model = self._model if len(prompts) == 1 else BulkModel(self._model)
        return await asyncio.gather(*(self._ask(model, prompt) for prompt in prompts))

    async def _ask(self, asked: LanguageModel, prompt: Prompt) -> _Answer:
        """Return the layouts that the model names, or why there are none.

        Whatever a model or its client raises, the job is answered: so all is caught here.
        """
        meter = Meter()
        model = _Brief(asked, meter=meter, budget=self._budget)
        try:
            value, failure = await self._wait(model, prompt), ""
        except LanguageModelError as error:
            failure = f"{type(error).__name__}: {clean_text(str(error), 300)}"
        except Exception as error:
            failure = f"unexpected {type(error).__name__}: {clean_text(str(error), 300)}"
        layouts = () if failure else tuple(value["layouts"])
        total = meter.total()
        tokens = total.usage.prompt_tokens + total.usage.completion_tokens
        return _Answer(layouts, total.calls, tokens, failure)

    async def _wait(self, model: LanguageModel, prompt: Prompt) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await generate_value(
                    model, prompt.request, SCHEMA, self._options, repairs=self._repairs
                )
        except TimeoutError:
            raise ReplyTimeoutError(
                f"{model.name} gave no layouts in {self._timeout_s:g} s; allow more time"
            ) from None
        return found.value
