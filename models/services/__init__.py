"""Servers and workers of this machine: start, probe, end, never leave one behind.

- `state.py` what runs now (`running_stack`); cheap, so it is all this file imports
- `stack.py` the owner of one `loom up`, and `down`; `bringup.py` starts its parts in order
- `temporary.py` `prefect_api`: a Prefect API for one command, our own if there is none
- `servers.py` command lines and environments; `ports.py` free ports and who holds the others
- `process.py` one process: ready, last words, stop; `guard.py` what keeps it from outliving us
- `identity.py` processes known by id and creation time; `host.py` what this machine offers
- `orchestrator.py` what we ask Prefect over REST; `web.py` JSON over HTTP

Nothing here imports Prefect or MLflow: they are command lines to us.
"""

from models.services.state import StackState, running_stack

__all__ = ["StackState", "running_stack"]
