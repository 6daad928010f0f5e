"""Constitutions: what a good answer is, written down in a file, in plain words (Bai et al., 2022)."""

from selfimprove.constitution.file import load_constitution, write_constitution
from selfimprove.constitution.model import Constitution, Principle

__all__ = ["Constitution", "Principle", "load_constitution", "write_constitution"]
