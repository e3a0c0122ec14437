"""Where tools work: a folder and the sandbox over it."""
