"""The agent runtime: typed, durable conversations of a language model with tools."""
