"""How lm-evaluation-harness 0.4.13 asks GSM8K, MMLU and BIG-Bench Hard (Gao et al., 2024), word by word."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from selfimprove.prompting.prompts import load_exemplars
from selfimprove.recipe.policies import POLICIES
from selfimprove.records import Problem, digest

SHOT_SEED = 1234  # the harness's `fewshot_random_seed`
ENDS = ("</s>", "<|im_end|>")
OPTIONS = tuple((f" {letter}", letter) for letter in "ABCD")


@dataclass(frozen=True)
class Standard:
    """One task of the harness: what stands before a question, the question, and where a completion ends.

    `options` are the texts that are scored with the answers that they stand for, where nothing is written.
    `comparisons` name the verifiers that compare as the harness does.
    """

    name: str
    before: Callable[[Problem], str]
    question: Callable[[Problem], str]
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    options: tuple[tuple[str, str], ...] = ()
    comparisons: tuple[str, ...] = ()

    def render(self, problem: Problem) -> str:
        return self.before(problem) + self.question(problem)

    def fingerprint(self, problems: Sequence[Problem]) -> str:
        """A hash of all that is asked."""
        return digest(self.name, self.stop, self.max_tokens, self.options, [self.render(one) for one in problems])


class DrawnShots:
    """GSM8K's worked problems: for each test problem five of the training split, drawn one problem after the other.

    The harness draws them from one random stream, so they depend on a problem's place in the test split.
    """

    def __init__(self, train: Sequence[tuple[str, str]], test: Sequence[str], shots: int = 5) -> None:
        """`train` holds questions and whole solutions, `test` the questions, each in the order of its split."""
        self.train, self.test, self.shots = train, test, shots

    @cached_property
    def _drawn(self) -> dict[str, list[int]]:
        rng = random.Random(SHOT_SEED)
        drawn: dict[str, list[int]] = {}
        for question in self.test:
            drawn.setdefault(question, rng.sample(range(len(self.train)), self.shots))
        return drawn

    def __call__(self, problem: Problem) -> str:
        shown = [self.train[at] for at in self._drawn[problem.question]]
        return "".join(f"Question: {question}\nAnswer: {solution}\n\n" for question, solution in shown)


def gsm8k_standards(train: Sequence[tuple[str, str]], test: Sequence[str]) -> dict[str, Standard]:
    """The harness's gsm8k (5 shots of the training split) and gsm8k_cot (8 fixed ones; Wei et al., 2022)."""
    found = {}
    if len(train) >= 5:
        found["lm-eval"] = Standard(
            "gsm8k",
            DrawnShots(train, test),
            lambda problem: f"Question: {problem.question}\nAnswer:",
            stop=("Question:", *ENDS),
            comparisons=("lm-eval/gsm8k", "lm-eval/gsm8k-flexible"),
        )
    found["lm-eval-cot"] = Standard(
        "gsm8k_cot",
        _fixed_shots,
        lambda problem: f"Q: {problem.question}\nA:",
        stop=("Q:", *ENDS),
        comparisons=("lm-eval/gsm8k_cot", "lm-eval/gsm8k-flexible"),
    )
    return found


def _fixed_shots(_: Problem) -> str:
    return _read_shots()


@cache
def _read_shots() -> str:
    shown = load_exemplars(str(POLICIES / "exemplars" / "chain-of-thought.yaml"), None)
    return "".join(f"Q: {one.question}\nA: {one.rationale} The answer is {one.answer}.\n\n" for one in shown)


def mmlu_standards(subject: str, dev: Sequence[Problem]) -> dict[str, Standard]:
    """The harness's mmlu with the shots that MMLU's own `dev` split has (5); without that split it has none."""
    about = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
    shown = "".join(f"{one.question}\nAnswer: {one.answer}\n\n" for one in dev[:5])
    standard = Standard(
        f"mmlu_{subject}", lambda _: about + shown, lambda problem: f"{problem.question}\nAnswer:", options=OPTIONS
    )
    return {"lm-eval": standard, "lm-eval-cot": standard}


def bbh_standards(subject: str, worked: str) -> dict[str, Standard]:
    """The harness's bbh_cot_fewshot; `worked` is the text of the task's file in `cot-prompts`."""
    _, mark, shown = worked.replace("\r\n", "\n").partition("-----\n")
    if not mark:
        return {}
    # One task's file goes on in the same line, where the harness begins a new one.
    shown = re.sub(r"(?m)^(A: Let's think step by step\.) (?=\S)", r"\1\n", shown.strip("\n"))
    standard = Standard(
        f"bbh_cot_fewshot_{subject}",
        lambda _: shown + "\n\n",
        lambda problem: f"Q: {problem.question}\nA: Let's think step by step.\n",
        stop=("</s>", "Q", "\n\n"),
        max_tokens=1024,
        comparisons=("lm-eval/bbh",),
    )
    return {"lm-eval": standard, "lm-eval-cot": standard}
