"""Attention over a shared prefix and a private tail: torch reference and C++ kernel."""
