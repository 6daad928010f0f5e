"""How a model is asked for tasks of its own, their inputs and their outputs, and what is read out of its answers
(Self-Instruct; Wang et al., 2023, section 2.2 and appendix A)."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selfimprove.errors import RecipeError, suggest
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe.policies import find_named, policy_names
from selfimprove.records import digest

Turns = Sequence[tuple[str, str | None]]
LONGEST = 20_000  # characters of an answer that is read
SHORT = 40  # characters of an input that may say that there is none
FEWEST_SEEDS = 8
EXAMPLES = 3  # seeds that are shown where an instance is asked for; of either kind where it is a classification

PROPOSE = (
    "Here is a numbered list of different tasks that people give to a language model. Each one stands on a line of its "
    "own and can be done by text alone. Continue the list with new tasks."
)
PROPOSE_PROBLEMS = (
    "Here is a numbered list of different problems, each with a number as its answer. Each one stands on a line of its "
    "own and gives all that is needed to solve it. Continue the list with new problems, without their answers."
)
CLASSIFY = "Task: {instruction}\nIs the answer to this task one of a few fixed labels? Answer Yes or No."
INPUT_FIRST = (
    "Task: {instruction}\nWrite an example: an input for this task, and the output that solves it. Leave the input out "
    "where the task needs none."
)
OUTPUT_FIRST = "Task: {instruction}\nWrite an example: first one of the labels of this task, then an input that has it."
STOP = ("\nTask:",)
_ITEM = re.compile(r"\n[ \t]*\d{1,3} ?[.)]")
_NUMBERED = re.compile(r"^(?:\d{1,3} ?[.)] )+")
_OUTPUT = re.compile(r"\sOutput:")
_INPUT = re.compile(r"\n[ \t]*Input:")
_NEXT = re.compile(r"\n[ \t]*(?:Input|Output|Label):")  # of one example more than was asked for
_NOTHING = re.compile(r"[\W_]*(?:n/?a|none|no ?input|not needed|empty)?[\W_]*", re.IGNORECASE)


class SeedInstance(BaseModel):
    """An input and its output, the input empty where there is none."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    input: str = ""
    output: str


class SeedTask(BaseModel):
    """A task that people wrote, in the form of Self-Instruct's `seed_tasks.jsonl`; other columns are passed over."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    instruction: str = Field(min_length=1)
    instances: tuple[SeedInstance, ...] = Field(min_length=1)
    is_classification: bool = False


def load_seeds(name: str) -> tuple[SeedTask, ...]:
    """Read seed tasks from a file of JSON lines, by path or by name in policies/seeds; raises RecipeError with the file
    and the line."""
    path = Path(name) if name.endswith(".jsonl") else find_named("seeds", f"{name}.jsonl")
    if path is None:
        names = policy_names("seeds", ".jsonl")
        raise RecipeError(f"'instruct.seeds': no seeds '{name[:200]}' in policies/seeds{suggest(name, names)}")
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {getattr(error, 'strerror', None) or 'not a UTF-8 text file'}") from None
    seeds = tuple(_read(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip())
    kinds = {one.is_classification for one in seeds}
    if len(seeds) < FEWEST_SEEDS or len(kinds) < 2:
        raise RecipeError(
            f"{path}: {len(seeds)} seed tasks are too few; give at least {FEWEST_SEEDS}, some of them with "
            '"is_classification": true and some with false'
        )
    return seeds


def _read(line: str, where: str) -> SeedTask:
    try:
        return SeedTask.model_validate(json.loads(line))
    except (ValidationError, ValueError, RecursionError):
        form = '{"instruction": "…", "instances": [{"input": "", "output": "…"}], "is_classification": false}'
        raise RecipeError(f"{where}: expected a seed task such as {form}") from None


def hash_seeds(seeds: Sequence[SeedTask]) -> str:
    return digest([one.model_dump() for one in seeds])


# --- prompts ---------------------------------------------------------------------------------------------------


def propose(prompts: PromptFormat, shown: Sequence[str], begin: str) -> str:
    """The prompt for new texts after those that are shown; what follows begins with the next number's text."""
    listed = "\n".join(f"{at}. {text}" for at, text in enumerate(shown, 1))
    return _ask(prompts, [(f"{begin}\n\n{listed}", None)], f"{len(shown) + 1}.")


