"""Whether there is anything to ask and to judge by: said, or refused, before a text is paid for."""

import sys
from collections.abc import Iterator, Sequence

from selfimprove.errors import EngineError, TaskError
from selfimprove.records import Problem, Rationale
from selfimprove.records.printable import printable
from selfimprove.running.parts import Job
from selfimprove.running.session import Session
from selfimprove.stages.generate import Generate
from selfimprove.stages.select import Select
from selfimprove.tasks import Task
from selfimprove.tasks.base import PoolTask
from selfimprove.verifiers import Verifier
from selfimprove.verifiers.base import quote

LOOKED_AT = 1_000  # expected answers of a task
COMPARING = ("math", "text", "choice", "math-verify")  # what can say nothing of a problem without an answer


def check_answers(session: Session) -> None:
    """Say what is odd about a recipe's problems and their answers; raises TaskError where nothing could be judged."""
    recipe, inputs = session.recipe, session.inputs
    said: list[str] = []
    for task in {one.name: one for one in inputs.tasks}.values():
        if not isinstance(task, PoolTask) or task.verifier.name not in COMPARING:
            continue
        verifier = session.judging.verifier(task.name)
        trained = task.train() if recipe.rounds and task.name == inputs.task.name else []
        held_out = [one for one in inputs.held_out if one.task == task.name and not recipe.rounds]
        selects = recipe.find(Select)
        if selects and selects.vote is None:
            _check_there(task, trained, trains=True)
        _check_there(task, held_out, trains=False)
        said += [*task.remarks, *_check_readable(task, [*inputs.held_out, *trained], verifier)]
    for line in dict.fromkeys(said):
        print(f"selfimprove: {printable(line)}", file=sys.stderr, flush=True)


def _check_there(task: Task, problems: Sequence[Problem], *, trains: bool) -> None:
    """Raise TaskError where none of the problems that shall be judged has an answer."""
    if problems and all(one.answer is None and not one.is_open for one in problems):
        raise TaskError(
            f"task '{task.name}': none of its {len(problems)} problems has an answer, so no text could be judged; "
            "give them answers" + (", or train on what most samples say with select.vote={}" if trains else "")
        )


def _check_readable(task: Task, problems: Sequence[Problem], verifier: Verifier) -> Iterator[str]:
    """Say how many expected answers the verifier would not accept if a text gave them word for word; raises TaskError
    where it accepts none."""
    told = [one for one in problems if one.task == task.name and one.answer is not None][:LOOKED_AT]
    found = [(one, why) for one in told if (why := _why_not(one, verifier))]
    if not found:
        return
    problem, why = found[0]
    shown = f"such as {quote(str(problem.answer))} to {quote(problem.question)} ({why})"
    if len(found) == len(told):
        raise TaskError(
            f"task '{task.name}': the verifier '{verifier.name}' can judge by none of its {len(told)} expected "
            f"answers, {shown}; give the answers alone, or compare them otherwise (train.compare)"
        )
    yield (
        f"task '{task.name}': the verifier '{verifier.name}' cannot judge by {len(found)} of {len(told)} expected "
        f"answers, {shown}"
    )


def _why_not(problem: Problem, verifier: Verifier) -> str:
    """Why a text that gives the expected answer is not accepted, or nothing; what needs a worker is not asked."""
    text = f"#### {problem.answer}"
    answer = verifier.extract_answer(text, problem) or problem.answer
    rationale = Rationale(
        parents=(problem.id, "expected"), prompt="", text=text, answer=answer,
        origin="sampled", round=0, sample=0, seed=0, temperature=0.0, top_p=1.0, tokens=0, logprob=0.0, finish="stop",
    )  # fmt: skip
    verdict = verifier.quick(problem=problem, rationale=rationale)
    return "" if verdict is None or verdict.outcome == "correct" else verdict.reason


def check_asked(job: Job) -> None:
    """Raise EngineError where none of a stage's prompts left room for a text; there is nothing of the stage to keep."""
    if job.stage.declared.asks != "policy":
        return
    texts = job.desk.scan_written(Rationale)
    if len(texts) and all(one == "too_long" for one in texts.values("finish")):
        longest = getattr(job.stage.own, "max_tokens", None)
        job.session.folder.discard(job.disk)
        raise EngineError(
            f"{job.stage}: none of its {len(texts)} prompts was asked, because with completions of up to "
            f"{longest or job.stage.recipe.of(Generate).max_tokens} tokens (max_tokens) the model has no room for any; "
            "lower it, or show fewer exemplars (prompt.shots)"
        )
