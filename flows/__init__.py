"""What runs: one file per system, a body you read top to bottom; `command/` is `loom`."""
