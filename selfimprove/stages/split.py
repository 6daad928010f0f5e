"""Held-out problems in two: those that are reported, and those that what promotes and steers goes by."""

from collections import defaultdict
from collections.abc import Sequence

from selfimprove.errors import TaskError
from selfimprove.records import Problem, digest
from selfimprove.tasks import question_key


def controllers(problems: Sequence[Problem], share: float) -> set[str]:
    """The ids of the problems that are the controller's: in each family the first ones by a hash of the question.

    A question that several tasks have is on one side. Raises TaskError where one of the sides would be empty.
    """
    if not share:
        return set()
    families: dict[tuple[str, int, str], dict[str, list[Problem]]] = defaultdict(lambda: defaultdict(list))
    for one in problems:
        families[one.task, one.level, one.group][question_key(one.question)].append(one)
    chosen: set[str] = set()  # questions
    for questions in families.values():
        order = sorted(questions, key=lambda one: digest("controller", one))
        chosen.update(order[: round(share * len(order))])
    mine = {one.id for one in problems if question_key(one.question) in chosen}
    if not mine or len(mine) == len(problems):
        side = "controller" if not mine else "report"
        raise TaskError(
            f"evaluate.controller: {share:g} of {len(problems)} held-out problems leaves none for the {side}; hold out "
            f"more, or choose another share"
        )
    return mine
