"""A language model as a verifier: it is shown the question, the expected answer and the response, and must answer with
one of a few words; whatever else it says is undecided, and never the response's fault."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from selfimprove.errors import RecipeError
from selfimprove.prompting.prompts import fill
from selfimprove.recipe.policies import POLICIES
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.recipe.yaml import read_document, validate
from selfimprove.records import Outcome, Problem, Rationale, Verdict, digest
from selfimprove.settings import Settings
from selfimprove.verifiers.answers import find_statements, prepare
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote
from selfimprove.verifiers.thinking import complete, strip_thinking

JUDGE_PROMPT = POLICIES / "judges" / "answer.yaml"
Conversation = Sequence[tuple[str, str]]
Ask = Callable[[Sequence[Conversation]], list[str | None]]


class Labels(Settings):
    """The words that the judge may answer with."""

    correct: str = "CORRECT"
    incorrect: str = "INCORRECT"
    undecided: str = "UNSURE"


class JudgeExemplar(Settings):
    """A response with its verdict, shown to the judge before the one to be judged."""

    question: str
    expected: str = ""
    response: str
    verdict: Outcome


class JudgePrompt(Settings):
    """A judge's prompt file."""

    name: str
    version: int = Field(ge=1)
    template: str
    """With {question} and {response}, {expected} where there is an expected answer to compare with, and {fence}: a
    mark that no response can know, to put before and after it."""
    labels: Labels = Labels()
    exemplars: tuple[JudgeExemplar, ...] = ()


def load_judge_prompt(path: str | Path) -> JudgePrompt:
    """Read a judge's prompt; raises RecipeError with the file and the line."""
    document = read_document(Path(path))
    prompt = validate(JudgePrompt, document)
    missing = [name for name in ("{question}", "{response}", "{fence}") if name not in prompt.template]
    if missing:
        raise RecipeError(f"{document.where(('template',))}: 'template' lacks {missing[0]}")
    words = [word.strip().casefold() for word in prompt.labels.model_dump().values()]
    if len(set(words)) < len(words) or not all(words):
        raise RecipeError(f"{document.where(('labels',))}: 'labels' must be three different words")
    return prompt


class JudgeVerifier:
    """Asks a model; `ask` gives each conversation's answer, or None where it did not fit into the model."""

    name = "judge"
    version = 2

    def __init__(self, settings: VerifierSettings, prompt: JudgePrompt, ask: Ask) -> None:
        self.settings, self.prompt, self.ask = settings, prompt, ask

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        """The announced answer, for the record; the judge reads the whole text but for its thinking."""
        if len(text) > MAX_TEXT:
            return None
        found = find_statements(prepare(text, self.settings.thinking), self.settings.stated)
        return found[-1].text if found else None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        if rationale.finish == "too_long":
            return make_verdict(self, rationale, "undecided", "the prompt was too long, nothing was written")
        if problem.answer is None and "{expected}" in self.prompt.template:
            return make_verdict(self, rationale, "undecided", "the problem has no answer to compare with")
        if len(rationale.text) > MAX_TEXT:
            return make_verdict(self, rationale, "undecided", f"the text is over the limit of {MAX_TEXT} characters")
        return None

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return self.verify_all([(problem, rationale)])[0]

    def verify_all(self, pairs: Sequence[tuple[Problem, Rationale]]) -> list[Verdict]:
        """The verdicts in order; all that need the model are asked together."""
        verdicts = [self.quick(problem=problem, rationale=rationale) for problem, rationale in pairs]
        open_ = [at for at, verdict in enumerate(verdicts) if verdict is None]
        answers = self.ask([self.converse(*pairs[at]) for at in open_]) if open_ else []
        for at, answer in zip(open_, answers, strict=True):
            verdicts[at] = make_verdict(self, pairs[at][1], *self.read(answer))
        return [verdict for verdict in verdicts if verdict is not None]

    def converse(self, problem: Problem, rationale: Rationale) -> list[tuple[str, str]]:
        """The exemplars and the response as turns of a conversation; the last one has no answer yet."""
        turns = [
            (self._show(one.question, one.expected, one.response), getattr(self.prompt.labels, one.verdict))
            for one in self.prompt.exemplars
        ]
        thinking = self.settings.thinking
        said = strip_thinking(complete(rationale.text, rationale.prompt, thinking), thinking)
        return [*turns, (self._show(problem.question, problem.answer or "", said), "")]

    def _show(self, question: str, expected: str, response: str) -> str:
        # Made from the response itself, so that a response would have to hold its own hash to close the fence.
        fence = digest("fence", question, response)[:12]
        shown = "".join(one if one.isprintable() or one == "\n" else " " for one in response)
        return fill(
            self.prompt.template, {"question": question, "expected": expected, "response": shown, "fence": fence}
        )

    def read(self, answer: str | None) -> tuple[Outcome, str]:
        """Read the judge's answer strictly: one of its words and nothing else."""
        if answer is None:
            return "undecided", "the response is too long for the judge"
        said = answer.strip().rstrip(".").casefold()
        words: dict[str, Outcome] = {
            self.prompt.labels.correct.casefold(): "correct",
            self.prompt.labels.incorrect.casefold(): "incorrect",
            self.prompt.labels.undecided.casefold(): "undecided",
        }
        if said in words:
            return words[said], f"the judge says {quote(answer)} ({self.prompt.name}, version {self.prompt.version})"
        return "undecided", f"the judge did not answer with one of its words: {quote(answer)}"
