"""Who judges in a run: the verifier of each task, a second one beside it, and the model that is asked as a judge."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol

from selfimprove.engines import Engine, Request, Weights, load_engine
from selfimprove.prompting.prompts import Chat
from selfimprove.recipe import Judge, Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings
from selfimprove.recipe.task_settings import Limits, VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.settings import hashed_settings
from selfimprove.tasks import Task
from selfimprove.verifiers import Verifier, make_verifier
from selfimprove.verifiers.judge import JUDGE_PROMPT, Ask, Conversation, JudgeVerifier, load_judge_prompt
from selfimprove.verifiers.labelled import measure_verifier
from selfimprove.verifiers.response_file import read_labelled
from selfimprove.verifiers.thinking import complete
from selfimprove.verifiers.workers import Memory, VerifierPool

JUDGED_AT_ONCE = 256
Pairs = Iterable[tuple[Problem, Rationale]]


class Second(Protocol):
    """Another verifier beside the first one."""

    @property
    def verifier(self) -> Any: ...


class Rules(Protocol):
    """What a run says of verdicts: how answers are read, who judges a second time, and at what cost."""

    @property
    def answer(self) -> Any: ...
    @property
    def thinking(self) -> Any: ...
    @property
    def second(self) -> Second | None: ...
    @property
    def labelled(self) -> str | None: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def workers(self) -> int: ...


class Judging:
    """The verifiers of a run's tasks by the tasks' names, and the worker processes that they share."""

    def __init__(self, settings: Rules, judge: Judge, tasks: Sequence[Task], ask: Ask) -> None:
        self._stated, self._thinking = settings.answer == "stated", settings.thinking
        self._judge_settings, self._ask = judge, ask
        self.pool = VerifierPool(workers=settings.workers, limits=settings.limits)
        self._verifiers = {task.name: self._make(task.verifier) for task in tasks}
        self._seconds: dict[str, Verifier] = {}
        if settings.second:
            name = {"name": settings.second.verifier}
            self._seconds = {task.name: self._make(task.verifier.model_copy(update=name)) for task in tasks}

        self._labelled = read_labelled(Path(settings.labelled), self._first) if settings.labelled else []
        self._errors: list[dict[str, Any] | None] = []  # once they are measured
        self._memory: Memory | None = None

    def remembering(self, memory: Memory, ask: Ask) -> "Judging":
        """The same with verdicts of worker processes that are written down, and a judge that is asked by `ask`."""

        def asking(verifiers: Mapping[str, Verifier]) -> dict[str, Verifier]:
            return {name: JudgeVerifier(one.settings, one.prompt, ask) if isinstance(one, JudgeVerifier) else one
                    for name, one in verifiers.items()}  # fmt: skip

        other = copy(self)
        other._verifiers, other._seconds, other._memory = asking(self._verifiers), asking(self._seconds), memory
        return other

    @property
    def _first(self) -> Verifier:
        return next(iter(self._verifiers.values()))

    @property
    def errors(self) -> dict[str, Any] | None:
        """How often the verifier of the first task is wrong on the recipe's labelled file, measured once; None without
        a file."""
        if not self._errors:
            rows = ((row.problem, row.rationale, bool(row.label)) for row in self._labelled)
            report = measure_verifier(rows, lambda pairs: self._judge(pairs, lambda _: self._first))
            rates = {name: rate for name, rate in report.to_json().items() if name != "kinds"}
            self._errors.append(rates if self._labelled else None)
        return self._errors[0]

    def _make(self, settings: VerifierSettings) -> Verifier:
        settings = settings.model_copy(update={"stated": self._stated, "thinking": self._thinking})
        if settings.name != "judge":
            return make_verifier(settings)
        return JudgeVerifier(settings, load_judge_prompt(self._judge_settings.prompt or JUDGE_PROMPT), self._ask)

    def identity(self) -> list[Any]:
        """What verdicts depend on: each verifier with its version and settings, and the judge's model and prompt."""
        verifiers = [*self._verifiers.items(), *self._seconds.items()]
        identity: list[Any] = [[name, one.name, one.version, hashed_settings(one.settings)] for name, one in verifiers]
        for _, one in verifiers:
            if isinstance(one, JudgeVerifier):
                identity.append([one.prompt.model_dump(), hashed_settings(self._judge_settings)])
        return identity

    @property
    def asks(self) -> bool:
        """Whether a model is asked for some of the verdicts."""
        return any(isinstance(one, JudgeVerifier) for one in (*self._verifiers.values(), *self._seconds.values()))

    def verifier(self, task: str) -> Verifier:
        """The verifier of a task, by the task's name."""
        return self._verifiers[task]

    def extract_answer(self, problem: Problem, text: str, prompt: str = "") -> str | None:
        """The answer of a text, as the verifier of the problem's task reads it; a prompt may begin a block of thinking
        that the text goes on with."""
        text = complete(text, prompt, self._thinking)
        return self._verifiers[problem.task].extract_answer(text, problem)

    def judge(self, pairs: Pairs) -> Iterator[Verdict]:
        """The verdicts on rationales, in order, each by the verifier of its problem's task."""
        return self._judge(pairs, lambda problem: self._verifiers[problem.task])

    def judge_again(self, pairs: Pairs) -> Iterator[Verdict]:
        """The same by the recipe's second verifier, which extracts the answer in its own way."""
        extracted = ((problem, self._extract_again(problem, one)) for problem, one in pairs)
        return self._judge(extracted, lambda problem: self._seconds[problem.task])

    def _extract_again(self, problem: Problem, rationale: Rationale) -> Rationale:
        text = complete(rationale.text, rationale.prompt, self._thinking)
        answer = self._seconds[problem.task].extract_answer(text, problem)
        return rationale.model_copy(update={"answer": answer})

    def judge_by(self, name: str) -> Callable[[Pairs], Iterator[Verdict]]:
        """The verdicts of a verifier by its name, which extracts the answer in its own way."""
        verifier = make_verifier(VerifierSettings(name=name))

        def extracted(problem: Problem, one: Rationale) -> Rationale:
            return one.model_copy(update={"answer": verifier.extract_answer(one.text, problem)})

        return lambda pairs: self._judge(
            ((problem, extracted(problem, one)) for problem, one in pairs), lambda _: verifier
        )

    def same_answers(self, asked: Sequence[tuple[Problem, Rationale, str]]) -> list[bool]:
        """Whether each rationale's answer is the same as a given one, as the verifier of its task compares.

        A model or a data set's scorer is not asked: for these the words are compared.
        """
        same = [_words(str(one.answer)) == _words(other) for _, one, other in asked]
        rest = []
        for at, (problem, one, other) in enumerate(asked):
            if not same[at] and self._verifiers[problem.task].name not in ("judge", "reasoning_gym"):
                expected = Problem(**problem.model_dump() | {"answer": other})
                said = Rationale(**one.model_dump() | {"text": f"#### {one.answer}", "prompt": "", "finish": "stop"})
                rest.append((at, expected, said))
        for (at, _, _), verdict in zip(rest, self.judge((one, said) for _, one, said in rest), strict=True):
            same[at] = verdict.outcome == "correct"
        return same

    def _judge(self, pairs: Pairs, verifier_of: Callable[[Problem], Verifier]) -> Iterator[Verdict]:
        return judge_pairs(pairs, verifier_of, self.pool, self._memory)

    def close(self) -> None:
        self.pool.close()


