"""What a steering stage saw, what it chose, what it predicted, and what came of it."""

from typing import ClassVar, Literal

from selfimprove.records.base import Record
from selfimprove.settings import added


class Health(Record):
    """A figure of what a round wrote for training problems, with its 95% interval where it has one; parents: the
    records that it is read off, where they are few.

    `round` is the one that was measured, `family` a group of problems or empty for all of them; `n` counts what
    `counted` names. Without an interval both ends are the value itself.
    """

    kind: ClassVar[str] = "health"
    round: int
    figure: str
    family: str
    value: float
    low: float
    high: float
    n: int
    counted: str

    @property
    def said(self) -> str:
        """In words, with its interval."""
        interval = f" ({self.low:.3g} to {self.high:.3g})" if self.low != self.high else ""
        return f"{self.named} {self.value:.3g}{interval} in round {self.round}"

    @property
    def named(self) -> str:
        return f"{self.figure} of {self.family}" if self.family else self.figure


class Action(Record):
    """What a steering stage changes for the round that it stands in; parents: the records that it looked at.

    `changes` are settings as `--set` takes them, `generate.temperature=1.0`: they hold for the stages after it in its
    round. A changed action changes the fingerprints of all that follows. `rule` is empty where nothing is changed.
    """

    kind: ClassVar[str] = "action"
    round: int
    changes: tuple[str, ...]
    rule: str
    reason: str
    before: tuple[str, ...] = added(())
    """The same settings as the recipe has them."""
    version: str = added("")
    """Of the rules: their name, their version and a hash of what they say."""
    considered: tuple[str, ...] = added(())
    """Each other rule, and why it does not act."""
    stop: bool = added(False)
    """Whether the run ends here."""
    back_to: int | None = added(None)
    """The round at whose end the checkpoint was kept that this round starts from; by default the one before."""

    @property
    def differences(self) -> list[tuple[str, str, str]]:
        """Each setting that is changed, as it was and as it is in this round, and where it starts if that is not where
        the round before ended."""
        was = dict(one.partition("=")[::2] for one in self.before)
        back = [] if self.back_to is None else [("starts from", "the last checkpoint", f"that of round {self.back_to}")]
        return back + [(name, was.get(name, "?"), now) for name, _, now in (one.partition("=") for one in self.changes)]

    @property
    def said(self) -> str:
        """In words: the rule, what it changes, and why."""
        if not self.rule:
            return self.reason
        changed = ", ".join(f"{name} {was} → {now}" for name, was, now in self.differences)
        return f"{self.rule}: {'stop' if self.stop else changed}; {self.reason}"


class Advice(Record):
    """What a model proposed that a round changes, and whether that is done; parents: the model's checkpoint, the
    figures and the texts that it was shown.

    `text` is what it wrote, up to the end of a line. It is done only where it names one of `offered`, which are
    settings as `--set` takes them.
    """

    kind: ClassVar[str] = "advice"
    round: int
    offered: tuple[str, ...]
    prompt: str
    text: str
    taken: bool
    verdict: str
    """What it is taken for, or why it is not."""
    model: str
    weights: str
    """The hash of its tensors."""
    seed: int
    temperature: float
    top_p: float
    tokens: int
    logprob: float | None
    finish: Literal["stop", "length", "too_long"]

    @property
    def said(self) -> str:
        """In words."""
        return f"a model proposed {self.text.strip()[:80]!r}: {self.verdict}"


class Prediction(Record):
    """What an action is expected to bring; parents: the action, and the figure as it was."""

    kind: ClassVar[str] = "prediction"
    round: int
    """In which the action was taken."""
    figure: str
    family: str
    direction: Literal["up", "down"]
    least: float
    """By how much at least."""
    before: float
    due: int
    """The round whose measurement shows it."""


class Effect(Record):
    """What came of a prediction; parents: the prediction, and the figure as it is now where it was measured."""

    kind: ClassVar[str] = "effect"
    round: int
    """In which it was looked at."""
    figure: str
    family: str
    before: float
    after: float | None
    came_true: Literal["yes", "no", "not measured"]

    @property
    def said(self) -> str:
        name = f"{self.figure} of {self.family}" if self.family else self.figure
        if self.after is None:
            return f"{name} was not measured again"
        return f"{name} went from {self.before:.3g} to {self.after:.3g}, {self._verdict}"

    @property
    def _verdict(self) -> str:
        return "as predicted" if self.came_true == "yes" else "not as predicted"


class Probed(Record):
    """What came of one problem's samples at a temperature that was tried; parents: the problem and the checkpoint.

    The samples have the random streams of the other temperatures' samples with the same numbers.
    """

    kind: ClassVar[str] = "probed"
    round: int
    temperature: float
    right: tuple[int | None, ...]
    """Of each sample a number that equal texts share; None where it is not right or its steps are not."""
    tokens: tuple[int, ...]
    """Of each sample."""


class Arm(Record):
    """What settings brought that were tried on some problems, beside those of the round on the same ones."""

    kind: ClassVar[str] = "arm"
    round: int
    changes: tuple[str, ...]
    """The settings, as `--set` takes them."""
    problems: int
    score: float
    """The mean over the problems of B-STaR's balance, for as many tokens as the round's own settings take."""
    more: float
    """By how much this is more than what the round's own settings brought, with the paired 95% interval."""
    low: float
    high: float
    right: int
    """Right samples of `samples`."""
    samples: int
    tokens: int
    """What trying it took, or would have taken alone."""

    @property
    def said(self) -> str:
        """In words."""
        what = ", ".join(self.changes)
        beside = f", {self.more:+.3g} ({self.low:+.3g} to {self.high:+.3g})" if self.low != self.high else ""
        return f"{what}: {self.score:.3g}{beside}, {self.right} of {self.samples} right, {self.tokens:,} tokens"
