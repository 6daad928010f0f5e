"""How held-out problems are asked: by the recipe's prompt or a standard's, in one text or with a second prompt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from selfimprove.errors import RecipeError
from selfimprove.recipe import Sampling
from selfimprove.records import Checkpoint, Evaluation, Problem, Rationale, Verdict, Vote
from selfimprove.stages.base import Desk, Records, Writer
from selfimprove.stages.generate import Beginning, Generate, generate
from selfimprove.stages.score import pick_options
from selfimprove.stages.verify import cross_check, verify
from selfimprove.stages.vote import count_shares
from selfimprove.tasks.standard import Standard

if TYPE_CHECKING:
    from selfimprove.stages.evaluate import Evaluate

EXTRACTED = 32  # tokens after the second prompt (Kojima et al., 2022, appendix A.4)


@dataclass
class Asking:
    """How the evaluation asks each problem: by the recipe's prompt, or as the standard of its task does."""

    desk: "Desk[Evaluate]"
    checkpoint: Checkpoint

    @cached_property
    def _scored(self) -> set[str]:
        return {task.name for task in self.desk.held_out_tasks if task.scored}

    @property
    def samples(self) -> int:
        return self.desk.settings.samples

    def standard(self, problem: Problem) -> Standard | None:
        return self.desk.standards.get(problem.task)

    def scores(self, problem: Problem) -> bool:
        """Whether an option is picked by its log-probability, and nothing is written."""
        standard = self.standard(problem)
        return problem.task in self._scored if standard is None else bool(standard.options)

    def kind(self, problem: Problem) -> tuple[bool, str]:
        standard = self.standard(problem)
        return self.scores(problem), standard.name if standard else ""

    def ask(self, part: Sequence[Problem]) -> Records:
        """The answers to problems that are asked in one way."""
        desk, settings = self.desk, self.desk.settings
        writer, prompts = desk.writer(self.checkpoint), desk.prompts
        standard = self.standard(part[0])
        if standard and prompts.chat:
            raise RecipeError(
                "'evaluate.standard': these prompts are plain text, and this model is asked by its chat template; "
                "set 'prompt.chat' to never"
            )
        if self.scores(part[0]):
            options = standard.options if standard else ()
            render = standard.render if standard else prompts.render_verbatim
            yield from pick_options(part, writer=writer, render=render, options=options)
            return
        writer = replace(writer, stop=standard.stop) if standard else writer
        most = settings.max_tokens or (standard.max_tokens if standard else desk.other(Generate).max_tokens)
        written = generate(
            part,
            writer=writer,
            render=standard.render if standard else prompts.render,
            sampling=Sampling(temperature=settings.temperature, max_tokens=most),
            samples=settings.samples,
            purpose="evaluate",
        )
        extract = None if standard else settings.extract
        yield from self._extract(part, written, writer, extract) if extract else written

    def _extract(self, part: Sequence[Problem], written: Records, writer: Writer, extract: str) -> Records:
        """Texts, and after each the second prompt with what the model writes then (Kojima et al., 2022, section 3)."""
        first = [one for one in written if isinstance(one, Rationale)]
        yield from first
        begins = {
            one.problem: [Beginning(one.id, f"{one.text} {extract}")] for one in first if one.finish != "too_long"
        }

        def read(problem: Problem, text: str, prompt: str) -> str | None:
            return writer.extract_answer(problem, _after(extract, text), "")

        yield from generate(
            [one for one in part if one.id in begins],
            writer=replace(writer, extract_answer=read),
            render=self.desk.prompts.render,
            sampling=Sampling(temperature=0.0, max_tokens=EXTRACTED),
            samples=1,
            purpose="extract",
            beginnings=begins,
        )

    def judge(self, written: Sequence[Rationale], problems: Mapping[str, Problem]) -> Iterator[Verdict]:
        """The verdicts in order; of a text with a second prompt only what follows it is judged."""
        extract = self.desk.settings.extract
        shown = [
            Rationale(**one.model_dump() | {"prompt": "", "text": _after(extract, one.text)})
            if extract and _continues(one)
            else one
            for one in written
        ]
        verdicts = verify(shown, problems=problems, judge=self.desk.judging.judge)
        for one, verdict in zip(written, verdicts, strict=True):
            yield Verdict(**verdict.model_dump() | {"parents": (one.id,)}) if _continues(one) else verdict

    def judge_by_standard(
        self, written: Sequence[Rationale], verdicts: Mapping[str, Verdict], problems: Mapping[str, Problem]
    ) -> Records:
        """What the standard's own comparison says of each text, beside our verdict."""
        names = {name for one in self.desk.standards.values() for name in one.comparisons}
        for name in sorted(names):
            mine = [
                (one, verdicts[one.id])
                for one in written
                if (standard := self.standard(problems[one.problem])) and name in standard.comparisons
            ]
            judge = self.desk.judging.judge_by(name)
            yield from cross_check(mine, problems=problems, judge=judge, share=1.0)


def _continues(rationale: Rationale) -> bool:
    """Whether it goes on from another one: here after the second prompt."""
    return len(rationale.parents) > 2


def _after(extract: str, text: str) -> str:
    """What was written after the second prompt, as the announced answer that it is."""
    return f"The answer is {text.rpartition(extract)[2].strip()}"


def counted(rationales: Sequence[Rationale], votes: Sequence[Vote]) -> list[Rationale]:
    """The text of each problem that counts: its majority's where there was a vote, and with a second prompt what was
    written after it."""
    chosen = {one.winner for one in votes}
    continued = {one.parents[2] for one in rationales if _continues(one)}
    return [one for one in rationales if (one.id in chosen if votes else one.id not in continued)]


def measure_votes(
    votes: Sequence[Vote],
    rationales: Sequence[Rationale],
    verdicts: Mapping[str, Verdict],
    found: Sequence[Evaluation],
) -> dict[str, float]:
    """How often the majority is right and a single sample is, over the problems with a decided sample."""
    shares = [right / decided for right, decided in count_shares(rationales, verdicts).values() if decided]
    n = sum(one.n for one in found)
    return {
        "samples": max(one.samples for one in votes),
        "problems": n,
        "majority": sum(one.correct for one in found) / n if n else 0.0,
        "single sample": sum(shares) / len(shares) if shares else 0.0,
        "ties": sum(one.tie for one in votes),
        "no answer": sum(not one.votes for one in votes),
    }
