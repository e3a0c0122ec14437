"""Session: one operator's loop over propose, lint, compile, test, audit (section 3 of the paper).

states.py   states and transitions as data   config.py     budgets, switches, targets
run.py      the loop                         result.py     attempts and the result
stages.py   the five stages as callables     digest.py     DEBUG and SUMMARIZE
trace.py    append-only, replayed to resume  signature.py  what a wrapper is judged by
recorded.py  stages through the trace, repeated where our own machinery fails
"""

from models.kernels.session.config import SessionConfig
from models.kernels.session.result import AuditVerdict, SessionResult
from models.kernels.session.run import open_trace, run_session
from models.kernels.session.signature import operator_signature
from models.kernels.session.stages import Stages, plain_stages
from models.kernels.session.states import TRANSITIONS, Event, IllegalTransitionError, State
from models.kernels.session.trace import SessionTrace

__all__ = [
    "TRANSITIONS",
    "AuditVerdict",
    "Event",
    "IllegalTransitionError",
    "SessionConfig",
    "SessionResult",
    "SessionTrace",
    "Stages",
    "State",
    "open_trace",
    "operator_signature",
    "plain_stages",
    "run_session",
]
