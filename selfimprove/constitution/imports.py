"""Constitutions from the JSON of others: the Constitutional AI paper's prompts, and the recipes that follow it."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfimprove.constitution.model import ComparisonExemplar, Constitution, CritiqueExemplar, Principle
from selfimprove.errors import RecipeError
from selfimprove.recipe.json_text import check_characters

MAX_BYTES = 10_000_000
KNOWN = (
    "a mapping of principles with 'prompt' and 'edit_request', a list of preference instructions, a list of few-shot "
    "transcripts or comparisons, or a mapping with 'constitutions'"
)
_TURN = re.compile(r"\n\n(Human|Assistant|CritiqueRequest|Critique|RevisionRequest|Revision): ?")
_LABEL = re.compile(r"\b(?:CritiqueRequest|Critique|RevisionRequest|Revision):")
_OPTION = re.compile(r"\(([A-Z])\) \[\[\[(.*?)\]\]\]", re.DOTALL)
_CHOSEN = re.compile(r"answer is: \(([A-Z])\)\s*$")


def import_constitution(paths: Iterable[Path], name: str) -> tuple[Constitution, list[str]]:
    """A constitution from one or more JSON files, and a line for what was read from each; raises RecipeError."""
    parts: dict[str, list[Any]] = {"principles": [], "exemplars": [], "comparisons": []}
    said = []
    for path in paths:
        found = _read(path)
        for kind, items in found.items():
            parts[kind].extend(items)
        said.append(f"{path}: {', '.join(f'{len(items)} {kind}' for kind, items in found.items())}")
    if not parts["principles"]:
        raise RecipeError(
            "no principles in these files: name the file with the critique or preference instructions too"
        )
    names = [one.id for one in parts["principles"]]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice:
        raise RecipeError(f"two principles would have the id '{twice}'; import the files one by one")
    try:
        return Constitution.model_validate({"name": name, **parts}), said
    except ValidationError:  # its parts are valid
        raise RecipeError(
            f"{name[:100]!r} cannot be the name of a constitution; take letters, digits, '.', '-' and '_'"
        ) from None


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path}: over {MAX_BYTES:,} bytes, which no constitution is")
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise RecipeError(f"{path}: not a JSON file") from None
    check_characters(data, str(path))
    for holds, convert in FORMATS:
        if holds(data):
            try:
                return convert(data, str(path))
            except ValidationError as error:
                first = error.errors()[0]
                what = f"'{first['loc'][0]}' {first['msg'].removeprefix('Value error, ')}"
                raise RecipeError(f"{path}: {what}, in what would be a {error.title}") from None
    raise RecipeError(f"{path}: not a format that is known here: {KNOWN}")


# --- the paper's own files -------------------------------------------------------------------------------------


def _instructions(data: Mapping[str, Any], source: str) -> dict[str, list[Any]]:
    principles = []
    for name, entry in data.items():
        requests, edit = entry.get("prompt"), entry.get("edit_request")
        texts = [requests] if isinstance(requests, str) else requests
        if not isinstance(edit, str) or not _strings(texts) or not texts:
            raise RecipeError(f"{source}: '{name}' needs a list of texts 'prompt' and a text 'edit_request'")
        for place, text in enumerate(texts):
            identity = name if len(texts) == 1 else f"{name}-{place + 1}"
            principles.append(_principle(identity, _plain(text), _plain(edit), source))
    return {"principles": principles}


def _questions(data: Sequence[str], source: str) -> dict[str, list[Any]]:
    texts = [text.strip().removesuffix("Options:").strip() for text in data]
    if not all(texts):
        raise RecipeError(f"{source}: a preference instruction is empty")
    return {
        "principles": [
            Principle(id=f"preference{place}", text=text, preference="{text}", uses=("preference",))
            for place, text in enumerate(texts)
        ]
    }


def _transcripts(data: Sequence[str], source: str) -> dict[str, list[Any]]:
    return {"exemplars": [_transcript(text, f"{source}: transcript {place + 1}") for place, text in enumerate(data)]}


def _transcript(text: str, where: str) -> CritiqueExemplar:
    pieces = _TURN.split("\n\n" + text.strip())
    turns = list(zip(pieces[1::2], (one.strip() for one in pieces[2::2]), strict=True))
    labels = [label for label, _ in turns]
    if "Critique" not in labels or "Revision" not in labels or "Assistant" not in labels[: labels.index("Critique")]:
        raise RecipeError(f"{where}: expected the turns Human, Assistant, CritiqueRequest, Critique and Revision")
    at = labels.index("Critique")
    last = max(place for place in range(at) if labels[place] == "Assistant")
    earlier = [f"{label}: {said}" for label, said in turns[:last]]
    return CritiqueExemplar(
        question="\n\n".join(earlier).removeprefix("Human: "),
        response=turns[last][1],
        critique=turns[at][1],
        revision=turns[labels.index("Revision")][1],
    )


def _comparisons(data: Sequence[Mapping[str, Any]], source: str) -> dict[str, list[Any]]:
    found = []
    for place, entry in enumerate(data):
        where = f"{source}: comparison {place + 1}"
        if not isinstance(entry.get("prompt"), str):
            raise RecipeError(f"{where}: expected a text 'prompt'")
        good, bad = entry.get("corrects"), entry.get("incorrects")
        if not (_strings(good) and _strings(bad) and good and bad):
            found.append(_reasoned(entry["prompt"], where))
            continue
        question = entry["prompt"].strip().removesuffix("Assistant:").strip().removeprefix("Human:").strip()
        found.append(ComparisonExemplar(question=question, chosen=good[0], rejected=bad[0]))
    return {"comparisons": found}


def _reasoned(text: str, where: str) -> ComparisonExemplar:
    """A comparison with its chain of thought, as the paper's CoT few-shots are written."""
    head, _, reasoning = text.partition("Assistant: Let's think step by step:")
    options, chosen = dict(_OPTION.findall(head)), _CHOSEN.search(text)
    if set(options) != {"A", "B"} or chosen is None or chosen[1] not in options:
        raise RecipeError(f"{where}: expected two options (A) [[[…]]] and (B) [[[…]]], and which one is the answer")
    question = head.partition("\n\n{}")[0].partition("assistant")[2].partition(":\n\n")[2]
    return ComparisonExemplar(
        question=question.strip().removeprefix("H:").strip() or head.strip(),
        chosen=options[chosen[1]],
        rejected=options["B" if chosen[1] == "A" else "A"],
        reasoning=reasoning.rpartition("Human:")[0].strip(),
        first="chosen" if chosen[1] == "A" else "rejected",
    )