def _words(text: str) -> str:
    return " ".join(text.casefold().split())


def judge_pairs(
    pairs: Pairs, verifier_of: Callable[[Problem], Verifier], pool: VerifierPool, memory: Memory | None = None
) -> Iterator[Verdict]:
    """The verdicts in order: a judge is asked about all that follow each other at once, the others go to the pool."""
    for verifier, group in groupby(pairs, key=lambda pair: verifier_of(pair[0])):
        if isinstance(verifier, JudgeVerifier):
            while batch := list(islice(group, JUDGED_AT_ONCE)):
                yield from verifier.verify_all(batch)
        else:
            yield from pool.verify_all(((verifier, problem, one) for problem, one in group), memory)


def ask_engine(
    engine: Engine, conversations: Sequence[Conversation], *, chat: Chat | None, max_tokens: int
) -> list[str | None]:
    """Each conversation's next turn, greedily, up to the end of its line; None where the prompt did not fit."""
    answers: list[str | None] = [None] * len(conversations)
    requests = [Request(_render(one, chat), 0) for one in conversations]
    for completion in engine.generate(requests, Sampling(temperature=0.0, max_tokens=max_tokens), ("\n",)):
        if completion.finish != "too_long":
            answers[completion.index] = completion.text
    return answers


def _render(turns: Conversation, chat: Chat | None) -> str:
    if chat is None:
        return "\n\n".join(f"{user} {answer}".rstrip() for user, answer in turns)
    messages = []
    for user, answer in turns:
        messages.append({"role": "user", "content": user})
        if answer:
            messages.append({"role": "assistant", "content": answer})
    return chat(messages)


def ask_model(path: str) -> Ask:
    """Ask a model of its own, outside a run; it is loaded when something is asked first."""
    loaded: list[tuple[Engine, Chat | None]] = []

    def ask(conversations: Sequence[Conversation]) -> list[str | None]:
        if not loaded:
            from selfimprove.engines.models import load_chat

            chat = load_chat(path)
            engine = load_engine(EngineSettings(), Model(path=path), Weights(path, chat=chat is not None))
            loaded.append((engine, chat))
        return ask_engine(loaded[0][0], conversations, chat=loaded[0][1], max_tokens=Judge().max_tokens)

    return ask
