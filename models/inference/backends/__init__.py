"""Who computes a plan: our engine, vLLM, or a server behind OpenAI's interface."""
