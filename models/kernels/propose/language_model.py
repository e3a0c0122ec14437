"""The second proposer: a language model, in the same loop and under the same rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from pydantic import Field

from models.config import Config
from models.errors import ConfigError
from models.kernels.candidate import KernelCandidate
from models.kernels.lint.signature import Signature
from models.kernels.operators import OperatorSpec, find_operator
from models.kernels.profiles import DeviceProfile
from models.kernels.prompts import PassingKernel, example_names, parse_answer, related_kernels
from models.kernels.prompts.quoting import MARK
from models.kernels.prompts.render import PROMPTS_VERSION, example, render
from models.kernels.propose.asking import Answer, Asker
from models.kernels.propose.base import DialogFullError, Packet
from models.kernels.propose.dialog import OperatorDialog, Use, feedback_text
from models.llm import Message, assistant, system, user
from models.llm.errors import ContextLengthError

_LEVELS = ((True, True, 3), (False, True, 3), (False, False, 3), (False, False, 1),
           (False, False, 0))  # fmt: skip
"""What a first prompt shows beside the task, from most to least: related kernels, documentation
of what the operator's cites, examples."""


class LanguageModelConfig(Config):
    """How dialogs are kept; the defaults are the paper's."""

    context_tokens: int = Field(131_072, ge=2_048)
    """Tokens of a dialog with its answer; above, a new dialog starts from the best candidate."""
    answer_tokens: int = Field(16_384, ge=256)
    """Tokens of the context that are kept free for an answer."""
    related: int = Field(2, ge=0)
    """Passing kernels of related operators that are shown."""


def judged_signature(spec: OperatorSpec) -> Signature:
    """Return the signature that the session's linter judges by; may import torch."""
    from models.kernels.session.signature import operator_signature

    return operator_signature(spec)


def with_documentation(spec: OperatorSpec) -> OperatorSpec:
    """Return the spec with its documentation and what that cites; imports torch."""
    from models.kernels.operators.documentation import documented

    return spec if spec.docstring else documented(spec)


