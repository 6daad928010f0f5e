"""Forms of critique, the best of several, relevance to the prompt, and rewards by a constitution."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from builders import CHECKPOINT, make_comparison, make_constitution, make_problem, make_rationale, make_verdict

from selfimprove.constitution import Constitution, Principle
from selfimprove.constitution.model import CritiqueExemplar, LengthCheck, PatternCheck, VerifierCheck
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Score, ScriptedEngine
from selfimprove.errors import RecipeError
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Comparison, Critique, Problem, Rationale, Record, Revision, Verdict, by_id
from selfimprove.stages.base import Writer
from selfimprove.stages.critique import CritiqueSettings
from selfimprove.stages.forms import read_checklist
from selfimprove.stages.gains import OUTDONE, Prefer
from selfimprove.stages.rank import _by_constitution
from selfimprove.stages.relevance import information, measure_relevance
from selfimprove.stages.revise import Revise, revise
from selfimprove.stages.select import find_fine
from selfimprove.stages.weigh import OFF_TOPIC, Weighed

TEA = make_problem("How do I make tea?", None, task="prompts/mine", group="kitchen")
SEA = make_problem("Why is the sea salty?", None, task="prompts/mine", group="why")
BRIEF = Principle(id="brief", text="At most five words.", check=LengthCheck(at_most=5))
ENDS = Principle(id="ends", text="It ends with a full stop.", check=PatternCheck(regex=r"\.\Z"))
KIND = Principle(id="kind", text="It is kind.", revision="Make it kind.")
RUDE = make_rationale(TEA, "Ask somebody else, you lazy person, not me")


def chat(messages: list[dict[str, str]]) -> str:
    return "".join(f"<{one['role'][0]}>{one['content']}" for one in messages) + "<a>"


@dataclass
class Likely(ScriptedEngine):
    """Writes by a function, and finds a text likelier after a prompt with which it shares words."""

    write: Callable[[str, int], str]
    prompts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        inner = self.write

        def noted(prompt: str, seed: int) -> str:
            self.prompts.append(prompt)
            return inner(prompt, seed)

        super().__init__(noted)

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        shared = [len({*prompt.split()} & {*str(text).split()}) for prompt, text in pairs]
        return [Score(-10.0 + count, 4) for count in shared]


def no_verdict(pairs: Iterable[tuple[Problem, Rationale]]) -> Iterator[Verdict]:
    return (make_verdict(one, "undecided") for _, one in pairs)


def run(
    constitution: Constitution,
    write: Callable[[str, int], str],
    *,
    templated: bool = False,
    responses: Sequence[Rationale] = (RUDE,),
    prefer: Prefer | None = None,
    **settings: Any,
) -> tuple[list[Record], Likely]:
    engine = Likely(write)
    records = revise(
        responses,
        problems=by_id([TEA, SEA]),
        verdicts={one.id: make_verdict(one, "undecided") for one in responses},
        judge=no_verdict,
        writer=Writer(engine, CHECKPOINT, lambda *_: None, (), round=1, seed=3),
        prompter=Prompter(constitution, chat if templated else None),
        critique=CritiqueSettings(temperature=1.0),
        settings=Revise(**settings),
        render=lambda problem: problem.question,
        prefer=prefer,
    )
    return list(records), engine


def of(records: Sequence[Record], kind: type[Any]) -> list[Any]:
    return [one for one in records if isinstance(one, kind)]


# --- a checklist -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('1. no "lazy person"', {"kind": "lazy person"}),
        ("1) No: it says “LAZY\u00a0 person”.", {"kind": "LAZY person"}),
        ('**1.** no, "you are stupid" and "not me"', {"kind": "not me"}),
        ('1. no "you are stupid"', {}),
        ("1. no, it is rude", {}),
        ('1. yes "lazy person"', {}),
        ('3. no "lazy person"', {}),
        ('2. no "somebody else"\n1. no "lazy person"', {"ends": "somebody else", "kind": "lazy person"}),
        ('1. no "' + "a" * 5000, {}),
    ],
)
def test_of_a_checklist_only_that_counts_which_quotes_the_response(said: str, found: dict[str, str]) -> None:
    assert read_checklist(said, [KIND, ENDS], RUDE.text) == found


def test_a_checklist_asks_of_what_has_no_check_and_checks_the_rest() -> None:
    def write(prompt: str, _: int) -> str:
        return '1. no "lazy person"' if prompt.endswith("Critique:") else "Boil some tea water."

    records, engine = run(make_constitution(BRIEF, KIND), write, form="checklist")
    asked, revised = engine.prompts
    assert "1. It is kind." in asked and "five words" not in asked
    assert 'It is kind. Against it: "lazy person"' in revised and "8 words, expected at most 5" in revised
    assert "Make it kind." in revised and "At most five words." in revised, "the revision is asked by both"
    (critique,), (revision,) = of(records, Critique), of(records, Revision)
    assert critique.found and critique.principle == "brief" == revision.principle
    assert critique.text == '1. no "lazy person"\nbrief: 8 words, expected at most 5'
    assert (revision.kept, revision.before, revision.after) == (True, "incorrect", "correct")


def test_a_checklist_without_open_questions_costs_nothing() -> None:
    records, engine = run(
        make_constitution(BRIEF, ENDS), lambda *_: "", responses=[make_rationale(TEA, "Boil it.")], form="checklist"
    )
    (critique,) = records
    assert isinstance(critique, Critique) and not critique.found and critique.tokens == 0 and not engine.prompts


# --- anew ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("templated", [True, False])
def test_anew_asks_the_prompt_again_by_what_checks_say_of_the_response(templated: bool) -> None:
    shown = CritiqueExemplar(question="Q?", response="R.", critique="C.", revision="S.")
    constitution = make_constitution(BRIEF, ENDS, exemplars=[shown])
    records, engine = run(constitution, lambda *_: "Boil it.", templated=templated, form="anew")
    texts = "At most five words. It ends with a full stop."
    assert engine.prompts == [
        f"<u>How do I make tea?\n\n{texts}<a>"
        if templated
        else f"Human: Q?\n\n{texts}\n\nAssistant: S.\n\nHuman: How do I make tea?\n\n{texts}\n\nAssistant:"
    ]
    (critique,), (revised,), (revision,) = of(records, Critique), of(records, Rationale), of(records, Revision)
    assert (critique.found, critique.prompt, critique.tokens, critique.principle) == (True, "", 0, "brief")
    assert critique.text.startswith("brief: 8 words, expected at most 5\nends: ")
    assert (revised.text, revised.parents[2:]) == ("Boil it.", (RUDE.id, critique.id))
    assert (revision.kept, revision.before, revision.after) == (True, "incorrect", "correct")


def test_anew_leaves_what_goes_against_nothing() -> None:
    fine = make_rationale(TEA, "Boil it.")
    records, engine = run(make_constitution(BRIEF, ENDS), lambda *_: "", responses=[fine], form="anew", revisions=3)
    (critique,) = records
    assert isinstance(critique, Critique) and not critique.found and not engine.prompts
    assert find_fine([critique]) == {fine.id}
    assert not find_fine([critique, critique.model_copy(update={"found": True})])


def test_of_several_anew_the_checks_speak_once_and_no_principle_is_repeated() -> None:
    texts = iter(["It ends with a full stop.", "Boil it."])
    records, engine = run(make_constitution(BRIEF, ENDS), lambda *_: next(texts), form="anew", best_of=2)
    assert len(of(records, Critique)) == 1 and len(engine.prompts) == 2
    assert [(one.kept, one.reason) for one in of(records, Revision)] == [
        (False, "it repeats the prompt's own words"),
        (True, "kept"),
    ]


def test_a_measurement_by_anew_knows_no_verdict() -> None:
    right = Principle(id="right", text="It is right.", check=VerifierCheck(require="answer"))
    wrong = make_rationale(TEA, "Salt it.")
    chains = {}
    for blind in (False, True):
        engine = Likely(lambda *_: "Boil it.")
        records = revise(
            [wrong], problems=by_id([TEA]), verdicts={wrong.id: make_verdict(wrong, "incorrect")}, judge=no_verdict,
            writer=Writer(engine, CHECKPOINT, lambda *_: None, (), round=1, seed=3),
            prompter=Prompter(make_constitution(right), chat), critique=None, settings=Revise(form="anew"), blind=blind,
        )  # fmt: skip
        chains[blind] = (list(records), engine.prompts)
    assert len(chains[False][1]) == 1 and not chains[True][1]


def test_anew_asks_by_a_principle_without_a_check_where_it_is_drawn() -> None:
    fine = make_rationale(TEA, "Boil it.")
    records, engine = run(
        make_constitution(KIND), lambda *_: "Boil it, dear.", responses=[fine], templated=True, form="anew"
    )
    assert engine.prompts == ["<u>How do I make tea?\n\nIt is kind.<a>"]
    assert [one.text for one in of(records, Critique)] == ["asked by: kind"]


# --- one turn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("templated", "said", "critique", "kept", "text"),
    [
        (True, "Critique: It is rude.\n\nRevision: Boil it.", "It is rude.", True, "Boil it."),
        (True, "It is rude.\n**Revision:** Boil it.", "It is rude.", True, "Boil it."),
        (True, "It is rude, and so on", "It is rude, and so on", False, ""),
        (False, " It is rude.\n\nRevision Request: Be kind.\n\nRevision: Boil it.", "It is rude.", True, "Boil it."),
    ],
)
def test_one_turn_holds_both(templated: bool, said: str, critique: str, kept: bool, text: str) -> None:
    shown = CritiqueExemplar(question="Q?", response="R.", critique="C.", revision="S.")
    constitution = make_constitution(KIND, exemplars=[shown])
    records, engine = run(constitution, lambda *_: said, templated=templated, form="one-turn")
    (only,), (one,), (revised,), (revision,) = (
        engine.prompts, of(records, Critique), of(records, Rationale), of(records, Revision)
    )  # fmt: skip
    assert (one.text, one.tokens, revised.text, revision.kept) == (critique, 0, text, kept)
    assert revised.prompt == one.prompt == only and revised.parents[3] == one.id
    assert ("Critique: C.\n\nRevision: S." in only) == templated and "S." in only
    assert revised.token_ids is None, "the text is a part of what was sampled"


def test_one_turn_that_finds_nothing_is_no_revision() -> None:
    (critique,), _ = run(make_constitution(KIND), lambda *_: "Nothing to improve.", templated=True, form="one-turn")
    assert isinstance(critique, Critique) and not critique.found and critique.tokens == 20


# --- the best of several ---------------------------------------------------------------------------------------


def write_three() -> Callable[[str, int], str]:
    texts = iter(["Boil the water well and then wait", "Boil it", "Boil it well."])
    return lambda prompt, _: "It is rude." if prompt.endswith("Critique:") else next(texts)


def test_of_several_the_revision_that_passes_most_checks_is_kept() -> None:
    records, _ = run(make_constitution(BRIEF, ENDS), write_three(), best_of=3)
    revisions = of(records, Revision)
    assert [(one.kept, one.reason) for one in revisions] == [(False, OUTDONE), (False, OUTDONE), (True, "kept")]
    critiques = of(records, Critique)
    assert len({one.id for one in critiques}) == 3 and len({one.seed for one in critiques}) == 3


def test_of_several_a_judge_may_choose() -> None:
    def prefer(rivals: Sequence[Weighed]) -> list[Comparison]:
        likes = [0.4, 0.9, 0.6]
        return [make_comparison(one.revised, RUDE, like, 1 - like) for one, like in zip(rivals, likes, strict=True)]

    records, _ = run(make_constitution(BRIEF, ENDS), write_three(), best_of=3, prefer=prefer)
    assert [one.kept for one in of(records, Revision)] == [False, True, False]
    assert len(of(records, Comparison)) == 3


# --- what is kept ----------------------------------------------------------------------------------------------


def test_a_revision_that_says_nothing_of_its_prompt_is_not_kept() -> None:
    def write(prompt: str, _: int) -> str:
        if prompt.endswith("Critique:"):
            return "It is rude."
        return "I make tea so" if "make tea" in prompt else "One cannot be certain."

    other = make_rationale(SEA, "No idea.")
    records, _ = run(make_constitution(KIND), write, responses=[RUDE, other], relevance=0.1)
    near, far = of(records, Revision)
    assert near.kept and near.relevance == pytest.approx(2 / 4)  # "I" and "make": two nats more over four tokens
    assert not far.kept and far.relevance == 0 and OFF_TOPIC in far.marks and "nats a token" in far.reason
    plain, _ = run(make_constitution(KIND), write, responses=[RUDE, other])
    assert all(one.kept and one.relevance is None for one in of(plain, Revision))


def test_the_information_of_a_text() -> None:
    assert information([-2.0, -4.0, -4.0], 2) == pytest.approx(1.0)
    assert information([-2.0, -2.0, -900.0], 1) == pytest.approx(math.log(2))
    alone = measure_relevance([RUDE], {TEA.id: TEA}, lambda one: one.question, Likely(lambda *_: ""), seed=0)
    blank = make_rationale(TEA, " ")
    empty = measure_relevance([blank], by_id([TEA, SEA]), lambda one: one.question, Likely(lambda *_: ""), seed=0)
    assert alone == empty == [None], "there is nothing to measure"


def test_no_principle_may_get_worse_where_that_is_asked() -> None:
    response = make_rationale(TEA, "You lazy person.")
    kept = {}
    for no_worse in ("principle", "all"):
        records, _ = run(
            make_constitution(KIND, Principle(id="ends", text="It ends.", check=ENDS.check, weight=0.001)),
            lambda prompt, _: "It is rude." if prompt.endswith("Critique:") else "Boil it",
            responses=[response],
            no_worse=no_worse,
        )
        kept[no_worse] = of(records, Revision)[0]
    assert kept["principle"].kept and not kept["all"].kept and "'ends'" in kept["all"].reason


def test_a_constitution_is_a_reward() -> None:
    constitution = make_constitution(BRIEF.model_copy(update={"weight": 3.0}), ENDS, KIND)
    texts = {"Boil it.": 1.0, "Boil it": 0.75, "Boil all of the water there.": 0.25}
    found = {text: _by_constitution(make_rationale(TEA, text), TEA, None, constitution, "rank").value for text in texts}
    assert found == texts
    assert _by_constitution(RUDE, TEA, None, make_constitution(KIND), "rank").value is None


# --- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["revise.form=checklist"], "'form: checklist' needs the settings 'critique'"),
        (["revise.best_of=3", "revise.temperature=0"], "needs a temperature above 0"),
        (["revise.gain=judge", "revise.best_of=1"], "set 'best_of'"),
        (["revise.form=none"], "'fine: true' goes by critiques"),
        (["revise.form=principle"], "'fine: true' goes by critiques"),
    ],
)
def test_mistakes_about_forms(changes: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe("concise", changes)


CONTROL = [
    "revise=null", "critique=null", "prefer=null", "dpo=null", "rank.reward=constitution", "best.keep=1",
    "flow=[frontier, generate, verify, rank, best, sft, evaluate, comply, promote]",
]  # fmt: skip


@pytest.mark.parametrize("name", ["concise", "as-asked"])
def test_the_controls_of_a_recipe_are_recipes(name: str) -> None:
    load_recipe(name, [*CONTROL, "generate.samples=1"])
    load_recipe(name, [*CONTROL, "generate.samples=4", "best.above=1"])
    with pytest.raises(RecipeError, match="needs a 'constitution'"):
        load_recipe(name, [*CONTROL, "constitution=null"])
