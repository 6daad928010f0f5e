"""Loops in which a language model teaches itself, and that can say where each trained token came from."""

__version__ = "0.1.0"
