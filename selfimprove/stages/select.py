"""Turn rationales into SFT examples, with a reason for each one that is kept or turned away."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import PositiveInt

from selfimprove.errors import StoreError
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
from selfimprove.stages.earlier import Written, fold, read_written
from selfimprove.stages.generate import Generate
from selfimprove.stages.hint_check import HintCheck
from selfimprove.stages.kl import describe_kl, measure_into
from selfimprove.stages.passes import CUT, why_not, why_not_steps
from selfimprove.stages.revise import Revise
from selfimprove.stages.round_parts import Lot, count_by_group, parts_of_round, read_lot
from selfimprove.stages.vote import NEEDED, MajorityVote, Votes
from selfimprove.stages.whole_round import OpenTexts, Pairs, WholeRound, count_right, find_suspicious, hinted_last
from selfimprove.store.light import make
from selfimprove.store.order import ByValue
from selfimprove.store.rows import Rows, join_rows

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
    group_of = {name: one.group for name, one in problems.items()}
    counts = count_right(judged) if settings.hard_below else {}
    became = revisions or {}
    texts = (rationale for rationale, _ in judged)
    look = WholeRound(
        OpenTexts(texts if became else (), problems, became, all_revisions),
        find_suspicious(counts, group_of, settings),
        votes,
    )
    decide = Decide(problems, prompts, shown, settings, look, {fold(one.prompt, one.completion) for one in earlier})
    yield from decide(enumerate(hinted_last(judged)))


@dataclass
class Decide:
    """Decides on rationales in the order of the round, and makes the examples of those that are kept."""

    problems: Mapping[str, Problem]
    prompts: PromptFormat
    shown: bool
    settings: Select
    look: WholeRound
    seen: set[bytes]
    """Of prompts and texts that are trained already."""
    sampled: int = 0
    """Samples that other parts have kept."""
    kept_of: Counter[str] = field(default_factory=Counter)
    """By problem."""
    hinted: int = 0
    """Rationalizations that were kept."""

    def __call__(
        self, judged: Iterable[tuple[int, tuple[Rationale, Verdict]]], first: int = 0
    ) -> Iterator[Decision | Example]:
        """Each rationale and its verdict come with their place in the order of the round; those before `first` were
        decided on by another part, and are so again for what follows from it alone."""
        prompts, stop = self.prompts, self.prompts.stop
        render = prompts.render if self.shown else prompts.render_question
        rendered, prompt, following = "", "", -1  # the samples of a problem follow each other
        for place, (rationale, verdict) in judged:
            problem = self.problems[rationale.problem]
            if problem.id != rendered or place != following:
                recorded = is_sample(rationale) and prompts.is_trained_as_shown(problem, self.shown)
                rendered, prompt = problem.id, rationale.prompt if recorded else render(problem)
            following = place + 1
            reason, why = self._judge_alone(rationale, verdict, problem)
            if not reason and (text := fold(prompt, rationale.text)) in self.seen:
                reason = "duplicate of an example that is trained already"
            reason = reason or self._judge_kept(rationale, problem)
            if not reason:
                self.seen.add(text)
                self.kept_of[problem.id] += 1
                self.hinted += rationale.origin == "rationalized"
                self.sampled += rationale.origin == "sampled" and place >= first
            if place < first:
                continue
            yield make(Decision, parents=(rationale.id, verdict.id), kept=not reason, reason=reason or why)
            if not reason:
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

    def _judge_alone(self, rationale: Rationale, verdict: Verdict, problem: Problem) -> tuple[str, str]:
        """Why a rationale is not kept whatever else is, or nothing, and why it is."""
        votes, settings, why = self.look.votes, self.settings, "kept"
        revision = self.look.why_not_open.revisions.get(rationale.id)
        if revision and not revision.kept:
            reason = f"revision not kept: {revision.reason}"
        elif problem.is_open:
            reason = self.look.why_not_open(rationale)
        elif votes and votes.holds(rationale) and verdict.outcome == "undecided":
            reason = votes.why_not(rationale) or why_not_steps(verdict, settings, "the majority's answer")
            why = votes.why(rationale)
        else:
            reason = why_not(rationale, verdict, settings)
        if not reason and rationale.problem in self.look.suspicious:
            reason = (
                f"{COINCIDENCE}: over {settings.hard_share:.0%} of the problem's samples are correct, "
                f"in a group with a yield below {settings.hard_below:.0%}"
            )
        return reason, why

    def _judge_kept(self, rationale: Rationale, problem: Problem) -> str:
        """Why one is not kept beside those that are, or nothing."""
        settings = self.settings
        if settings.per_problem is not None and self.kept_of[problem.id] >= settings.per_problem:
            return f"over the cap of {settings.per_problem} a problem"
        if hint := self.prompts.finds_hint(problem, rationale.text):
            return f"hint text in the rationale: {hint[:60]!r}"
        if rationale.origin == "rationalized" and (cap := settings.rationalized_cap) is not None:
            hinted = self.hinted + 1
            if hinted > cap * (self.sampled + hinted) + 1e-9:
                return "over the cap on rationalized examples"
        return ""


def choose(part: Sequence[int], desk: Desk[Select]) -> Iterator[Record]:
    """The decisions of a part, each kept rationale's example after it, and at the end of a round what is learned from
    right critiques."""
    written, revise, settings = desk.once(read_written), desk.find(Revise), desk.settings
    lot = read_lot(desk, part, parts(desk))
    steps = () if settings.require == "answer" else ("steps",)
    given = written.judged.rationales
    check = HintCheck(
        desk.prompts,
        lot.problems.values(),
        lambda: (one.prompt for one in given.pick("parents", "prompt", "origin") if is_sample(one)),
        lambda: () if lot.whole else written.problems.values(),
    )
    decide = Decide(
        lot.problems, desk.prompts, desk.trains_full_prompt, settings, desk.once(look_over),
        seen=read_seen(desk, lot), sampled=count_kept(desk, lot),
    )  # fmt: skip
    judged = hinted_last(lot.judged.pick(OF_RATIONALE, ("outcome", "reason", *steps)))
    for record in decide(zip(lot.ordinals, judged, strict=True), lot.first):
        if isinstance(record, Example):
            check.see(record)
        yield record
    if lot.last and revise and revise.lessons:
        yield from learn(desk, written, settings)
    if check.hinted:
        raise StoreError(f"{desk.title}: {check.hinted} examples hold a prompt with the hint; a fault of the program")
    desk.count("prompts checked for hints", check.checked)
    if check.otherwise:
        desk.count(OTHERWISE, check.otherwise)
    if lot.last:
        measure_into(desk, given)  # here, because the engine is closed for training next


def parts(desk: Desk[Select]) -> list[range]:
    return desk.once(cut_round)


def cut_round(desk: Desk[Select]) -> list[range]:
    return parts_of_round(desk, Decision)


def look_over(desk: Desk[Select]) -> WholeRound:
    """What single decisions need to know of the whole round."""
    written, revise, settings = desk.once(read_written), desk.find(Revise), desk.settings
    revisions, rationales = written.revisions, written.judged.rationales
    return WholeRound(
        OpenTexts(
            rationales.pick_of(revisions.keys(), "parents", "text"),
            written.problems if revisions else {},
            revisions,
            revise is not None and revise.train == "all",
            find_fine(desk.read(Critique)) if revise and revise.fine else frozenset(),
        ),
        find_suspicious(*count_by_group(desk), settings) if settings.hard_below else frozenset(),
        read_votes(desk),
    )


def find_fine(critiques: Iterable[Critique]) -> set[str]:
    """The responses in which no critique found anything."""
    found = {True: set[str](), False: set[str]()}
    for one in critiques:
        found[one.found].add(one.response)
    return found[False] - found[True]


def read_seen(desk: Desk[Select], lot: Lot) -> set[bytes]:
    """What is trained already by earlier examples, of which a part of a round needs those of its own prompts."""
    pool = desk.once(read_earlier_pool)
    if len(pool) and not lot.whole:
        render = desk.prompts.render if desk.trains_full_prompt else desk.prompts.render_question
        rendered = map(render, lot.problems.values())
        pool = desk.once(find_by_prompt).find({*rendered, *lot.judged.rationales.values("prompt")})
    return {fold(one.prompt, one.completion) for one in pool.pick("prompt", "completion")}


def read_earlier_pool(desk: Desk[Select]) -> Rows[Example]:
    return join_rows(Example, [read_seeds(desk), *read_pool(desk, up_to=desk.round - 1)])


def find_by_prompt(desk: Desk[Select]) -> ByValue[Example]:
    return ByValue(desk.once(read_earlier_pool), "prompt")


def count_kept(desk: Desk[Select], lot: Lot) -> int:
    """The samples that other parts have kept, which the cap on rationalized examples, all in the last part, goes by."""
    if lot.whole or not lot.last:
        return 0
    if (decided := len(desk.scan_written(Decision))) < lot.first:
        raise StoreError(
            f"{desk.title}: {decided} of {lot.first} decisions of other parts are seen; is the folder a shared one?"
        )
    return sum(one == "sampled" for one in desk.scan_written(Example).values("origin"))


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
    return Votes(desk.scan(Vote), rationales, desk.once(read_written).problems, settings)


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
    parts=parts,
    run=choose,
    gathers=True,
    apart=True,
    uses=SHOWN,
    depends=depends,
    optional=False,
    say=say,
    sizes=sizes,
    check=check,
)
