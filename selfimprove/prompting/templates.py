"""Templates that make a prompt and its completion of a row of a data set: promptsource's, and one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.prompting.sandbox import Sandbox, SandboxError

LONGEST = 1 << 18  # characters of what is made of a row
WHOLE, OPTIONS = "whole", "options"


@dataclass(frozen=True)
class Rendered:
    """What a template makes of a row."""

    prompt: str
    completion: str
    rationale: str = ""
    """The reasoning that leads to the completion, where the template knows it."""
    options: tuple[str, ...] = ()
    """The texts that the completion is one of."""


@dataclass(frozen=True)
class Unrendered:
    """Why a template makes nothing of a row."""

    reason: str


@dataclass(frozen=True)
class RowTemplate:
    """A template in Jinja; `sources` are its parts by name.

    `whole` writes a prompt and its completion with `|||` between them, as promptsource has it (Bach et al., 2022); else
    `prompt`, `completion` and maybe `rationale` are parts of their own. `options` writes the texts that the completion
    is one of, with `|||` between them, and the other parts know these as `answer_choices`.
    """

    name: str
    sources: Mapping[str, str]
    where: str
    """The file and the line."""
    inverts: bool = False
    """Whether it asks for what a row's own task gives, such as a question to an answer."""
    shows_options: bool = False
    """Whether its prompt shows the options itself."""
    strict: bool = True
    """Whether a name that the row does not have is an error, and not an empty text."""
    sandbox: Sandbox = field(default_factory=Sandbox, repr=False, compare=False)

    @property
    def reasons(self) -> bool:
        """Whether it may give a rationale."""
        return "rationale" in self.sources

    @property
    def has_options(self) -> bool:
        return OPTIONS in self.sources

    def names(self) -> list[str]:
        """The columns that it speaks of; raises TaskError where it is no template."""
        names: list[str] = self._ask({})["names"]
        return [one for one in names if one != "answer_choices"]

    def render(self, rows: Sequence[Mapping[str, object]], seeds: Sequence[int]) -> list[Rendered | Unrendered]:
        """What it makes of rows; the seed decides what a template draws by chance. Raises TaskError where it does not
        end or takes too much memory."""
        answer = self._ask({"rows": list(rows), "seeds": list(seeds), "longest": LONGEST})
        return [self._read(one) for one in answer["rows"]]

    def _ask(self, asked: Mapping[str, object]) -> dict[str, Any]:
        # The options come first: the other parts are told of them.
        sources = dict(sorted(self.sources.items(), key=lambda one: one[0] != OPTIONS))
        try:
            answer = self.sandbox.ask({"templates": sources, "strict": self.strict, **asked})
        except SandboxError as error:
            raise TaskError(f"{self.where}: the template '{self.name}' {error}; mend or leave it out") from None
        if "error" in answer:
            said = " ".join(answer["error"].split())[:200]
            raise TaskError(
                f"{self.where}: the template '{self.name}' cannot be used ({said}); mend it or leave it out"
            )
        return answer

    def _read(self, made: Mapping[str, Any]) -> Rendered | Unrendered:
        if "error" in made:
            return Unrendered(f"the template fails: {' '.join(str(made['error']).split())[:160]}")
        options = tuple(dict.fromkeys(one for one in made.get(OPTIONS, ()) if one))
        if WHOLE not in made:
            prompt, completion, rationale = (
                "|||".join(made.get(name, ())) for name in ("prompt", "completion", "rationale")
            )
            return Rendered(prompt, completion, rationale, options)
        if len(made[WHOLE]) != 2:
            written = "".join(made[WHOLE]).strip()
            return Unrendered(
                f"the template writes {len(made[WHOLE])} parts instead of a prompt and a completion"
                if written
                else "the template has nothing to say of the row"
            )
        prompt, completion = made[WHOLE]
        return Rendered(prompt, completion, options=options)
