"""What runs: one file per system, a body you read top to bottom; `command/` is `loom`."""

import contextlib
import sys

# Prefect reads its environment when a flow file imports it, so it is set before any of them
# can be. A setting that cannot be used is told by the command that needs it; those that only
# list names need none, and reading settings is half of what they would cost.
if sys.argv[1:] not in ([], ["--help"], ["list"]):
    from models.errors import ConfigError
    from models.settings import apply_environment

    with contextlib.suppress(ConfigError):
        apply_environment()
