"""What steering stages of a run decided, read from their records: whichever stage they are of."""

from dataclasses import dataclass, field

from selfimprove.records import Action, Advice, Effect, Health, Prediction
from selfimprove.store.run import RunFolder


@dataclass
class Decided:
    """An action with what it was taken from, what it should bring, and what came of it."""

    action: Action
    seen: list[Health]
    """The figures that it rests on."""
    prediction: Prediction | None = None
    advice: Advice | None = None
    """What a model proposed for the round, done or not."""
    effects: list[Effect] = field(default_factory=list)

    @property
    def came(self) -> str:
        """What came of it, in words; nothing where that is not known yet."""
        return "; ".join(one.said for one in self.effects)

    @property
    def expected(self) -> str:
        one = self.prediction
        if one is None:
            return ""
        name = f"{one.figure} of {one.family}" if one.family else one.figure
        least = f" by {one.least:g}" if one.least else ""
        return f"{name} {one.direction} from {one.before:.3g}{least} in round {one.due}"


def read_decided(folder: RunFolder) -> list[Decided]:
    """The actions of a run in order; raises StoreError where a file is damaged."""
    health: dict[str, Health] = {}
    found: list[Decided] = []
    predictions: dict[str, Decided] = {}
    for stage in sorted(folder.stages(), key=lambda one: one.key[0]):
        if not stage.files_of(Action) or stage.manifest() is None:
            continue
        health |= {one.id: one for one in stage.read(Health)}
        for action in stage.read(Action):
            found.append(Decided(action, [health[one] for one in action.parents if one in health]))
            found[-1].advice = next(iter(stage.read(Advice)), None)
            for prediction in stage.read(Prediction):
                if prediction.parents[:1] == (action.id,):
                    found[-1].prediction = prediction
                    predictions[prediction.id] = found[-1]
        for effect in stage.read(Effect):
            if effect.parents and effect.parents[0] in predictions:
                predictions[effect.parents[0]].effects.append(effect)
    return found


def ended_early(folder: RunFolder) -> Action | None:
    """The action that ended a run, if one did."""
    stages = [one for one in folder.stages() if one.files_of(Action) and one.manifest() is not None]
    last = max(stages, key=lambda one: one.key[0], default=None)
    actions = last.read(Action) if last else []
    return actions[-1] if actions and actions[-1].stop else None
