"""What runs: one file per system, a body you read top to bottom; `command/` is `loom`."""

import contextlib

from models.errors import ConfigError
from models.settings import apply_environment

# Prefect reads its environment when a flow file imports it, so it is set before any of them
# can be. A setting that cannot be used is told by the command that needs it.
with contextlib.suppress(ConfigError):
    apply_environment()
