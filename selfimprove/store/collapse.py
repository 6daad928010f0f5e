"""What a run's manifests hold of how different its texts are, and whether it ends by it."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from selfimprove.recipe import Recipe
from selfimprove.records.collapse import Texts, find_collapse, find_signs
from selfimprove.store.manifest import Manifest

COLLAPSE = "texts"
"""Under this name the manifest of a stage that trains the policy holds `Texts`."""


def read_texts(manifests: Sequence[Manifest]) -> dict[int, Texts]:
    """By round; of several stages that train, the first one's."""
    found: dict[int, Texts] = {}
    for one in manifests:
        if (value := one.metrics.get(COLLAPSE)) is not None and one.round not in found:
            try:
                found[one.round] = Texts.model_validate(value)
            except ValidationError:  # somebody else's
                continue
    return found


def why_collapsed(texts: Mapping[int, Texts], recipe: Recipe) -> str:
    """Why a run begins no other round: signs that count have lasted as long as the recipe has it; or nothing."""
    settings = recipe.stop_at_collapse
    if settings is None:
        return ""
    needed = min(settings.fewest, len(set(settings.signs)))
    last = [set(find_signs(texts, at)).intersection(settings.signs) for at in sorted(texts)[-settings.rounds :]]
    if len(last) < settings.rounds or min(map(len, last)) < needed:
        return ""
    found = [one["said"] for one in find_collapse(texts) if one["rule"] in settings.signs]
    return f"{'; '.join(found)}; change or take out 'stop_at_collapse' to go on"
