"""Turn rationales into SFT examples, with a reason for each one that is kept or turned away."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, TypeAlias

from pydantic import PositiveInt

from selfimprove.errors import StoreError
from selfimprove.prompting.phrases import find_boilerplate
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import trains_full_prompt
from selfimprove.records import KL, Critique, Decision, Example, Problem, Rationale, Record, Revision, Verdict, Vote
from selfimprove.settings import Settings, Share, added
from selfimprove.stages.as_sampled import count_sampled, is_sample
from selfimprove.stages.balance import Balance
from selfimprove.stages.base import SHOWN, Ahead, Desk, Key, Round, Sizes, Stage
from selfimprove.stages.critique_examples import CRITIQUE_EXAMPLES_VERSION, critique_examples
from selfimprove.stages.earlier import Written, fold, read_problems, read_written
from selfimprove.stages.generate import Generate
from selfimprove.stages.kl import describe_kl, measure_into
from selfimprove.stages.passes import CUT, why_not, why_not_steps
from selfimprove.stages.revise import Revise
from selfimprove.stages.vote import NEEDED, MajorityVote, Votes
from selfimprove.store.light import make
from selfimprove.store.rows import Rows, join_rows

Pairs: TypeAlias = Iterable[tuple[Rationale, Verdict]]
COINCIDENCE = "likely a coincidence"
OTHERWISE = "prompts that are written otherwise now"  # in the manifest's metrics
OF_RATIONALE = ("parents", "prompt", "text", "origin", "tokens", "finish", "token_ids")


class Select(Settings):
    """Turn rationales into SFT examples."""

    vote: MajorityVote | None = added(None)
    """Train on the majority's answer where a problem has none; by default such problems train nothing."""

    require: Literal["answer", "steps", "grounded"] = "answer"
    """answer: a correct answer suffices (STaR); steps: no step may be wrong either; grounded: in addition, every number
    that the answer follows from must come from the question or an earlier step."""
    per_problem: PositiveInt | None = None
    """Keep at most n rationales of a problem (STaR keeps 1, RFT all distinct ones); by default all."""
    rationalized_cap: Share | None = None
    """Rationalized examples are at most this share of those that a round keeps, revised ones left out of account; by
    default there is no cap (STaR)."""
    hard_below: Share = 0.0
    """In groups with a yield below this, keep only problems on which at most `hard_share` of the samples are correct.
    Where a wrong rule is right on some problems by coincidence, it is right on all samples of them, and would be
    rewarded."""
    hard_share: Share = 0.5
    """The largest share of correct samples of a problem that `hard_below` keeps."""
    pool: Literal["fresh", "cumulative"] = "fresh"
    """Train on this round's examples (STaR), or on all rounds' (as in expert iteration)."""
    sources: Literal["samples", "seed+samples", "seed"] = "samples"
    """seed+samples mixes in the warm-up's rationales; seed alone is the control: the same steps, nothing new."""
    balance: Balance | None = None
    """Cap and repeat groups; by default all examples of the pool are trained, once each."""


