"""Triggers of zero-shot chain of thought: the file of given ones, and what a proposal of a model must be."""

import re

from pydantic import BaseModel, ConfigDict, Field

from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.yaml import read_document, validate

LONGEST = 200  # characters of a trigger that a model proposes
_MARKS = re.compile(r"^(?:[-*•#>]+|\(?\d{1,3}[.):]|(?:Instruction|Trigger|Text)\s*:)\s*", re.IGNORECASE)


class Trigger(BaseModel):
    """A text that follows the question, such as "Let's think step by step." (Kojima et al., 2022)."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    text: str = Field(min_length=1, max_length=2000)
    source: str = ""


class TriggerFile(BaseModel):
    """A YAML file of triggers."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    triggers: tuple[Trigger, ...] = Field(min_length=1)


def load_triggers(name: str) -> tuple[Trigger, ...]:
    """Read a file of triggers, by path or by name; raises RecipeError with the file and the line."""
    return validate(TriggerFile, read_document(find_policy("triggers", name))).triggers


def key_of(text: str) -> str:
    """What makes two triggers the same: their words, whatever the case, the spaces and the marks at the ends."""
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'“”")


def clean(text: str) -> str:
    """The first line of what a model wrote, without list marks and quotes."""
    line = next((one.strip() for one in text[: 10 * LONGEST].split("\n") if one.strip()), "")
    while found := _MARKS.match(line):
        line = line[found.end() :]
    return line.strip().strip("\"“”'`*").strip()


def why_not(text: str, known: set[str], shown: str) -> str:
    """Why a cleaned proposal is not tried, or nothing; `known` holds keys, `shown` what the model was shown."""
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    if len(key_of(text)) < 3 or not any(one.isalpha() for one in text):
        return "no words"
    if not text.isprintable():
        return "holds characters that cannot be printed"
    if key_of(text) in known:
        return "already known"
    if re.search(r"\d", text):
        return "holds a number, which belongs to a problem"
    if "?" in text:
        return "is a question"
    if len(key_of(text)) > 20 and key_of(text) in key_of(shown):
        return "copied from a problem"
    return ""
