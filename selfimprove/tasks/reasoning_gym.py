"""Problems of reasoning-gym's generators; the first `held_out` entries are held out, whatever the limit."""

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import ReasoningGymTask, VerifierSettings
from selfimprove.records import Problem
from selfimprove.tasks.base import PoolTask, question_key
from selfimprove.tasks.gym_data import open_data


def load_reasoning_gym(settings: ReasoningGymTask) -> PoolTask:
    """Generate the problems of a data set; raises TaskError where it is unknown, refused or wrongly set up."""
    data = open_data(settings)
    seen: set[str] = set()
    train: list[Problem] = []
    test: list[Problem] = []
    for at in range(settings.held_out + settings.limit):
        try:
            entry = data[at]
        except Exception as error:  # some settings are found out only here
            raise TaskError(f"task '{settings.name}': problem {at} cannot be made ({error!r:.120})") from None
        question = str(entry["question"]).strip()
        if question_key(question) in seen:
            continue
        seen.add(question_key(question))
        problem = Problem(
            question=question,
            answer=None if entry["answer"] is None else str(entry["answer"]),
            task=settings.name,
            group=settings.subject.replace("_", " "),
        )
        (test if at < settings.held_out else train).append(problem)
    return PoolTask(settings.name, train, test, verifier=VerifierSettings(name="reasoning_gym", gym=settings))