def select(
    judged: Pairs,
    *,
    problems: Mapping[str, Problem],
    earlier: Iterable[Example],
    prompts: PromptFormat,
    shown: bool,
    settings: Select,
    revisions: Mapping[str, Revision] | None = None,
    all_revisions: bool = False,
    votes: Votes | None = None,
) -> Iterator[Decision | Example]:
    """Decide on each rationale, in order; a kept one is followed by its example.

    `judged` are rationales with their verdicts, and is gone over more than once; `earlier` holds the examples that
    would be trained too, for duplicates; `shown` keeps the exemplars or the trigger in the trained prompt. Samples come
    before rationalizations, so that a cap per problem prefers what the model reached without the hint. `revisions`, by
    rationale, says which revised ones were kept; of an open prompt only these are trained, the last one of each chain
    or all. `votes` decide on the samples of problems without an answer.
    """
    render = prompts.render if shown else prompts.render_question
    stop = prompts.stop
    seen = {fold(one.prompt, one.completion) for one in earlier}
    rendered, prompt, is_open = "", "", False  # the samples of a problem follow each other
    kept_of: Counter[str] = Counter()
    kept: Counter[str] = Counter()  # by origin
    became = revisions or {}
    why_not_open = _OpenTexts(judged, problems, became, all_revisions)
    suspicious = _suspicious(judged, problems, settings)
    for rationale, verdict in _hinted_last(judged):
        problem = problems[rationale.problem]
        if problem.id != rendered:
            recorded = is_sample(rationale) and prompts.is_trained_as_shown(problem, shown)
            rendered, prompt = problem.id, rationale.prompt if recorded else render(problem)
            is_open = problem.is_open
        revision, why = became.get(rationale.id), "kept"
        if revision and not revision.kept:
            reason = f"revision not kept: {revision.reason}"
        elif is_open:
            reason = why_not_open(rationale)
        elif votes and votes.holds(rationale) and verdict.outcome == "undecided":
            reason = votes.why_not(rationale) or why_not_steps(verdict, settings, "the majority's answer")
            why = votes.why(rationale)
        else:
            reason = why_not(rationale, verdict, settings)
        if not reason and rationale.problem in suspicious:
            reason = (
                f"{COINCIDENCE}: over {settings.hard_share:.0%} of the problem's samples are correct, "
                f"in a group with a yield below {settings.hard_below:.0%}"
            )
        if not reason and (text := fold(prompt, rationale.text)) in seen:
            reason = "duplicate of an example that is trained already"
        if not reason and settings.per_problem is not None and kept_of[problem.id] >= settings.per_problem:
            reason = f"over the cap of {settings.per_problem} a problem"
        if not reason and (hint := prompts.finds_hint(problem, rationale.text)):
            reason = f"hint text in the rationale: {hint[:60]!r}"
        if not reason and rationale.origin == "rationalized":
            hinted, cap = kept["rationalized"] + 1, settings.rationalized_cap
            if cap is not None and hinted > cap * (kept["sampled"] + hinted) + 1e-9:
                reason = "over the cap on rationalized examples"
        yield make(Decision, parents=(rationale.id, verdict.id), kept=not reason, reason=reason or why)
        if not reason:
            seen.add(text)
            kept_of[problem.id] += 1
            kept[rationale.origin] += 1
            yield make(
                Example,
                parents=(rationale.id, verdict.id),
                prompt=prompt,
                completion=rationale.text,
                origin=rationale.origin,
                group=problem.group,
                token_ids=rationale.token_ids,
                sampled_tokens=count_sampled(rationale, stop),
            )


def _hinted_last(judged: Pairs) -> Iterator[tuple[Rationale, Verdict]]:
    """Rationalizations after all others, else in order."""
    hinted = 0
    for pair in judged:
        if pair[0].origin == "rationalized":
            hinted += 1
        else:
            yield pair
    if hinted:
        yield from (pair for pair in judged if pair[0].origin == "rationalized")


class _OpenTexts:
    """Why a response to an open prompt is not trained, or nothing."""

    def __init__(
        self,
        judged: Pairs,
        problems: Mapping[str, Problem],
        revisions: Mapping[str, Revision],
        all_revisions: bool,
    ) -> None:
        self.revisions = revisions
        self.superseded = set() if all_revisions else {one.response for one in revisions.values() if one.kept}
        texts: dict[str, list[str]] = defaultdict(list)
        for one, _ in judged if revisions else ():
            if one.id in revisions and problems[one.problem].is_open:
                texts[problems[one.problem].question].append(one.text)
        self.boilerplate = find_boilerplate(texts)

    def __call__(self, rationale: Rationale) -> str:
        if rationale.id not in self.revisions:
            return "a response to an open prompt that is not a revision"
        if rationale.text in self.boilerplate:
            return "boilerplate: most of it stands in the revisions for other prompts too"
        if rationale.id in self.superseded:
            return "there is a later revision of it"
        return ""


