"""What a run may spend: an amount of CPU or GPU time, of tokens, or of rounds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Literal

from pydantic import AfterValidator

Unit = Literal["cpu", "gpu", "tokens", "rounds"]
MOST = 200  # characters
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MANY = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
COUNTED = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([kMG]?) *(tokens|rounds?)")
TIME = re.compile(r"((?:\d{1,9}(?:\.\d{1,6})?[smhd])+)(?: +(cpu|gpu))?")
COUNTS: dict[Unit, str] = {"cpu": "of CPU time", "gpu": "of GPU time", "tokens": "tokens", "rounds": "rounds"}
PIECE = re.compile(r"([\d.]+)([smhd])")


@dataclass(frozen=True)
class Budget:
    """An amount in seconds, tokens or rounds."""

    amount: float
    unit: Unit

    def show(self, amount: float) -> str:
        """An amount in the budget's unit."""
        return show_seconds(amount) if self.unit in ("cpu", "gpu") else f"{amount:,.0f}"

    def __str__(self) -> str:
        return f"{self.show(self.amount)} {COUNTS[self.unit]}"


@dataclass(frozen=True)
class Ledger:
    """A budget and what was spent of it, in its unit."""

    budget: Budget
    by_round: Mapping[int, float]
    """Of rounds that were begun, the last one perhaps not to its end."""

    @property
    def spent(self) -> float:
        return sum(self.by_round.values())

    @property
    def left(self) -> float:
        """None is left where more was spent: what goes on is never broken off."""
        return max(0.0, self.budget.amount - self.spent)

    @property
    def share_left(self) -> float:
        return self.left / self.budget.amount

    @property
    def said(self) -> str:
        """In words."""
        show = self.budget.show
        return f"budget of {self.budget}: {show(self.spent)} spent, {show(self.left)} left ({self.share_left:.0%})"

    def rounds_left(self, last: int) -> float:
        """How many more rounds the budget pays for, at the median cost of a given one and the two before it.

        One expensive round then does not end a run. Where they cost nothing it is 1000.
        """
        costs = [cost for round_, cost in self.by_round.items() if max(0, last - 3) < round_ <= last]
        cost = median(costs) if costs else 0.0
        return self.left / cost if cost else float(1000)


def show_seconds(seconds: float) -> str:
    """Seconds as `1h 2m`, `3m 4s` or `5.6s`."""
    if abs(seconds) < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h {minutes % 60}m" if minutes >= 60 else f"{minutes}m {rest}s"


def parse_budget(text: str) -> Budget:
    """Read `30m`, `1h30m gpu`, `2M tokens` or `5 rounds`; raises ValueError."""
    found: Budget | None = None
    if len(text) <= MOST and (counted := COUNTED.fullmatch(text.strip())):
        unit: Unit = "tokens" if counted[3] == "tokens" else "rounds"
        found = Budget(float(counted[1]) * MANY[counted[2]], unit)
    elif len(text) <= MOST and (time := TIME.fullmatch(text.strip())):
        seconds = sum(float(number) * SECONDS[unit] for number, unit in PIECE.findall(time[1]))
        found = Budget(seconds, "gpu" if time[2] == "gpu" else "cpu")
    if found is None or not found.amount:
        raise ValueError("must be a time such as 30m or '1h30m gpu', or '2M tokens', or '5 rounds'")
    return found


def check_budget(text: str) -> str:
    """The text itself where it is a budget; raises ValueError."""
    parse_budget(text)
    return text


BudgetText = Annotated[str, AfterValidator(check_budget)]