def stop_of_proposals(shown: int, wanted: int) -> tuple[str, ...]:
    """Where a list ends: before the number of one task more than is wanted."""
    return ("\n\n", f"\n{shown + wanted + 1}.")


def classify(prompts: PromptFormat, seeds: Sequence[SeedTask], instruction: str) -> str:
    """The prompt that asks whether an instruction is a classification."""
    turns = [(CLASSIFY.format(instruction=one.instruction), "Yes" if one.is_classification else "No")
             for one in _mixed(seeds)]  # fmt: skip
    return _ask(prompts, [*turns, (_filled(CLASSIFY, instruction), None)])


def instance(prompts: PromptFormat, seeds: Sequence[SeedTask], instruction: str, *, output_first: bool) -> str:
    """The prompt for an input and an output of an instruction; the label first for a classification, as labels would
    otherwise be of one kind (section 2.2)."""
    form = OUTPUT_FIRST if output_first else INPUT_FIRST
    mine = [one for one in seeds if one.is_classification == output_first]
    with_input = [one for one in mine if one.instances[0].input] if output_first else _with_and_without(mine)
    turns = [(_filled(form, one.instruction), _shown(one.instances[0], output_first)) for one in with_input[:EXAMPLES]]
    return _ask(prompts, [*turns, (_filled(form, instruction), None)], "Label:" if output_first else "")


def _ask(prompts: PromptFormat, turns: Turns, begin: str = "") -> str:
    """A conversation, and how the answer begins."""
    asked = prompts.render_turns(turns)
    return asked + begin if prompts.chat else f"{asked}\n{begin}"


def _filled(form: str, instruction: str) -> str:
    return form.replace("{instruction}", instruction)


def _mixed(seeds: Sequence[SeedTask]) -> Iterator[SeedTask]:
    """Some of each kind in turn."""
    yes = [one for one in seeds if one.is_classification][:EXAMPLES]
    no = [one for one in seeds if not one.is_classification][:EXAMPLES]
    for pair in zip(yes, no, strict=False):
        yield from pair


def _with_and_without(seeds: Sequence[SeedTask]) -> list[SeedTask]:
    """Tasks with and without an input in turn."""
    having = [one for one in seeds if one.instances[0].input]
    lacking = [one for one in seeds if not one.instances[0].input]
    return [one for pair in zip(having, lacking, strict=False) for one in pair] or having or lacking


def _shown(one: SeedInstance, output_first: bool) -> str:
    if output_first:
        return f"Label: {one.output}\nInput: {one.input}"
    return f"Input: {one.input}\nOutput: {one.output}" if one.input else f"Output: {one.output}"


# --- answers ---------------------------------------------------------------------------------------------------


def read_proposals(text: str) -> list[str]:
    """The tasks of a list that goes on after a number; a model may begin a list of its own there (`9. 1. Write …`)."""
    return [_NUMBERED.sub("", " ".join(one.split())) for one in _ITEM.split(text[:LONGEST])]


def read_classification(text: str) -> bool | None:
    """Yes or no, None where it is neither."""
    word = re.match(r"\W*(\w*)", text[:LONGEST])
    return {"yes": True, "no": False}.get(word[1].casefold()) if word else None


def read_instance(text: str, *, output_first: bool) -> tuple[str, str] | None:
    """The input and the output, None where the text has not the form that was asked for."""
    text = f"\n{text[:LONGEST].strip()}"
    begin, other = ("\nLabel:", _INPUT) if output_first else ("\nInput:", _OUTPUT)
    begins, found = text.startswith(begin), other.search(text)
    if found is None or not (begins or output_first or not found.start()):
        return None
    before = text[: found.start()].removeprefix(begin).strip()
    after = _NEXT.split(text[found.end() :], maxsplit=1)[0].strip()
    given, output = (after, before.partition("\n")[0].strip()) if output_first else (before, after)
    return "" if len(given) < SHORT and _NOTHING.fullmatch(given) else given, output
