"""What runs: one file per system, a body you read top to bottom; `command/` is `loom`."""

import contextlib
import sys
from pathlib import Path

# The command, asked for names only (`-m` stands there while this package is imported as one).
_LISTS_NAMES = Path(sys.argv[0]).name in ("loom", "-m") and sys.argv[1:] in (["--help"], ["list"])

# Prefect reads its environment when a flow file imports it, so it is set before any of them
# can be. A setting that cannot be used is told by the command that needs it. Where names are
# listed none is needed, and reading settings would be half of the time.
if not _LISTS_NAMES:
    from models.errors import ConfigError
    from models.settings import apply_environment

    with contextlib.suppress(ConfigError):
        apply_environment()
