"""PRISM's published files (Kirk et al., 2024): who the people are, and what they gave responses to their prompts."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.people.ratings import Rating, clean
from selfimprove.records import replace_surrogates
from selfimprove.tasks.base import load_hub, read_text

HUB = "HannahRoseKirk/prism-alignment"
LICENCE = (
    "PRISM: what people wrote and rated is under CC BY 4.0, the models' responses are under CC BY-NC 4.0 and their "
    "providers' terms (no commercial use); nobody in it may be re-identified"
)
TRAITS = {
    "age": ("age",),
    "gender": ("gender",),
    "education": ("education",),
    "employment": ("employment_status",),
    "marital status": ("marital_status",),
    "English": ("english_proficiency",),
    "religion": ("religion", "simplified"),
    "ethnicity": ("ethnicity", "simplified"),
    "region": ("location", "reside_region"),
    "born in": ("location", "birth_region"),
    "familiarity": ("lm_familiarity",),
    "locale": ("study_locale",),
}
"""By our name of a trait, where the survey has it; what a survey lacks is left out."""


def is_prism(path: Path) -> bool:
    """Whether a folder holds PRISM's files."""
    return path.is_dir() and (path / "survey.jsonl").exists()


def load_prism(folder: Path | None = None, *, balanced: bool = False) -> list[Rating]:
    """The ratings of the opening turns, in which people saw up to four models; from a folder, or from the hub.

    A folder holds survey.jsonl with utterances.jsonl, or with conversations.jsonl, which says the same. `balanced`
    takes the balanced subset alone. Later turns are left out: their two responses are by one model, to prompts that
    depend on what was chosen. Raises TaskError with the file, the line and what is missing.
    """
    people = {str(row.get("user_id")): read_traits(row) for _, row in _rows(folder, "survey")}
    if folder is None or (folder / "utterances.jsonl").exists():
        rows: Iterable[tuple[str, Mapping[str, Any]]] = _rows(folder, "utterances")
    elif (folder / "conversations.jsonl").exists():
        rows = (one for where, row in _rows(folder, "conversations") for one in flatten(row, where))
    else:
        raise TaskError(f"{folder}: neither utterances.jsonl nor conversations.jsonl is there; download one of {HUB}")
    found = [
        read_utterance(row, where, people)
        for where, row in rows
        if row.get("turn") == 0
        and row.get("score") is not None
        and (not balanced or row.get("included_in_balanced_subset"))
    ]
    if not found:
        raise TaskError(f"{folder or HUB}: holds no rated opening turn")
    return found


def read_traits(row: Mapping[str, object]) -> dict[str, str]:
    """The traits that a person's row of the survey names."""
    found = {}
    for name, path in TRAITS.items():
        value: Any = row
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value.strip():
            found[name] = clean(value)
    return found


def read_utterance(row: Mapping[str, Any], where: str, people: Mapping[str, Mapping[str, str]]) -> Rating:
    """The rating of a row of utterances.jsonl; raises TaskError."""
    texts = {
        name: row.get(name) for name in ("user_id", "conversation_id", "user_prompt", "model_response", "model_name")
    }
    if wrong := next((name for name, value in texts.items() if not isinstance(value, str)), None):
        raise TaskError(f"{where}: '{wrong}' is not a text; is this PRISM's file?")
    score, place = row["score"], row.get("within_turn_id")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 100:
        raise TaskError(f"{where}: 'score' is not a number from 1 to 100")
    return Rating(
        rater=clean(str(row["user_id"])),
        item=clean(str(row.get("interaction_id") or f"{row['conversation_id']}-0")),
        response=clean(str(row.get("utterance_id") or place)),
        prompt=replace_surrogates(row["user_prompt"]),
        text=replace_surrogates(row["model_response"]),
        source=clean(row["model_name"]),
        score=float(score),
        choice=row["if_chosen"] if isinstance(row.get("if_chosen"), bool) else None,
        cohorts=people.get(str(row["user_id"]), {}),
    )


def flatten(row: Mapping[str, object], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The opening turn of a row of conversations.jsonl as rows of utterances.jsonl."""
    history = row.get("conversation_history")
    if not isinstance(history, list) or not all(isinstance(one, Mapping) for one in history):
        raise TaskError(f"{where}: 'conversation_history' is not a list of turns; is this PRISM's file?")
    opening = [one for one in history if one.get("turn") == 0]
    asked = next((one.get("content") for one in opening if one.get("role") == "user"), None)
    for at, one in enumerate(one for one in opening if one.get("role") != "user"):
        yield (
            where,
            {
                **{name: row.get(name) for name in ("user_id", "conversation_id", "included_in_balanced_subset")},
                **{name: one.get(name) for name in ("turn", "model_name", "score", "if_chosen")},
                "user_prompt": asked,
                "model_response": one.get("content"),
                "within_turn_id": one.get("within_turn_id", at),
            },
        )


def _rows(folder: Path | None, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of one of the files, each with where it stands."""
    if folder is None:
        yield from ((f"{HUB} {name}", row) for row in load_hub(HUB, "train", name))
        return
    path = folder / f"{name}.jsonl"
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TaskError(f"{path}:{number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise TaskError(f"{path}:{number}: expected an object")
        yield f"{path}:{number}", row
