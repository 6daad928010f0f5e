"""Models that fail at a step, are put right where they are forced to leave it, and propose what a round does."""

from collections.abc import Sequence

from selfimprove.engines import Engine, ScriptedEngine
from selfimprove.records import Checkpoint
from selfimprove.running.session import Session
from selfimprove.tasks.addition import parse_addition, write_rationale


class Forced(ScriptedEngine):
    """Wrong in the second and third column, whatever it samples; right up to the next of them where it is forced to."""

    def __init__(self) -> None:
        super().__init__(self.go_on)

    def go_on(self, prompt: str, seed: int) -> str:
        question, _separator, given = prompt.rpartition("=") if prompt.endswith("=") else prompt.partition("=")
        operands = parse_addition(question.rpartition("?")[2])
        assert operands is not None
        whole = write_rationale(*map(int, operands)).split("\n")
        at = given.count("\n")
        forced = whole[at].startswith(given.rpartition("\n")[2]) and not given.endswith("\n") and bool(given)
        lines = whole[: at + forced or 1]
        text = "\n".join(whole) if at + forced >= len(whole) - 1 else "\n".join([*lines, "9+9+9=99", "#0"])
        return text.removeprefix(given) if text.startswith(given) else "\n#0"

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        found = []
        for prompt, wrong in pairs:
            question, _, given = prompt.partition("=")
            operands = parse_addition(question.rpartition("?")[2])
            assert operands is not None and wrong == "9+9+9=99"
            line = write_rationale(*map(int, operands)).split("\n")[given.count("\n")]
            found.append(["9+8", line[:3]][:most])
        return found


class Steered(Forced):
    """Right with every eighth seed, else as above; asked what a round should change, it says a number."""

    def go_on(self, prompt: str, seed: int) -> str:
        if prompt.endswith("\nNumber:"):
            return " 2"
        if prompt.endswith("=") and seed % 8 == 0:
            operands = parse_addition(prompt.rpartition("?")[2])
            assert operands is not None
            return write_rationale(*map(int, operands))
        return super().go_on(prompt, seed)


def load_steered(checkpoint: Checkpoint, session: Session) -> Engine:
    return Steered()


STEERED = """name: mine
rules:
  - name: back
    reason: to take another way
    when: [{figure: yield, op: ">=", value: 0, rounds: 2}]
    back_to: 1
    cool_down: 9
  - name: warmer
    reason: to see another temperature
    when: [{figure: yield, op: ">=", value: 0}]
    change:
      - {setting: generate.temperature, scale: 1.5, at_most: 1.4}
      - {setting: repair.samples, add: 1}
    expects: {figure: yield, direction: up, by: 0}
"""
"""Round 2 is a model's to propose, round 3 goes back to the checkpoint of round 1."""