def _suspicious(judged: Pairs, problems: Mapping[str, Problem], settings: Select) -> set[str]:
    """Problems of groups with a low yield that are right too often to be more than a coincidence of a wrong rule."""
    right: Counter[str] = Counter()  # by problem
    decided: Counter[str] = Counter()
    for rationale, verdict in judged if settings.hard_below else ():
        if rationale.origin == "sampled" and verdict.outcome != "undecided":
            decided[rationale.problem] += 1
            right[rationale.problem] += verdict.outcome == "correct"
    right_in: Counter[str] = Counter()  # by group
    decided_in: Counter[str] = Counter()
    for problem, count in decided.items():
        decided_in[problems[problem].group] += count
        right_in[problems[problem].group] += right[problem]
    hard = {group for group, count in decided_in.items() if right_in[group] / count < settings.hard_below}
    return {
        problem
        for problem, count in decided.items()
        if problems[problem].group in hard and right[problem] / count > settings.hard_share
    }


class HintCheck:
    """Counts trained prompts that are neither exactly the unhinted prompt of a problem nor one that a sample was given;
    a round with one must not train.

    `otherwise` counts those that a sample was given and that are written in another way now: the model's chat template
    was changed since.
    """

    def __init__(
        self, prompts: PromptFormat, problems: Iterable[Problem], sampled: Callable[[], Iterable[str]] = tuple
    ) -> None:
        """`problems` is gone over again where a prompt is not a question alone; `sampled` gives the prompts of samples
        and is called where one is needed."""
        self._prompts, self._problems, self._sampled = prompts, problems, sampled
        self._questions = {fold(prompts.render_question(problem)) for problem in problems}
        self.checked = self.hinted = self.otherwise = 0
        self._last, self._wrong, self._other = "", False, False  # the samples of a problem follow each other

    @cached_property
    def _shown(self) -> set[bytes]:
        return {fold(self._prompts.render(problem)) for problem in self._problems}

    @cached_property
    def _given(self) -> set[bytes]:
        return {fold(one) for one in self._sampled()}

    def see(self, example: Example) -> None:
        if example.prompt is not self._last:
            prompt = fold(example.prompt)
            self._last = example.prompt
            unknown = prompt not in self._questions and prompt not in self._shown
            self._other = unknown and prompt in self._given
            self._wrong = unknown and not self._other
        self.checked += 1
        self.hinted += self._wrong
        self.otherwise += self._other


def choose(_: Sequence[object], desk: Desk[Select]) -> Iterator[Record]:
    """The decisions of a round, each kept rationale's example after it, and what is learned from right critiques."""
    written, revise, settings = read_written(desk), desk.find(Revise), desk.settings
    steps = () if settings.require == "answer" else ("steps",)
    given = written.judged.rationales
    check = HintCheck(
        desk.prompts,
        written.problems.values(),
        lambda: (one.prompt for one in given.pick("parents", "prompt", "origin") if is_sample(one)),
    )
    pool = join_rows(Example, [read_seeds(desk), *read_pool(desk, up_to=desk.round - 1)])
    for record in select(
        written.judged.pick(OF_RATIONALE, ("outcome", "reason", *steps)),
        problems=written.problems,
        earlier=pool.pick("prompt", "completion"),
        prompts=desk.prompts,
        shown=desk.trains_full_prompt,
        settings=settings,
        revisions=written.revisions,
        all_revisions=revise is not None and revise.train == "all",
        votes=read_votes(desk),
    ):
        if isinstance(record, Example):
            check.see(record)
        yield record
    if revise and revise.lessons:
        yield from learn(desk, written, settings)
    if check.hinted:
        raise StoreError(f"{desk.title}: {check.hinted} examples hold a prompt with the hint; a fault of the program")
    desk.note("prompts checked for hints", check.checked)
    if check.otherwise:
        desk.note(OTHERWISE, check.otherwise)
    measure_into(desk, written.judged.rationales)  # here, because the engine is closed for training next


