"""What is said of a command that was used wrongly, and `--import`, which may stand anywhere."""

import re
from typing import Any

INSTEAD = {
    **{
        kind: f"list {kind}"
        for kind in (
            "recipes",
            "constitutions",
            "controllers",
            "tasks",
            "stages",
            "models",
            "runs",
            "suites",
            "triggers",
            "mixtures",
        )
    },
    "ls": "list runs",
    "delete": "rm",
    "remove": "rm",
    "rename": "mv",
    "copy": "cp",
    "clean": "gc",
    "prune": "gc",
    "start": "init",
    "settings": "docs settings",
    "config": "schema",
    "train": "run",
    "resume": "run",
    "continue": "run",
    "eval": "evaluate",
    "results": "status",
    "dashboard": "view",
    "ui": "view",
}
"""What people type, and the command that does it."""


def describe_usage(error: Any) -> str:
    """A mistake in the use of a command, with the command that is meant and whose help says more."""
    context = error.ctx
    said, path = error.format_message(), context.command_path if context else "selfimprove"
    unknown = re.match(r"No such command '(.*?)'\.", said)
    if unknown and context:
        from selfimprove.errors import nearest

        name = unknown[1]
        meant = (INSTEAD.get(name) if path == "selfimprove" else None) or nearest(name, context.command.commands)
        said = unknown[0] + (f" Did you mean '{meant}'?" if meant else "")
    if value := re.match(r"(Invalid value for .*?: )(.*)", said, re.DOTALL):
        from selfimprove.errors import plain_words

        said = value[1] + plain_words(value[2])
    return f"{said} See: {path} --help"


def import_files(given: list[str]) -> list[str]:
    """Import what `--import FILE` names, wherever it stands, and give the other arguments."""
    rest: list[str] = []
    files: list[str] = []
    arguments = iter(given)
    for one in arguments:
        if one == "--import":
            files.append(next(arguments, ""))
        elif one.startswith("--import="):
            files.append(one.removeprefix("--import="))
        else:
            rest.append(one)
    if files:
        from selfimprove.recipe.catalog import import_file

        for file in files:
            import_file(file)
    return rest
