"""What the texts of an RL run are worth: verdicts, each reward, and their sum with weights, as one callable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfimprove.constitution import Constitution
from selfimprove.constitution.checks import comply
from selfimprove.errors import TrainingError
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.trainers.job import RlJob
from selfimprove.trainers.rewarding import RewardFunction, check_rewards, reward_model_function, rule_function
from selfimprove.verifiers import Verifier, make_verifier
from selfimprove.verifiers.judging import judge_pairs
from selfimprove.verifiers.thinking import complete
from selfimprove.verifiers.workers import VerifierPool

OUTCOMES = {"correct": 1.0, "incorrect": 0.0}


class Judge:
    """Gives texts the verdicts of their tasks' verifiers; equal texts for one problem are judged once in a batch."""

    def __init__(self, job: RlJob) -> None:
        self.pool = VerifierPool(workers=job.workers, limits=job.limits)
        self._verifiers: dict[str, Verifier] = {name: make_verifier(one) for name, one in job.verifiers.items()}
        self._known: dict[tuple[str, str], Verdict] = {}

    def judges(self, problem: Problem) -> bool:
        """Whether a problem has a verifier and an answer to go by."""
        return problem.task in self._verifiers and problem.answer is not None

    def extract_answer(self, problem: Problem, text: str, prompt: str) -> str | None:
        """The answer that a text gives, as the verifier of its task reads it."""
        if problem.task not in self._verifiers:
            return None
        verifier = self._verifiers[problem.task]
        return verifier.extract_answer(complete(text, prompt, verifier.settings.thinking), problem)

    def judge(self, rationales: Sequence[Rationale], problems: Sequence[Problem]) -> list[Verdict | None]:
        """A verdict for each text, None where there is no verifier or no answer; `find` knows them until the next."""
        keys = [(problem.id, one.text) for one, problem in zip(rationales, problems, strict=True)]
        first = {key: (problem, one) for key, one, problem in zip(keys, rationales, problems, strict=True)
                 if self.judges(problem)}  # fmt: skip
        given = judge_pairs(first.values(), lambda problem: self._verifiers[problem.task], self.pool)
        self._known = dict(zip(first, given, strict=True))
        return [
            Verdict(**self._known[key].model_dump() | {"parents": (one.id,)}) if key in self._known else None
            for key, one in zip(keys, rationales, strict=True)
        ]

    def find(self, problem: Problem, prompt: str, text: str) -> Verdict | None:
        """The verdict on a text, also on one that is no record."""
        key = (problem.id, text)
        if key not in self._known and self.judges(problem):
            answer = self.extract_answer(problem, text, prompt)
            one = Rationale(
                parents=(problem.id, ""), prompt=prompt, text=text, answer=answer, origin="sampled", round=0, sample=0,
                seed=0, temperature=1.0, top_p=1.0, tokens=0, logprob=None, finish="stop",
            )  # fmt: skip
            verifier = self._verifiers[problem.task]
            self._known[key] = next(iter(judge_pairs([(problem, one)], lambda _: verifier, self.pool)))
        return self._known.get(key)


def verifier_function(judge: Judge, require: str) -> RewardFunction:
    """1 for a text that is right, 0 for one that is wrong, None for an undecided one; a right answer is undecided where
    steps are required and none could be checked."""

    def worth(verdict: Verdict | None) -> float | None:
        if verdict is None or verdict.outcome == "undecided":
            return None
        if verdict.outcome == "correct" and require != "answer":
            if verdict.reasoning == "undecided":  # else a text would be paid for writing nothing that can be checked
                return None
            if verdict.wrong_reason or (require == "grounded" and verdict.ungrounded):
                return 0.0
        return OUTCOMES[verdict.outcome]

    def ask(prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]) -> list[float | None]:
        asked = zip(problems, prompts, completions, strict=True)
        return [worth(judge.find(problem, prompt, text)) for problem, prompt, text in asked]

    return ask


def constitution_function(constitution: Constitution, judge: Judge) -> RewardFunction:
    """The share of a constitution's checks that a text passes, each by the weight of its principle; 1 where none
    applies, None where one is undecided."""
    checked = [one for one in constitution.principles if one.weight and one.check]
    if not checked:
        raise TrainingError(
            f"the constitution '{constitution.name}' has no principle with a 'check', so it gives no reward; add one, "
            "or leave 'constitution' out of 'rewards'"
        )

    def worth(problem: Problem, prompt: str, text: str) -> float | None:
        applying = [one for one in checked if one.scope.holds(problem.task, (problem.group,))]
        verdict = judge.find(problem, prompt, text)
        found = [(one.weight, comply(one.check, text, verdict)[0]) for one in applying if one.check]
        if any(outcome == "undecided" for _, outcome in found):
            return None
        total = sum(weight for weight, _ in found)
        return sum(weight * OUTCOMES[outcome] for weight, outcome in found) / total if total else 1.0

    def ask(prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]) -> list[float | None]:
        asked = zip(problems, prompts, completions, strict=True)
        return [worth(problem, prompt, text) for problem, prompt, text in asked]

    return ask


@dataclass(frozen=True)
class WeightedReward:
    """Several rewards with weights as one; where one is undecided about a text, so is the sum. One of weight 0 is only
    measured."""

    parts: Mapping[str, RewardFunction]
    weights: Mapping[str, float]

    def each(
        self, prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]
    ) -> dict[str, list[float | None]]:
        """What each reward gives each text; raises TrainingError where one gives too few, or what is no number."""
        return {
            name: check_rewards(part(prompts, completions, problems), len(completions), name)
            for name, part in self.parts.items()
        }

    def total(self, parts: Mapping[str, Sequence[float | None]]) -> list[float | None]:
        """The sums with weights of what `each` gave."""
        counted = {name: values for name, values in parts.items() if self.weights[name]}
        weights = [self.weights[name] for name in counted]
        return [_weigh(weights, values) for values in zip(*counted.values(), strict=True)]

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]
    ) -> list[float | None]:
        return self.total(self.each(prompts, completions, problems))


def _weigh(weights: Sequence[float], values: Sequence[float | None]) -> float | None:
    known = [weight * value for weight, value in zip(weights, values, strict=True) if value is not None]
    return sum(known) if len(known) == len(values) else None


def asked_by(reward: RewardFunction, asked: Mapping[str, str]) -> RewardFunction:
    """A reward that is asked by other prompts, by problem, than those that the texts were written for: a reward model
    reads questions as its pairs had them, without the exemplars that the policy is shown."""

    def ask(prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]) -> list[float | None]:
        as_trained = zip(prompts, problems, strict=True)
        return reward([asked.get(problem.id, prompt) for prompt, problem in as_trained], completions, problems)

    return ask


def make_reward(job: RlJob, judge: Judge, tokenizer: Tokenizer, problems: Sequence[Problem] = ()) -> WeightedReward:
    """The reward of a job on its problems; raises TrainingError or ModelError where a part of it cannot be had."""
    settings = job.settings
    asked = {one.id: prompt for one, prompt in zip(problems, job.asked, strict=False)}

    def make(name: str) -> RewardFunction:
        if name == "verifier":
            return verifier_function(judge, settings.require)
        if name == "constitution" and job.constitution:
            return constitution_function(job.constitution, judge)
        if name == "model" and job.reward_models:
            models = reward_model_function(
                job.reward_models, tokenizer=tokenizer, chat=job.chat, combine=settings.combine, device=job.device
            )
            return asked_by(models, asked)
        return rule_function(name)

    return WeightedReward({name: make(name) for name in settings.rewards}, settings.rewards)