# --- the public recipes that follow it -------------------------------------------------------------------------


def _recipe(data: Mapping[str, Any], source: str) -> dict[str, list[Any]]:
    """`constitutions` with a critic and a revision request each, and chats that show how it is done."""
    principles = []
    for place, entry in enumerate(data["constitutions"]):
        critic, revision = (entry.get(key) if isinstance(entry, dict) else None for key in ("critic", "revision"))
        if not isinstance(critic, str) or not isinstance(revision, str):
            raise RecipeError(f"{source}: principle {place + 1} needs the texts 'critic' and 'revision'")
        principles.append(_principle(f"principle{place}", critic.strip(), revision.strip(), source))
    chats = data.get("system_chat") or data.get("system_chats") or []
    if not isinstance(chats, list):
        raise RecipeError(f"{source}: 'system_chat' is a list of chats")
    exemplars = [_chat(chat, f"{source}: chat {place + 1}") for place, chat in enumerate(chats)]
    return {"principles": principles, "exemplars": exemplars}


def _chat(chat: object, where: str) -> CritiqueExemplar:
    messages = chat if isinstance(chat, list) else []
    turns = [str(one.get("content") or "") if isinstance(one, dict) else "" for one in messages]
    if len(turns) < 6 or len(turns) % 2 or not _strings(turns):
        raise RecipeError(f"{where}: expected the six turns question, response, critique request, critique, …")
    labels = ("Human", "Assistant")
    earlier = [f"{labels[at % 2]}: {turn.strip()}" for at, turn in enumerate(turns[:-5])]
    question = "\n\n".join(earlier).removeprefix("Human: ")
    return CritiqueExemplar(question=question, response=turns[-5], critique=turns[-3], revision=turns[-1])


# --- what they share -------------------------------------------------------------------------------------------


def _principle(name: str, critique: str, revision: str, source: str) -> Principle:
    identity = re.sub(r"[^a-z0-9_-]+", "-", name.casefold()).strip("-_")[:64]
    if not identity or not critique or not revision:
        raise RecipeError(f"{source}: '{name}' is no principle: its name, critique and revision must not be empty")
    return Principle(id=identity, text=critique, critique="{text}", revision=_literal(revision), uses=("critique",))


def _literal(text: str) -> str:
    """A text as a template that stands for itself."""
    return re.sub(r"\{(\w*)\}", r"(\1)", text)


def _plain(text: str) -> str:
    return _LABEL.sub("", text).strip()


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)


def _texts_with(marker: str) -> Callable[[Any], bool]:
    return lambda data: _strings(data) and bool(data) and all(marker in text for text in data)


FORMATS: Sequence[tuple[Callable[[Any], bool], Callable[[Any, str], dict[str, list[Any]]]]] = (
    (lambda data: isinstance(data, dict) and isinstance(data.get("constitutions"), list), _recipe),
    (
        lambda data: isinstance(data, dict) and bool(data)
        and all(isinstance(one, dict) and "edit_request" in one for one in data.values()),
        _instructions,
    ),
    (_texts_with("Revision:"), _transcripts),
    (lambda data: _strings(data) and bool(data), _questions),
    (lambda data: isinstance(data, list) and bool(data) and all(isinstance(one, dict) for one in data), _comparisons),
)  # fmt: skip
