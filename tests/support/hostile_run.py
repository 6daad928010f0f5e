"""A run in which every text is hostile: what models write, what files are named, and what notes and settings say."""

import itertools
import json
import types
import typing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from builders import make_comparison, make_problem, make_rationale
from viewing import BASE, judge, write_run, write_stage

from selfimprove.constitution import Constitution, Principle, write_constitution
from selfimprove.records import (
    Action,
    Advice,
    Arm,
    Audit,
    Compliance,
    CrossCheck,
    Distillation,
    Draw,
    Earned,
    Effect,
    Frontier,
    Health,
    Instance,
    Instruction,
    Overlap,
    Portion,
    Prediction,
    Probed,
    Promotion,
    Proposal,
    Record,
    Reward,
    Rollout,
    Verdict,
    Vote,
)  # fmt: skip
from selfimprove.records import Problem as P
from selfimprove.records import Rationale as R
from selfimprove.store import RunFolder
from selfimprove.store.notes import write_note
from selfimprove.store.parts import write_part

# Each wants to be code, to end what it stands in, or to be seen as what it is not.
SMALL = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>#3",
    "\"><svg onload=alert(3)><a href='javascript:alert(4)'>#3",
    "</pre></textarea></title></script></style><script>alert(5)</script>#3",
    "' onmouseover='alert(6)' x='{{7*7}}{% raw %}${7*7}#3",
    "right to left \u202e3+2=1\u202c \u2066isolate\u2069 zero\u200bwidth \ufeff#3",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J bell\x07 \x1bP+q\x1b\\ [red]rich[/red] [/] #3",
    "NUL \x00 and \x01\x1f\x7f and lone \ufffd \r\x08\x0b\u2028\u2029 #3",
    "<!--<script>/*]]>*/ <iframe src=//example.invalid> &lt;b&gt; #3",
    "$\\mathdefault{x}$ {{ config }} %s %n ../../../etc/passwd #3",
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(7)</script></svg>]]>#3',
    "https://example.invalid/x.png ![x](https://example.invalid/y) @import url(//example.invalid/z); #3",
    "Ω≈ç√∫ 数学 عربى 🙂 e\u0301 \ue000 \U000e0041 #3",
)
HOSTILE = (*SMALL, "long " * 1_000_000 + "#3", "\n" * 1000 + "<b>" * 3000 + "#3")
NAME = "\"><img src=x onerror=alert(8)> \u202e\x1b[31m'&{{7*7}} [b]%2e #?"
"""Of the run's folder: all that a file's name can hold on Linux."""
RUN = quote(NAME, safe="")
"""The same in an address."""


