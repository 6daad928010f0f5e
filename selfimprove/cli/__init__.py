"""The command line."""

from selfimprove.cli.app import main

__all__ = ["main"]