def learn(desk: Desk[Select], written: Written, settings: Select) -> Iterator[Example]:
    """What is learned from the critiques and revisions of a round."""
    critiques, revisions, earlier = desk.read(Critique), written.revisions.values(), written.earlier
    about = {one.response for one in critiques} | {name for one in revisions for name in one.parents[:2]}
    verdicts = desk.scan(Verdict).find(about, "parents")
    yield from critique_examples(
        [*desk.scan(Rationale).find(about), *earlier.responses],
        critiques,
        revisions,
        problems=written.problems,
        verdicts={**{one.rationale: one for one in verdicts}, **earlier.verdicts},
        settings=settings,
    )


def read_seeds(desk: Desk[Settings]) -> Rows[Example]:
    """The seed rationales that every round trains on, if the recipe mixes them in."""
    return Rows(Example, []) if desk.other(Select).sources == "samples" else desk.scan_of(0, Example)


def read_pool(desk: Desk[Settings], *, up_to: int) -> list[Rows[Example]]:
    """The kept examples by round: the stage's own round's or all rounds', up to one."""
    settings = desk.other(Select)
    if settings.sources == "seed":
        return []
    first = 1 if settings.pool == "cumulative" else desk.round
    return [desk.scan_of(one, Example) for one in range(first, up_to + 1)]


def read_votes(desk: Desk[Settings]) -> Votes | None:
    """The majorities over a round's samples of problems without an answer, if the recipe lets them decide."""
    settings = desk.other(Select).vote
    if settings is None:
        return None
    rationales = desk.scan(Rationale, "generate").pick(*NEEDED)
    return Votes(desk.scan(Vote), rationales, read_problems(desk), settings)


def pool_since(round_: Round[Settings]) -> int:
    """The first round whose examples are trained in this one."""
    return 1 if round_.other(Select).pool == "cumulative" else round_.number


def reads(round_: Round[Select]) -> list[Key]:
    earlier = round_.earlier_writers(Example, since=pool_since(round_))
    return [*round_.every(Problem, Rationale, Verdict), *earlier, *round_.seeds]


def depends(round_: Round[Select]) -> dict[str, object]:
    revise = round_.find(Revise)
    return {
        **round_.own,
        "shown": trains_full_prompt(round_.recipe),
        **round_.shared(*SHOWN),
        "revise": round_.hashed(Revise),
        **({"version of teach": CRITIQUE_EXAMPLES_VERSION} if revise and revise.lessons else {}),
    }


def say(desk: Desk[Select]) -> str:
    manifest, decisions = desk.manifest, desk.scan_written(Decision)
    moved = describe_kl(manifest.metrics.get(KL)) if manifest else ""
    changed = manifest.metrics.get(OTHERWISE, 0) if manifest else 0
    said = (
        f"; {changed} with a prompt that the model's chat template, changed since, writes otherwise" if changed else ""
    )
    cut = sum(reason == CUT for reason in decisions.values("reason"))
    cut_off = f"; {cut} right ones are cut off and not trained: raise 'generate.max_tokens'" if cut else ""
    return f"{sum(decisions.values('kept'))} kept of {len(decisions)}{cut_off}{said}{moved}"


def sizes(ahead: Ahead[Select]) -> Sizes:
    there, each = ahead.sizes, ahead.settings.per_problem or ahead.recipe.of(Generate).samples
    return replace(there, kept=there.kept + (there.problems - there.open) * each)


def check(recipe: Recipe, settings: Select) -> Iterable[Mistake]:
    vote, generate = settings.vote, recipe.of(Generate)
    if vote and (generate.samples < vote.votes or generate.temperature == 0):
        yield Mistake(
            ("stages", "select", "vote"),
            f"{generate.samples} samples at temperature {generate.temperature:g} have no majority of {vote.votes}; "
            "raise 'generate.samples' and the temperature",
        )


SELECT = Stage(
    name="select",
    version=3,
    settings=Select,
    writes=Decision,
    also=(Example,),
    reads=reads,
    needs=(Problem, Rationale, Verdict),
    parts=lambda desk: [desk.scan(Rationale)],
    run=choose,
    uses=SHOWN,
    depends=depends,
    optional=False,
    say=say,
    sizes=sizes,
    check=check,
)
