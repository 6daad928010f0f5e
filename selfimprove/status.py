"""What a run reached."""
from selfimprove.store import RunFolder


def print_status(folder: RunFolder) -> None:
    print(folder.path)