class Poison:
    """Puts a hostile text of its own in each free field of records, and keeps their parents right."""

    def __init__(self, size: int = 0) -> None:
        """`size`: at least so many characters in each."""
        self._ids: dict[str, str] = {}
        self._count = itertools.count()
        self._size = size

    def text(self) -> str:
        at = next(self._count)
        text = f"{SMALL[at % len(SMALL)]} {at}"
        return text * (self._size // len(text) + 1)

    def __call__(self, record: Record) -> Record:
        changed: dict[str, Any] = {"parents": tuple(self._ids.get(one, one) for one in record.parents)}
        for name, field in type(record).model_fields.items():
            value = getattr(record, name)
            if name == "parents" or value in HOSTILE:
                continue
            if name == "steps":
                changed[name] = tuple(
                    one.model_copy(update={"reason": self.text(), "unknown": (self.text(),)}) for one in value
                )
            elif field.annotation == tuple[str, ...]:
                changed[name] = (self.text(), self.text())
            elif isinstance(value, str) and _is_text(field.annotation):
                changed[name] = self.text()
        poisoned = type(record).model_validate({**record.model_dump(), **changed})
        self._ids[record.id] = poisoned.id
        return poisoned


def _is_text(annotation: Any) -> bool:
    """Whether a field takes any text; a Literal's values are ours."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return str in options


def write_hostile(path: Path, name: str = NAME) -> RunFolder:
    """A run of one round with a rationale for each hostile text, and hostile texts in all other fields and names."""
    poison = Poison()
    folder = write_run(path, HOSTILE, name=name, change=poison)
    _write_rest(folder, poison)
    _write_settings(folder, poison)
    _write_notes(folder)
    _write_names(folder, poison)
    return folder


def _write_rest(folder: RunFolder, poison: Poison) -> None:
    """The kinds of records that a plain run has none of."""
    problems, rationales = folder.stage(1, "frontier").read(P), folder.stage(1, "generate").read(R)
    verdicts = folder.stage(1, "verify").read(Verdict)
    checks = [
        CrossCheck(parents=(one.parents[0], one.id), first=one.outcome, second="undecided", reason="", verifier="",
                   version=1)
        for one in verdicts
    ]  # fmt: skip
    write_stage(folder, 1, NAME, "crosscheck", checks, poison)
    compared = make_comparison(rationales[0], rationales[1], 0.9, 0.1, reasoning=("", ""))
    write_stage(folder, 1, "feedback", "comparison", [compared], poison)
    complies = Compliance(
        parents=(rationales[0].id,), principle="kind", constitution="mine 1 0", outcome="correct", reason="it is"
    )
    write_stage(folder, 1, "measure", "compliance", [complies], poison)
    worth = Reward(parents=(rationales[0].id, BASE.id), value=0.5, by="rank", reward="model", members=(0.5,))
    write_stage(folder, 1, "rank", "reward", [worth], poison)
    earned = Earned(reward=poison.text(), value=1.0)
    written = Rollout(parents=(rationales[0].id,), round=1, step=1, reward=1.0, parts=(earned,), kl=None, advantage=0.5)
    write_stage(folder, 1, "reinforce", "rollout", [written], poison)
    distilled = Distillation(parents=(rationales[0].id, verdicts[0].id), prompt="", hinted="", completion="", group="")
    write_stage(folder, 1, "distill", "distillation", [distilled], poison)
    audit = Audit(parents=(BASE.id,), gold="", reward_first=0.0, reward_last=1.0, gold_first=1.0, gold_last=0.0,
                  gold_highest=1.0, step=1, rose=True, fell=True, worse=True)  # fmt: skip
    write_stage(folder, 1, "watch", "audit", [audit], poison)
    shared = Overlap(parents=(rationales[0].id, problems[0].id), rule="words", where="text", share=1.0, passage="",
                     dropped=False)  # fmt: skip
    write_stage(folder, 1, "overlaps", "overlap", [shared], poison)
    row = Draw(data_set="", cluster="", template="", place="", forms=("",), tokens=3, completion_tokens=1, kept=False,
               reason="", text="")  # fmt: skip
    portion = Portion(round=1, by="data set", name="", rows=1, of=2, tokens=3, completion_tokens=1, token_share=1.0,
                      asked=0.5, empty=1, duplicates=0, too_long=0, held_out=0, failed=0)  # fmt: skip
    write_stage(folder, 1, "mix", "draw", [row, portion], poison)
    vote = Vote(parents=(problems[0].id, rationales[0].id), answer="", votes=1, samples=2, answers=2, tie=False)
    write_stage(folder, 1, "vote", "vote", [vote], poison)
    proposal = Proposal(
        parents=(BASE.id,), prompt="", text="", trigger="", kept=True, reason="", step=1, seed=1, temperature=1.0,
        tokens=1, logprob=None, finish="stop",
    )  # fmt: skip
    write_stage(folder, 1, "propose", "proposal", [proposal], poison)
    promoted = Promotion(parents=(BASE.id, BASE.id), promoted=True, won=1, lost=0, p_value=0.5, reason="")
    write_stage(folder, 1, "promote", "promotion", [promoted], poison)
    drawn = Frontier(round=1, task="", level=2, group="", attempts=2, correct=1, state="open", draw=4, reason="")
    write_stage(folder, 1, "draw", "frontier", [drawn], poison)
    seen = Health(round=1, figure="", family="", value=0.5, low=0.0, high=1.0, n=4, counted="")
    action = Action(parents=(seen.id,), round=1, changes=("generate.temperature=1.0",), rule="", reason="",
                    before=("generate.temperature=0.7",), version="1", considered=("",))  # fmt: skip
    predicted = Prediction(parents=(action.id, seen.id), round=1, figure="", family="", direction="up", least=0.1,
                           before=0.5, due=1)  # fmt: skip
    effect = Effect(parents=(predicted.id, seen.id), round=2, figure="", family="", before=0.5, after=0.1,
                    came_true="no")  # fmt: skip
    advice = Advice(parents=(BASE.id, seen.id), round=1, offered=("",), prompt="", text="", taken=False, verdict="",
                    model="", weights="", seed=0, temperature=0.0, top_p=1.0, tokens=1, logprob=None,
                    finish="stop")  # fmt: skip
    write_stage(folder, 1, "steer", "action", [seen, advice, action, predicted, effect], poison)
    tried = Probed(parents=(problems[0].id, BASE.id), round=1, temperature=1.0, right=(0, None), tokens=(1, 2))
    arm = Arm(round=1, changes=("generate.temperature=1.0",), problems=1, score=0.5, more=0.1, low=0.0, high=0.2,
              right=1, samples=2, tokens=3)  # fmt: skip
    write_stage(folder, 1, "try", "probed", [tried, arm], poison)
    proposed = Instruction(parents=(BASE.id,), text="", origin="proposed", kept=False, reason="", nearest="", round=1,
                           verb="", noun="")  # fmt: skip
    instance = Instance(parents=(proposed.id, BASE.id), input="", output="", text="", kept=True, reason="",
                        output_first=False, round=1, seed=0, tokens=1, finish="stop")  # fmt: skip
    write_stage(folder, 1, "propose", "instruction", [proposed, instance], poison)


def _write_settings(folder: RunFolder, poison: Poison) -> None:
    """The recipe, the constitution, and what stages note of themselves; NUL is in no YAML or JSON of ours."""
    recipe = folder.recipe()
    said = "\n".join(SMALL).replace("\x00", "")
    model = recipe.model.model_copy(update={"path": said, "build": None})
    (folder.path / "recipe.yaml").unlink()
    folder.write_recipe(recipe.model_copy(update={"description": said, "model": model}))
    principle = Principle(id="kind", title=said, text=said)
    folder.write_constitution(write_constitution(Constitution(name="mine", description=said, principles=[principle])))
    for at, path in enumerate(sorted(folder.path.glob("round-*/*/stage.json"))):
        manifest = json.loads(path.read_text())
        manifest |= {
            "hash": "", "settings": {poison.text(): poison.text()}, "packages": {poison.text(): "1"},
            "tokens": {poison.text(): 10}, "counts": {**manifest["counts"], poison.text(): 3},
            "metrics": {"curve": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], "rows": 3, "steps": 2},
        }  # fmt: skip
        if at % 3 == 0:
            manifest["sizes"] |= {poison.text(): 1}  # of a file that is not there
        path.write_text(json.dumps(manifest))


def _write_notes(folder: RunFolder) -> None:
    for rationale in folder.stage(1, "generate").read(R):
        for mark in ("good", "unsure"):
            write_note(folder, rationale.id, mark, rationale.text[:3999] + "\ud800", rationale.text[-80:])


def _write_names(folder: RunFolder, poison: Poison) -> None:
    """Files and folders whose names are hostile, some of which hold records."""
    stage = folder.path / "round-01" / f"{NAME} again"
    stage.mkdir()
    problem = make_problem(poison.text(), poison.text(), task=poison.text(), group=poison.text())
    rationale = make_rationale(problem, poison.text(), parents=(problem.id, BASE.id), answer=poison.text())
    for record in (problem, rationale, judge(rationale, reason=poison.text(), verifier=poison.text())):
        write_part(stage / f"{record.kind}-00000.parquet", type(record), [record])
    (stage / f"rationale-{NAME}.parquet").write_bytes(b"PAR1")
    (folder.path / f"round-{NAME}").mkdir()
    (folder.path / f"round-01 {NAME}" / "generate").mkdir(parents=True)
    (folder.path / "lock").write_text("\x1b[31m<b>")
    (folder.path / "notes" / f"note-{NAME}.json").write_text('{"mark": "</script>"')