class LanguageModelProposer:
    """Asks a model for each candidate and tells it what became of the last one.

    Every call gives a candidate: an answer without a module is one that no linter passes, so
    that calls are counted where they are made.

    Args:
        asker: Who answers: a model (`ModelAsker`), or an agent by an adapter.
        config: How dialogs are kept.
        passing: Gives the kernels that have passed until now, to show related ones.
        excluded: Operators never shown to the model, such as those held out.
        signature_of: Gives the signature that the wrapper must have.
        document: Fills in the documentation.
    """

    def __init__(
        self,
        asker: Asker,
        config: LanguageModelConfig | None = None,
        passing: Callable[[], Iterable[PassingKernel]] = tuple,
        excluded: Iterable[str] = (),
        signature_of: Callable[[OperatorSpec], Signature] = judged_signature,
        document: Callable[[OperatorSpec], OperatorSpec] = with_documentation,
    ) -> None:
        self._asker = asker
        self._config = config or LanguageModelConfig()
        self._passing = passing
        self._excluded = frozenset(excluded)
        self._signature_of = signature_of
        self._document = document
        self._dialogs: dict[str, OperatorDialog] = {}
        self._uses: dict[str, Use] = {}

    @property
    def name(self) -> str:
        """`llm:` and the model's name."""
        return f"llm:{self._asker.name}"

    def use(self, op_id: str) -> Use:
        """Return what an operator's calls took until now; live, not a copy."""
        return self._uses.setdefault(op_id, Use())

    def messages(self, op_id: str) -> tuple[Message, ...]:
        """Return the running dialog of an operator."""
        dialog = self._dialogs.get(op_id)
        return tuple(dialog.messages) if dialog else ()

    def propose(
        self, spec: OperatorSpec, profile: DeviceProfile, packet: Packet | None
    ) -> KernelCandidate:
        """Ask for a module; without a packet in a fresh dialog.

        A packet with `resume`, or about a candidate of another proposer, opens a dialog that
        shows its module. A call that fails leaves the dialog as it was.

        Raises:
            DialogFullError: The context does not hold the packet; ask again with `resume`.
            LanguageModelError: The model did not answer.
            ConfigError: The context does not hold the shortest prompt.
        """
        dialog = self._dialogs.get(spec.op_id)
        if packet is None or dialog is None:
            dialog = OperatorDialog(self._document(spec), self._signature_of(spec))
            self._dialogs[spec.op_id] = dialog
        messages = self._question(dialog, profile, packet)
        is_new = not (packet and dialog.goes_on(packet))
        try:
            answer = self._asker.ask(messages)
        except ContextLengthError as error:
            # The model's own count decides; a dialog of one question cannot be shortened here.
            if is_new:
                raise
            raise self._full(spec) from error
        use = self.use(spec.op_id)
        use.add(answer)
        use.calls += 1
        use.dialogs += is_new
        parent = None if packet is None else str(packet.machine.get("sha", "")) or None
        candidate = self._candidate(dialog, answer, parent)
        # What is kept of an answer is its module: prose and repetitions would fill the context.
        dialog.messages = [*messages, assistant(f"```python\n{candidate.source}```")]
        return candidate

    def _candidate(
        self, dialog: OperatorDialog, answer: Answer, parent: str | None
    ) -> KernelCandidate:
        parsed = parse_answer(answer.text, answer.was_cut)
        policy = {
            "signature": dialog.signature.schema, "prompts": PROMPTS_VERSION,
            "dialog": self.use(dialog.spec.op_id).dialogs, "notes": parsed.notes,
            "prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens,
            "cost_usd": answer.cost_usd,
        }  # fmt: skip
        candidate = KernelCandidate.of(
            dialog.spec.op_id, parsed.source, proposer=self.name, parent_sha=parent,
            policy=json.dumps(policy),
        )  # fmt: skip
        is_known = candidate.sha in dialog.shas
        again = ("the module is the same as an earlier one",) if is_known else ()
        dialog.notes = (*parsed.notes, *again)
        dialog.shas.add(candidate.sha)
        return candidate

    def _question(
        self, dialog: OperatorDialog, profile: DeviceProfile, packet: Packet | None
    ) -> list[Message]:
        """Return the dialog with the next question: the task, or what became of an answer."""
        if packet is None:
            return self._opening(dialog, profile, None, "")
        feedback = feedback_text(packet, dialog.notes)
        if dialog.goes_on(packet):
            longer = [*dialog.messages, user(feedback)]
            if not self._fits(longer):
                raise self._full(dialog.spec)
            return longer
        source = packet.machine.get("source")
        return self._opening(dialog, profile, str(source) if source else None, feedback)

    def _full(self, spec: OperatorSpec) -> DialogFullError:
        return DialogFullError(
            f"the dialog on {spec.op_id} holds no further question within "
            f"{self._config.context_tokens} tokens; ask again with `resume` for a new one"
        )

    def _fits(self, messages: Sequence[Message]) -> bool:
        room = self._config.context_tokens - self._config.answer_tokens
        return self._asker.count_tokens(messages) <= room

    def _opening(
        self, dialog: OperatorDialog, profile: DeviceProfile, source: str | None, feedback: str
    ) -> list[Message]:
        """Return a new dialog's messages, with as much around the task as the context holds."""
        messages: list[Message] = []
        for related, nested, examples in _LEVELS:
            text = self._initial(dialog, profile, related, nested, examples)
            if source is not None:
                text = render("resume", initial=text, source=source, feedback=feedback)
            elif feedback:
                text = f"{text}\n{feedback}"
            messages = [system(render("system", mark=MARK)), user(text, cache=True)]
            if self._fits(messages):
                return messages
        raise ConfigError(
            f"the shortest prompt for {dialog.spec.op_id} has "
            f"{self._asker.count_tokens(messages)} tokens, the context "
            f"{self._config.context_tokens} with {self._config.answer_tokens} kept for the "
            "answer; raise context_tokens or lower answer_tokens"
        )

    def _initial(
        self, dialog: OperatorDialog, profile: DeviceProfile, related: bool, nested: bool,
        examples: int,
    ) -> str:  # fmt: skip
        from models.kernels.synth.wrapper import parameters_text

        spec, most = dialog.spec, self._config.related if related else 0
        shown = [name for name in example_names() if name != spec.op_id][:examples]
        return render(
            "initial", op_id=spec.op_id, device=profile.name, schema=dialog.signature.schema,
            parameters=parameters_text(dialog.signature),
            dtypes=[name for name in spec.dtypes if name in profile.dtypes],
            fp64=profile.features.fp64, scatter=profile.features.scatter,
            max_numel=profile.max_numel, align_bytes=profile.align_bytes,
            tl_allow=sorted(profile.tl_allow), torch_allow=sorted(profile.torch_allow),
            docstring=spec.docstring or "(none)",
            nested_docs=list(spec.nested_docs.items()) if nested else [],
            examples=[(name, find_operator(name).schema_text, example(name)) for name in shown],
            related=related_kernels(spec, dialog.signature, profile, self._passing(), most,
                                    self._excluded) if most else [],
        )  # fmt: skip

    def totals(self) -> dict[str, float]:
        """Return what all operators' calls took, for a tracker."""
        rows = [asdict(use) for use in self._uses.values()]
        return {key: float(sum(row[key] for row in rows)) for key in asdict(Use())}
