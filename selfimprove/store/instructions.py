"""What a run says of the tasks that its model wrote for itself."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from selfimprove.records import INSTRUCTIONS
from selfimprove.store.manifest import Manifest


class Proposals(BaseModel):
    """The funnel of a round, why proposals were turned away, and how different those are that were kept."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, allow_inf_nan=False)
    proposed: NonNegativeInt
    kept: NonNegativeInt
    turned_away: dict[str, NonNegativeInt] = Field(alias="turned away")
    classifications: NonNegativeInt = 0
    instances: NonNegativeInt | None = None
    """None of what needs none."""
    instances_kept: NonNegativeInt | None = Field(None, alias="instances kept")
    instances_turned_away: dict[str, NonNegativeInt] = Field(default_factory=dict, alias="instances turned away")
    verbs: NonNegativeInt
    """Different ones."""
    pairs: NonNegativeInt = Field(alias="verbs with nouns")
    common: list[tuple[str, str, NonNegativeInt]]
    """Verbs with nouns that are frequent, with their counts."""
    new: float = Field(alias="new runs of words")
    """The share of runs of three words that stand in no task before."""
    similarity: float
    """The mean ROUGE-L with the nearest task before."""
    words: float

    @property
    def fate(self) -> dict[str, int]:
        """What became of the proposals."""
        return {"kept": self.kept, **self.turned_away}


def read_proposals(manifests: Sequence[Manifest]) -> dict[int, Proposals]:
    """By round; what somebody else noted under the name is passed over."""
    found: dict[int, Proposals] = {}
    for one in manifests:
        if (value := one.metrics.get(INSTRUCTIONS)) is not None:
            try:
                found[one.round] = Proposals.model_validate(value)
            except ValidationError:
                continue
    return found
