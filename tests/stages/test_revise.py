"""Chains of critiques and revisions, with a scripted writer and a scripted judge, and what is learned from them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pytest
from builders import (
    CHECKPOINT,
    CutEngine,
    make_constitution,
    make_critique,
    make_problem,
    make_rationale,
    make_revised,
    make_verdict,
)

from selfimprove.constitution import Constitution, Principle
from selfimprove.constitution.model import Check, LengthCheck, PatternCheck, Scope, VerifierCheck
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import ScriptedEngine
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.records import (
    Checkpoint,
    Critique,
    Example,
    Outcome,
    Problem,
    Rationale,
    Record,
    Revision,
    Step,
    Verdict,
    by_id,
)
from selfimprove.stages.base import Writer
from selfimprove.stages.critique import CritiqueSettings, find_line
from selfimprove.stages.critique_examples import critique_examples, is_right
from selfimprove.stages.evaluate import describe_texts, measure_revisions
from selfimprove.stages.revise import Judge, Revise, chain, revise
from selfimprove.stages.select import Select
from selfimprove.stages.weigh import find_marks

NOTHING = "Nothing to improve."
ASK = CritiqueSettings()
PROBLEM = make_problem("How?", None, task="prompts/mine", group="risky")
FIRST = make_rationale(PROBLEM, "Go away.")
Kind = TypeVar("Kind", bound=Record)
Finish = Literal["stop", "length", "too_long"]


def says(text: str) -> Outcome:
    """The scripted judge: a text says itself whether it is right."""
    return "correct" if "right" in text else "incorrect" if "wrong" in text else "undecided"


def judge(pairs: Iterable[tuple[Problem, Rationale]]) -> Iterator[Verdict]:
    return (make_verdict(rationale, says(rationale.text)) for _, rationale in pairs)


@dataclass
class Judging:
    judge: Judge


@dataclass
class Chain:
    """Everything that a chain wrote, by kind."""

    records: list[Record]

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [one for one in self.records if isinstance(one, kind)]

    @property
    def principles(self) -> list[str]:
        return [one.principle for one in self.of(Critique)]

    @property
    def reasons(self) -> list[str]:
        return [one.reason for one in self.of(Revision)]

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.of(Rationale)]


def run(
    constitution: Constitution,
    revised: Callable[[str], str] | str = "Please go.",
    *,
    said: Callable[[str], str] | str = "It is rude.",
    responses: Sequence[Rationale] = (FIRST,),
    problems: Sequence[Problem] = (PROBLEM,),
    critique: CritiqueSettings | None = ASK,
    finish: Callable[[str], Finish] = lambda _: "stop",
    seed: int = 3,
    **settings: Any,
) -> Chain:
    """Chains of responses; `said` and `revised` are the critique and the revision, or write them by the prompt."""

    def write(prompt: str, _: int) -> str:
        script = said if prompt.endswith("\nCritique:") else revised
        assert prompt.endswith(("\nCritique:", "\nRevision:"))
        return script if isinstance(script, str) else script(prompt)

    writer = Writer(CutEngine(write, finish), CHECKPOINT, lambda _, text, __: text[-1:], (), round=2, seed=seed)
    records = revise(
        responses,
        problems=by_id(problems),
        verdicts={one.id: make_verdict(one, says(one.text)) for one in responses},
        judge=judge,
        writer=writer,
        prompter=Prompter(constitution),
        critique=critique,
        settings=Revise(**settings),
    )
    return Chain(list(records))


KIND, THREE = make_constitution("kind"), make_constitution("kind", "brief", "true")


@pytest.mark.parametrize("blank", ["", " ", "\n \n"])
def test_a_blank_critique_found_nothing(blank: str) -> None:
    chain = run(THREE, said=blank, revisions=3)
    assert [one.found for one in chain.of(Critique)] == [False] * 3
    assert not chain.of(Revision) and not chain.texts


# --- a critique's line -----------------------------------------------------------------------------------------

LINES = "2 + 2 = 4\n4 + 3 = 8\n#### 8"


@pytest.mark.parametrize(
    ("critique", "response", "line"),
    [
        ("Line 2 is wrong.", LINES, 2),
        ("The mistake is on line number 2.", LINES, 2),
        ("line no. 3 follows from it", LINES, 3),
        ("Lines 2 and 3 are wrong.", LINES, 2),
        ("Line 4 is wrong.", LINES, None),
        ("Line 0 is wrong.", LINES, None),
        ("The deadline 2 is wrong.", LINES, None),
        ("It says 4 + 3 = 8, which is 7.", LINES, 2),
        ("2 + 2 = 4 is right.\n4 + 3 = 8 is wrong.", LINES, 2),
        ("4 + 3 = 8\nis wrong", f"\n {LINES} \n", 2),
        ("Line 1 is wrong.", f"\n\n{LINES}", 1),
        ("It is rude.", LINES, None),
        ("", LINES, None),
        ("Line 1 is empty.", "", 1),
        # A short line stands in other words by chance.
        ("4 is wrong", "4\n5 + 1", None),
        # The longest line that is quoted, where a shorter one stands within it.
        ("12 + 3 = 15 is wrong", "2 + 3 = 1\n12 + 3 = 15\n2 + 3 = 15", 2),
        # Of lines that are alike the one at which the critique has arrived.
        ("0+0 0+0\n1+1 1+1\n0+0 0+0x", "0+0\n1+1\n0+0", 3),
        ("0+0 0+0x", "0+0\n1+1\n0+0", 1),
    ],
)
def test_the_line_that_a_critique_names(critique: str, response: str, line: int | None) -> None:
    assert find_line(critique, response) == line


# --- chains ----------------------------------------------------------------------------------------------------


def test_where_nothing_is_found_nothing_is_revised_and_another_principle_is_drawn() -> None:
    chain = run(THREE, said=f" {NOTHING}", revisions=5)
    assert sorted(chain.principles) == ["brief", "kind", "true"]
    assert len(chain.records) == 3 and not any(one.found for one in chain.of(Critique))
    assert [one.step for one in chain.of(Critique)] == [1, 2, 3]


def test_a_chain_ends_where_every_principle_leaves_the_text_as_it_is() -> None:
    chain = run(THREE, " Go\naway. ", revisions=5)
    assert sorted(chain.principles) == ["brief", "kind", "true"]
    assert chain.reasons == ["unchanged"] * 3 and all(one.marks == ("unchanged",) for one in chain.of(Revision))
    assert {one.response for one in chain.of(Critique)} == {FIRST.id}


def test_what_was_settled_is_open_again_once_the_text_has_changed() -> None:
    def said(prompt: str) -> str:
        last = prompt.rpartition("Human:")[2]
        return "It is not brief." if "brief" in last and "Go away." in last else NOTHING

    chain = run(make_constitution("kind", "brief"), "Go.", said=said, revisions=9, principles="in-turn")
    assert chain.principles == ["kind", "brief", "kind", "brief"]
    assert chain.reasons == ["kept"] and [one.step for one in chain.of(Critique)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("revised", "reason", "marks"),
    [
        ("Please go.", "kept", ()),
        ("Go  away.\n", "unchanged", ("unchanged",)),
        ("Please go.\nRevision Request: Shorter.", "it repeats the prompt's own words", ("leak",)),
        ("I can't help with that.", "it only refuses", ("refusal",)),
        ("", "empty", ()),
        (" \n", "empty", ()),
        ("Please g~", "cut off at the length limit", ()),
        ("~", "cut off at the length limit", ()),
        ("too long", "the prompt was too long", ()),
        ("As an AI, I ask you to go.", "kept", ("about itself",)),
        ("As an AI, I cannot help.", "it only refuses", ("refusal", "about itself")),
    ],
)
def test_a_revision_is_kept_or_not_with_a_reason(revised: str, reason: str, marks: tuple[str, ...]) -> None:
    def finish(text: str) -> Finish:
        return "length" if text.endswith("~") else "too_long" if text == "too long" else "stop"

    chain = run(KIND, revised, finish=finish)
    (revision,) = chain.of(Revision)
    assert (revision.reason, revision.kept, revision.marks) == (reason, reason == "kept", marks)
    assert chain.texts == [revised.rstrip()], "what is turned away is kept to look at"


@pytest.mark.parametrize(
    ("reject", "revised", "reason"),
    [
        ((), "Go away.", "kept"),
        ((), "I can't help with that.", "kept"),
        (("about itself",), "As an AI, I ask you to go.", "about itself"),
        (("leak",), "I can't help.", "kept"),
    ],
)
def test_what_is_rejected_is_a_setting(reject: tuple[str, ...], revised: str, reason: str) -> None:
    assert run(KIND, revised, reject=reject).reasons == [reason]


def test_a_refusal_of_what_was_refused_before_is_none() -> None:
    refusal = make_rationale(PROBLEM, "I won't help.")
    assert run(KIND, "I can't help with that.", responses=[refusal]).reasons == ["kept"]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("right", "wrong", "the answer was right before: scripted"),
        ("right", "open", "kept"),  # undecided is not incorrect
        ("right", "still right", "kept"),
        ("wrong", "right", "kept"),
        ("wrong", "still wrong", "kept"),
        ("open", "wrong", "kept"),
    ],
)
def test_a_right_answer_is_not_made_wrong(before: str, after: str, reason: str) -> None:
    assert run(KIND, after, responses=[make_rationale(PROBLEM, before)]).reasons == [reason]


def test_the_verdict_moves_with_the_chain() -> None:
    texts = iter(["right", "wrong"])
    chain = run(KIND, lambda _: next(texts), responses=[make_rationale(PROBLEM, "wrong!")], revisions=2)
    assert chain.reasons == ["kept", "the answer was right before: scripted"]


@pytest.mark.parametrize(
    ("check", "before", "after", "outcomes", "reason"),
    [
        (LengthCheck(at_most=3), "a b", "a b c d", ("correct", "incorrect"),
         "it passed the principle's check before: 4 words, expected at most 3"),
        (LengthCheck(at_most=3), "a b", "a b c", ("correct", "correct"), "kept"),
        (LengthCheck(at_most=3), "a b c d e", "a b c d", ("incorrect", "incorrect"), "kept"),
        (LengthCheck(at_most=3), "a b c d", "a", ("incorrect", "correct"), "kept"),
        (PatternCheck(regex="x", at_least=0, at_most=0), "a", "x", ("correct", "incorrect"),
         "it passed the principle's check before: 1 matches of /x/, expected at most 0"),
        (VerifierCheck(require="answer"), "open", "wrong", ("undecided", "incorrect"), "kept"),
        (VerifierCheck(require="answer"), "wrong", "right", ("incorrect", "correct"), "kept"),
        (None, "a", "b", (None, None), "kept"),
    ],
)  # fmt: skip
def test_a_check_that_passed_passes_after(
    check: Check | None, before: str, after: str, outcomes: tuple[Outcome, Outcome], reason: str
) -> None:
    chain = run(
        make_constitution(Principle(id="kind", text="It is kind.", check=check)),
        after,
        responses=[make_rationale(PROBLEM, before)],
    )
    (revision,) = chain.of(Revision)
    assert (revision.before, revision.after) == outcomes
    assert revision.reason == reason


def test_each_step_goes_on_from_the_text_before() -> None:
    def revised(prompt: str) -> str:
        return " " + prompt.rpartition("Assistant:")[2].partition("\n")[0].strip() + "+"

    chain = run(KIND, revised, revisions=4)
    assert chain.texts == [" Go away.+", " Go away.++", " Go away.+++", " Go away.++++"]
    assert chain.reasons == ["kept"] * 4 and [one.step for one in chain.of(Revision)] == [1, 2, 3, 4]
    responses = [FIRST, *chain.of(Rationale)]
    for step in range(4):
        critique, revision = chain.of(Critique)[step], chain.of(Revision)[step]
        assert critique.prompt.endswith(
            f"Human: How?\n\nAssistant: {responses[step].text.strip()}\n\nCritique Request: Point out where the "
            f"response goes against this principle: It is kind. If it does not, say: {NOTHING}\n\nCritique:"
        )
        revised_text = responses[step + 1]
        assert revised_text.parents == (PROBLEM.id, CHECKPOINT, responses[step].id, critique.id)
        assert revision.parents == (revised_text.id, responses[step].id, critique.id)
        assert f"\n\nCritique: {critique.text}\n\nRevision Request:" in revised_text.prompt
    assert len({one.seed for one in chain.of(Critique)} | {one.seed for one in chain.of(Rationale)}) == 8


def test_a_revision_that_is_not_kept_leaves_the_chain_where_it_was() -> None:
    texts = iter(["I can't help with that.", "Please go.", "Go, please."])
    chain = run(KIND, lambda _: next(texts), revisions=3)
    assert chain.reasons == ["it only refuses", "kept", "kept"]
    first, second, third = chain.of(Revision)
    assert (first.response, second.response, third.response) == (FIRST.id, FIRST.id, second.rationale)


def test_a_direct_revision_asks_for_no_critique() -> None:
    chain = run(KIND, critique=None, revisions=2)
    assert chain.of(Critique) == []
    assert chain.reasons == ["kept", "unchanged"]
    revised, revision = chain.of(Rationale)[0], chain.of(Revision)[0]
    assert revised.parents == (PROBLEM.id, CHECKPOINT, FIRST.id) and revision.parents == (revised.id, FIRST.id)
    assert "Critique" not in revised.prompt


class OwnDesk:
    """What a chain touches of the desk of a stage, whose settings are others than those of the first `revise`."""

    settings, name, judging = Revise(temperature=0.4, revisions=2), "again", Judging(judge)
    prompter, prompts = Prompter(KIND), PromptFormat(Prompting(), ())

    def other(self, kind: type[Revise]) -> Revise:
        return kind(revisions=1)

    def find(self, _: object) -> None:
        return None

    def writer(self, _: object) -> Writer:
        return Writer(ScriptedEngine(lambda prompt, _: f"Go{prompt[-20:]}"), CHECKPOINT, lambda *_: None, (), 2, 3)


@pytest.mark.parametrize(("purpose", "temperature", "steps"), [("again", 0.4, 2), ("evaluate", 0.0, 1)])
def test_a_chain_goes_by_the_settings_of_its_stage(purpose: str, temperature: float, steps: int) -> None:
    """An evaluation goes by those of `revise`."""
    desk: Any = OwnDesk()
    checkpoint = Checkpoint(path="model", method="base", weights="0")
    given = {PROBLEM.id: PROBLEM}, {FIRST.id: make_verdict(FIRST, "undecided")}
    found = [one for one in chain(desk, checkpoint, [FIRST], *given, purpose) if isinstance(one, Rationale)]
    assert [one.temperature for one in found] == [temperature] * steps


def test_a_critique_without_room_for_its_prompt_finds_nothing() -> None:
    chain = run(THREE, said="too long", finish=lambda text: "too_long" if text == "too long" else "stop", revisions=3)
    assert [one.found for one in chain.of(Critique)] == [False] * 3 and chain.of(Rationale) == []


def test_a_critique_keeps_what_was_asked_and_what_it_names() -> None:
    response = make_rationale(PROBLEM, LINES)
    (critique,) = run(KIND, said="Line 2 is \ud800 wrong.", responses=[response]).of(Critique)
    assert (critique.line, critique.found, critique.text) == (2, True, "Line 2 is \ufffd wrong.")
    assert (critique.principle, critique.constitution) == ("kind", KIND.label)
    assert critique.parents == (response.id, CHECKPOINT) and (critique.round, critique.step) == (2, 1)


def test_a_revised_rationale_is_a_rationale_of_its_problem() -> None:
    chain = run(KIND, "Go. \ud800 7", temperature=0.4, top_p=0.9)
    (revised,) = chain.of(Rationale)
    assert (revised.text, revised.answer, revised.origin) == ("Go. \ufffd 7", "7", "revised")
    assert (revised.temperature, revised.top_p, revised.round, revised.sample) == (0.4, 0.9, 2, FIRST.sample)


# --- which principle -------------------------------------------------------------------------------------------

# Every critique finds something, and every revision is turned away, so that nothing is ever settled.
REFUSAL = "I can't help with that."


def test_principles_in_turn_go_by_the_file() -> None:
    chain = run(THREE, REFUSAL, revisions=5, principles="in-turn")
    assert chain.principles == ["kind", "brief", "true", "kind", "brief"]


def test_in_turn_leaves_out_what_is_settled() -> None:
    def said(prompt: str) -> str:
        return NOTHING if "It is kind." in prompt else "It is wrong."

    chain = run(THREE, REFUSAL, said=said, revisions=6, principles="in-turn")
    assert chain.principles == ["kind", "brief", "true", "brief", "brief", "true"]


WEIGHED = make_constitution(
    Principle(id="often", text="It is kind.", weight=3),
    Principle(id="never", text="It is long.", weight=0),
    Principle(id="compared", text="It is blue.", uses=("preference",), weight=9),
    Principle(id="seldom", text="It is brief."),
)
MANY = [make_rationale(PROBLEM, "Go away.", sample=at, seed=at) for at in range(200)]


def test_principles_at_random_go_by_their_weight() -> None:
    drawn = Counter(run(WEIGHED, REFUSAL, responses=MANY).principles)
    assert drawn.keys() == {"often", "seldom"}
    assert 130 <= drawn["often"] <= 170  # 150 of 200, give or take three standard deviations


def test_draws_depend_on_the_seed_and_the_response_alone() -> None:
    def drawn(**settings: Any) -> dict[str, str]:
        return {one.response: one.principle for one in run(WEIGHED, REFUSAL, **settings).of(Critique)}

    everything = drawn(responses=MANY)
    assert drawn(responses=MANY) == everything
    assert drawn(responses=MANY, seed=4) != everything
    assert drawn(responses=MANY[:3:-1]) == {one.id: everything[one.id] for one in MANY[:3:-1]}


@pytest.mark.parametrize(
    ("scope", "task", "group", "drawn"),
    [
        (Scope(), "gsm8k", "2 steps", True),
        (Scope(tasks=("gsm8k",)), "gsm8k", "2 steps", True),
        (Scope(tasks=("gsm8k",)), "svamp", "2 steps", False),
        (Scope(tasks=("prompts",)), "prompts/mine", "", True),
        (Scope(tasks=("prompts/other",)), "prompts/mine", "", False),
        (Scope(tags=("risky",)), "prompts/mine", "risky", True),
        (Scope(tags=("risky",)), "prompts/mine", "plain", False),
        (Scope(tasks=("gsm8k",), tags=("risky",)), "prompts/mine", "risky", True),
    ],
)
def test_a_principle_is_drawn_within_its_scope(scope: Scope, task: str, group: str, drawn: bool) -> None:
    problem = make_problem("How?", None, task=task, group=group)
    constitution = make_constitution(Principle(id="kind", text="It is kind.", scope=scope))
    chain = run(constitution, problems=[problem], responses=[make_rationale(problem, "Go away.")], revisions=2)
    assert bool(chain.records) is drawn


def test_every_parent_is_a_record() -> None:
    problems = [make_problem(f"{at}?", None, task="prompts/mine", group="risky") for at in range(5)]
    responses = [make_rationale(one, f"Go {at}.") for at, one in enumerate(problems)]

    def said(prompt: str) -> str:
        return NOTHING if "Go 3." in prompt else "It is rude."

    def revised(prompt: str) -> str:
        return REFUSAL if "Go 2." in prompt else f"Please go {len(prompt)}."

    chain = run(THREE, revised, said=said, problems=problems, responses=responses, revisions=3)
    written = {one.id for one in (*problems, *responses)} | {CHECKPOINT}
    for one in chain.records:
        assert one.parents and set(one.parents) <= written, "a record stands before its parents"
        written.add(one.id)
    assert len(written) == len(problems) + len(responses) + 1 + len(chain.records), "two records are the same"
    judged = [one.rationale for one in chain.of(Verdict)]
    assert sorted(judged) == sorted(one.id for one in chain.of(Rationale))
    assert sorted(one.rationale for one in chain.of(Revision)) == sorted(judged)


# --- lessons ---------------------------------------------------------------------------------------------------

SUM = make_problem("2+2+3=", "7", task="jsonl", group="sums")


def solve(text: str, outcome: Outcome, *steps: Outcome, **fields: Any) -> tuple[Rationale, Verdict]:
    """A rationale of one step a line, and its verdict."""
    rationale = make_rationale(SUM, text, **fields)
    spans = [match.span() for match in re.finditer(r"\S.*", text)]
    made = [Step(start=at, end=end, outcome=one, reason="") for (at, end), one in zip(spans, steps, strict=False)]
    plain = make_verdict(rationale, outcome).model_dump()
    return rationale, Verdict(**{**plain, "steps": made})


RIGHT = solve("2+2=4\n4+3=7", "correct", "correct", "correct")
WRONG = solve("2+2=4\n4+3=8", "incorrect", "correct", "incorrect")
BELOW = solve("\n 2+2=4\n4+3=8", "incorrect", "correct", "incorrect")
LUCKY = solve("2+2=5\n4+3=7", "correct", "incorrect", "correct")
UNNAMED = solve("4+3=8", "incorrect")
UNSURE = solve("2+2=5\n4+3=8", "undecided", "incorrect")
UNCHECKED = solve("It is 7.", "correct")


@pytest.mark.parametrize(
    ("response", "said", "right"),
    [
        (WRONG, {"line": 2}, True),
        (WRONG, {"line": 1}, False),
        (WRONG, {"line": None}, False),
        (WRONG, {"found": False}, False),
        (WRONG, {"found": False, "line": 2}, False),
        (BELOW, {"line": 2}, True),
        (BELOW, {"line": 3}, False),
        (LUCKY, {"line": 1}, True),
        (LUCKY, {"found": False}, False),
        (RIGHT, {"found": False}, True),
        (RIGHT, {"line": 2}, False),
        (UNCHECKED, {"found": False}, True),
        (UNCHECKED, {"line": None}, False),
        (UNNAMED, {"line": 1}, None),
        (UNNAMED, {"found": False}, None),
        (UNSURE, {"line": 1}, None),
        (UNSURE, {"found": False}, None),
        (RIGHT, {"found": False, "finish": "too_long"}, None),
    ],
)
def test_a_critique_is_right_where_the_verifier_bears_it_out(
    response: tuple[Rationale, Verdict], said: dict[str, Any], right: bool | None
) -> None:
    rationale, verdict = response
    assert is_right(make_critique(rationale, **said), rationale.text, verdict) is right


def lessons(
    written: Sequence[tuple[Rationale, Verdict]],
    critiques: Sequence[Critique],
    revisions: Sequence[Revision] = (),
    **require: Any,
) -> list[Example]:
    return list(
        critique_examples(
            [rationale for rationale, _ in written],
            critiques,
            revisions,
            problems=by_id([SUM]),
            verdicts={rationale.id: verdict for rationale, verdict in written},
            settings=Select(**require),
        )
    )


@pytest.mark.parametrize(
    ("response", "said", "group"),
    [
        (WRONG, {"line": 2}, "critique of sums"),
        (RIGHT, {"found": False, "text": "."}, "no critique of sums"),
        (WRONG, {"line": 1}, None),
        (UNNAMED, {"line": 1}, None),
        (WRONG, {"line": 2, "finish": "length"}, None),  # its end would be learned wrong
        (RIGHT, {"found": False, "text": "", "finish": "too_long"}, None),
        (RIGHT, {"found": False, "text": " "}, None),
    ],
)
def test_a_right_critique_is_a_lesson(
    response: tuple[Rationale, Verdict], said: dict[str, Any], group: str | None
) -> None:
    critique = make_critique(response[0], **said)
    found = lessons([response], [critique])
    assert [one.group for one in found] == ([group] if group else [])
    for one in found:
        assert (one.prompt, one.completion, one.origin) == (critique.prompt, critique.text, "critique")
        assert one.parents == (critique.id, response[1].id)


def test_the_same_critique_twice_is_one_lesson() -> None:
    critiques = [make_critique(WRONG[0], line=2, seed=at) for at in range(2)]
    assert len(lessons([WRONG], critiques)) == 1


@pytest.mark.parametrize(
    ("line", "outcome", "kept", "fields", "learned"),
    [
        (2, "correct", True, {}, True),
        (1, "correct", True, {}, False),  # by a critique that is wrong
        (None, "correct", True, {}, True),  # without a critique
        (2, "incorrect", True, {}, False),
        (2, "undecided", True, {}, False),
        (2, "correct", False, {}, False),
        (2, "correct", True, {"require": "steps"}, False),  # no step could be checked
    ],
)
def test_a_revision_that_passes_is_a_lesson(
    line: int | None, outcome: Outcome, kept: bool, fields: dict[str, Any], learned: bool
) -> None:
    critique = make_critique(WRONG[0], line=line) if line else None
    revised, revision = make_revised(WRONG[0], "It is 7.", critique, kept=kept)
    verdict = make_verdict(revised, outcome)
    found = lessons([WRONG, (revised, verdict)], [critique] if critique else [], [revision], **fields)
    taught = [one for one in found if one.origin == "revision"]
    assert bool(taught) is learned
    for one in taught:
        assert (one.prompt, one.completion, one.group) == (revised.prompt, "It is 7.", "revision of sums")
        assert one.parents == (revised.id, verdict.id, revision.id)


# --- what is measured of a held-out pass -----------------------------------------------------------------------


def test_repaired_and_spoiled_answers_are_counted_by_the_last_text() -> None:
    texts = ["wrong 1", "wrong 2", "right 3", "right 4", "open 5"]
    responses = [make_rationale(PROBLEM, text, sample=at) for at, text in enumerate(texts)]
    later = {"wrong 1": "right", "wrong 2": "wrong", "right 3": "wrong", "right 4": "right", "open 5": "right"}

    def revised(prompt: str) -> str:
        text = prompt.rpartition("Assistant: ")[2].partition("\n")[0]
        return f"{later[text]} now"

    chain = run(KIND, revised, responses=responses)
    verdicts = {one.id: make_verdict(one, says(one.text)) for one in responses}
    found = measure_revisions(responses, verdicts, chain.records)
    # Also where it was not kept: nothing but the verifier says that it was better before.
    assert {name: found[name] for name in ("wrong", "repaired", "right", "spoiled")} == {
        "wrong": 2, "repaired": 1, "right": 2, "spoiled": 1,
    }  # fmt: skip


def test_what_has_no_revision_stays_what_it_is() -> None:
    verdicts = {RIGHT[0].id: RIGHT[1], WRONG[0].id: WRONG[1]}
    critiques = [
        make_critique(RIGHT[0], found=False), make_critique(WRONG[0], line=2), make_critique(WRONG[0], line=1, step=2),
    ]  # fmt: skip
    assert measure_revisions([RIGHT[0], WRONG[0]], verdicts, critiques) == {
        "wrong": 1, "repaired": 0, "right": 1, "spoiled": 0,
        "critiques of wrong": 2, "a line named": 2, "line named": 1, "critiques of right": 1, "nothing found": 1,
    }  # fmt: skip


def test_responses_to_open_prompts_are_described() -> None:
    same = "It is best to ask an expert."
    texts = {"p": [same, REFUSAL], "q": [same], "r": [same, "As an AI, I like it."]}
    problem = make_problem("Why?", None, task="prompts/mine")
    written = {prompt: [make_rationale(problem, one) for one in found] for prompt, found in texts.items()}
    assert describe_texts(written) == {
        "responses": 5, "cut off": 0, "empty": 0, "repeated": 0, "echoes": 0,
        "refusals": 1, "about itself": 1, "boilerplate": 3, "words": (3 * 7 + 5 + 6) / 5,
    }  # fmt: skip
    faulty = [make_rationale(problem, " \n"), make_rationale(problem, "I say it once more. " * 9, finish="length")]
    found = describe_texts({"p": faulty})
    assert (found["cut off"], found["empty"], found["repeated"]) == (1, 1, 1)
    assert describe_texts({})["words"] == 0


def test_a_copied_exemplar_is_no_revision() -> None:
    shown = ("Ask them kindly.", "Nothing to improve.")
    assert find_marks("Go away.", " Ask them\nkindly. ", (), shown) == ("exemplar",)
    assert find_marks("Go away.", "Ask them kindly, please.", (), shown) == ()


def test_a_revision_that_repeats_what_was_asked_leaks() -> None:
    asked = ("Write the response again so that it follows this: The response is friendly.",)
    assert find_marks("Go away.", "Write the response again so that it is kind!", (), (), asked) == ("leak",)
    assert find_marks("Go away.", "Write to them again, so that it ends well.", (), (), asked) == ()
