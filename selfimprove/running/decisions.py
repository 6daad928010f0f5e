"""What a steering stage decided, taken once more from what it recorded."""

from collections.abc import Sequence
from typing import Any

from selfimprove.errors import RecipeError, StoreError
from selfimprove.recipe import Recipe
from selfimprove.recipe.controllers import find_setting, load_controller
from selfimprove.recipe.file import change_recipe
from selfimprove.recipe.flow import flow_of
from selfimprove.records import Action, Advice, Health
from selfimprove.stages.decide import Decide
from selfimprove.stages.offers import take
from selfimprove.store import RunFolder


class RecipeSettings:
    """The settings of a recipe, by name, and whether they may be changed (`stages.rules.Settable`)."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def setting(self, name: str) -> Any:
        return find_setting(self.recipe, name)

    def refuses(self, changes: Sequence[str]) -> str:
        try:
            change_recipe(self.recipe, changes)
        except RecipeError as error:
            return str(error)
        return ""


def replay(folder: RunFolder, round_: int) -> tuple[Action, Action]:
    """The action of a round as it is recorded, and as it is taken from the figures, and from what a model proposed, as
    they are recorded; raises StoreError where there is none, or where the rules were changed since."""
    recipe = folder.recipe()
    names = {step.name for step in flow_of(recipe) if step.stage.settings is Decide}
    stages = [one for one in folder.stages() if one.key[0] <= round_ and one.key[1] in names and one.closed]
    health = [one for stage in stages for one in stage.read(Health)]
    actions = {one.round: one for stage in stages for one in stage.read(Action)}
    advice = next((one for stage in stages for one in stage.read(Advice) if one.round == round_), None)
    if round_ not in actions:
        raise StoreError(f"{folder.path}: nothing was decided in round {round_}")
    recorded = actions[round_]
    controller = load_controller(recipe.of(Decide).rules)
    if controller.called != recorded.version:
        raise StoreError(f"{folder.path}: decided by the rules {recorded.version}, which are {controller.called} now")
    past = [one for at, one in actions.items() if at < round_]
    return recorded, take(round_, health, past, controller, RecipeSettings(recipe), advice).action
