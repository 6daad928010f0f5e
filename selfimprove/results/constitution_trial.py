"""Forms of critique tried on one's own prompts before a run, next to rejection sampling with the same tokens.

A trial is a run of one round that trains nothing: samples of each prompt, and a stage `revise` for each form, each of
the same first samples. It continues where it stopped, and every text of it is on disk like those of any run.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from selfimprove.constitution import Constitution
from selfimprove.constitution.adherence import Answers, Share, check_answers, count_shares, is_whole, outcomes, overall
from selfimprove.engines.models import load_chat
from selfimprove.errors import RecipeError, suggest
from selfimprove.recipe import Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.policies import policy_names
from selfimprove.records import Comparison, Critique, Problem, Rationale, Revision, Verdict, by_id
from selfimprove.records.stats import WinRate, count_wins, holm, mcnemar
from selfimprove.running.loop import run_loop
from selfimprove.running.report import Report
from selfimprove.running.session import Loader, Session
from selfimprove.stages.compare import Feedback, Match, compare
from selfimprove.store import RunFolder
from selfimprove.store.journal import Journal

REJECTION = "rejection"
EVERY = "every check"
TIE = 0.02
SELF = "self"
"""As a judge: the model that writes."""
TRANSCRIPT = {"question": "Human: {question}", "cue": "\n\nAssistant:", "stop": ["\n\nHuman:"]}
"""How a model without a chat template is asked, as the constitution's transcript begins."""
Prefer = Callable[[Sequence[tuple[str, Rationale, Rationale]]], list[float]]
"""Of prompts with two responses each: the probability that the first one follows the constitution better."""


def forms_of(best_of: int) -> dict[str, dict[str, object]]:
    """The settings of `revise` that are tried, by name."""
    return {
        "principle": {"form": "principle"},
        "direct": {"form": "none"},
        "checklist": {"form": "checklist"},
        "one-turn": {"form": "one-turn"},
        "anew": {"form": "anew"},
        f"best-of-{best_of}": {"form": "principle", "best_of": best_of},
    }


def make_trial_recipe(
    model: str,
    constitution: str,
    prompts: str,
    *,
    name: str,
    best_of: int = 3,
    only: Sequence[str] = (),
    limit: int = 32,
    samples: int = 8,
    max_tokens: int = 128,
    judge: str | None = None,
    changes: Sequence[str] = (),
) -> tuple[Recipe, list[str]]:
    """The recipe of a trial and the names of its forms; a change of `revise.…` is one of every form. Raises
    RecipeError, and ModelError where the model has no tokenizer."""
    forms = forms_of(best_of)
    for one in only:
        if one not in forms:
            raise RecipeError(f"--form {one}: no such form{suggest(one, list(forms))}")
    forms = {one: settings for one, settings in forms.items() if not only or one in only}
    revise = {"max_tokens": max_tokens, "no_worse": "all", "relevance": 0.0, "part_size": 16}
    data = {
        "name": name,
        "description": "Forms of critique, tried on the same responses; nothing is trained.",
        "rounds": 1,
        "model": {"path": model},
        "constitution": constitution,
        "train": {**find_prompts(prompts), "held_out": 1},
        "prompt": {} if load_chat(model) else TRANSCRIPT,
        "flow": ["frontier", "generate", "verify", *({one: "revise"} for one in forms), "select", "sft"],
        "stages": {
            "frontier": {"problems": limit, "policy": "all"},
            "generate": {"samples": samples, "temperature": 0.8, "max_tokens": max_tokens, "part_size": 16},
            "critique": {"temperature": 0.8, "max_tokens": max(32, max_tokens // 2)},
            **{one: {**revise, **settings} for one, settings in forms.items()},
        },
        **({"judge": {"path": judge}} if judge and judge != SELF else {}),
    }
    return load_recipe(data, [each for one in changes for each in _of_every_form(one, forms)]), list(forms)


def _of_every_form(change: str, forms: Iterable[str]) -> list[str]:
    key = change.removeprefix("stages.")
    return [f"{one}.{key.removeprefix('revise.')}" for one in forms] if key.startswith("revise.") else [change]


def find_prompts(prompts: str) -> dict[str, str]:
    """The task of a file of prompts, or of a name in policies/prompts."""
    if Path(prompts).is_file():
        plain = re.sub(r"[^a-z0-9_-]+", "-", Path(prompts).stem.casefold()).strip("-")[:80] or "mine"
        return {"name": f"prompts/{plain}", "path": prompts}
    known = policy_names("prompts", ".jsonl")
    name = prompts.removeprefix("prompts/")
    if name not in known:
        raise RecipeError(f"--prompts {prompts}: no such file{suggest(name, known)}")
    return {"name": f"prompts/{name}"}


def run_trial(recipe: Recipe, folder: RunFolder, *, report: Report | None = None, load: Loader | None = None) -> None:
    """Write all that is compared, continuing where an earlier process stopped; raises SelfImproveError."""
    run_loop(recipe, folder, report=report, load=load, until="select")


# --- what was written ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """The responses to each prompt, in the order in which they were sampled."""

    problems: Mapping[str, Problem]
    of: Mapping[str, Sequence[Rationale]]
    verdicts: Mapping[str, Verdict]
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(one.tokens for mine in self.of.values() for one in mine)


@dataclass(frozen=True)
class Way:
    """What a way to better responses made of each prompt's first one, and what that took."""

    name: str
    texts: Mapping[str, Rationale]
    verdicts: Mapping[str, Verdict]
    tokens: int = 0
    seconds: float = 0.0
    """Of the model."""
    kept: int = 0
    """Prompts whose first response was replaced."""
    tried: int = 0
    """Revisions, or further samples, that were written."""
    found: tuple[int, int] | None = None
    """Critiques that found something, of all."""
    not_kept: Mapping[str, int] = field(default_factory=dict)
    """Why revisions were not kept."""
    relevance: tuple[float, ...] = ()

    @property
    def mean_relevance(self) -> float | None:
        return sum(self.relevance) / len(self.relevance) if self.relevance else None


def read_samples(folder: RunFolder) -> Samples:
    """What the model wrote, with what the verifier says of it."""
    generated = folder.stage(1, "generate")
    of: dict[str, list[Rationale]] = {}
    for one in sorted(generated.read(Rationale), key=lambda one: one.sample):
        of.setdefault(one.problem, []).append(one)
    verdicts = {one.rationale: one for one in folder.stage(1, "verify").read(Verdict)}
    manifest = generated.manifest()
    problems = by_id(folder.stage(1, "frontier").read(Problem))
    return Samples(problems, of, verdicts, manifest.seconds.model if manifest else 0.0)


def read_form(folder: RunFolder, name: str, samples: Samples) -> Way:
    """What a form made of the first responses."""
    disk = folder.stage(1, name)
    critiques, revisions = disk.read(Critique), disk.read(Revision)
    written = by_id(disk.read(Rationale))
    then = {one.response: one.rationale for one in revisions if one.kept}
    texts = {}
    for problem, mine in samples.of.items():
        one = mine[0].id
        while one in then:
            one = then[one]
        texts[problem] = written.get(one, mine[0])
    reasons: dict[str, int] = {}
    for revision in revisions:
        if not revision.kept:
            reason = revision.reason.partition(":")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
    manifest = disk.manifest()
    return Way(
        name,
        texts,
        {**samples.verdicts, **{one.rationale: one for one in disk.read(Verdict)}},
        tokens=sum(one.tokens for one in critiques) + sum(one.tokens for one in written.values()),
        seconds=manifest.seconds.model if manifest else 0.0,
        kept=sum(texts[problem].id != mine[0].id for problem, mine in samples.of.items()),
        tried=len(revisions),
        found=(sum(one.found for one in critiques), len(critiques)) if critiques else None,
        not_kept=reasons,
        relevance=tuple(one.relevance for one in revisions if one.relevance is not None),
    )


def reject(samples: Samples, budget: int, constitution: Constitution, prefer: Prefer | None = None) -> Way:
    """Rejection sampling with at most `budget` tokens beside the first responses: the next sample of each prompt that
    has none which passes every check, in turn; a judge chooses among those that pass as many checks, and then all are
    drawn that the tokens suffice for."""
    best = {problem: mine[0] for problem, mine in samples.of.items()}
    passed = {one.id: count_checks(one, problem, samples, constitution) for problem, one in best.items()}
    drawn: dict[str, list[Rationale]] = {problem: [one] for problem, one in best.items()}
    spent = tried = 0
    for at in range(1, max((len(mine) for mine in samples.of.values()), default=0)):
        for problem, mine in samples.of.items():
            done = passed[best[problem].id][0] == passed[best[problem].id][1] and prefer is None
            if done or at >= len(mine) or spent + mine[at].tokens > budget:
                continue
            one = mine[at]
            spent, tried = spent + one.tokens, tried + 1
            passed[one.id] = count_checks(one, problem, samples, constitution)
            drawn[problem].append(one)
            if passed[one.id][0] > passed[best[problem].id][0]:
                best[problem] = one
    if prefer:
        most = {problem: max(passed[one.id][0] for one in mine) for problem, mine in drawn.items()}
        equal = {
            problem: [one for one in mine if passed[one.id][0] == most[problem]] for problem, mine in drawn.items()
        }
        best = {problem: choose(mine, problem, samples, prefer) for problem, mine in equal.items()}
    seconds = samples.seconds * spent / samples.tokens if samples.tokens else 0.0
    kept = sum(best[problem].id != mine[0].id for problem, mine in samples.of.items())
    return Way(REJECTION, best, samples.verdicts, spent, seconds, kept, tried)


def choose(able: Sequence[Rationale], problem: str, samples: Samples, prefer: Prefer) -> Rationale:
    """The response that a judge likes most next to the first sample."""
    first = samples.of[problem][0]
    others = [one for one in able if one.id != first.id]
    liked = dict(zip((one.id for one in others), prefer([(problem, one, first) for one in others]), strict=True))
    return max(able, key=lambda one: liked.get(one.id, 0.5))


def count_checks(response: Rationale, problem: str, samples: Samples, constitution: Constitution) -> tuple[int, int]:
    """How many checks a response passes, and of how many; that it is whole counts as one."""
    verdict = samples.verdicts.get(response.id)
    said = list(
        check_answers({problem: response}, samples.problems, {response.id: verdict} if verdict else {}, constitution)
    )
    passed = sum(one.outcome == "correct" for one in said)
    return passed + is_whole(response), sum(one.outcome != "undecided" for one in said) + 1


# --- the judge -------------------------------------------------------------------------------------------------


class JudgedPairs:
    """A judge that is asked once of each pair, whatever process asks: what it said is written down at once."""

    def __init__(self, session: Session, samples: Samples, folder: RunFolder) -> None:
        self.session, self.samples, self.journal = session, samples, Journal(folder.path, 0)

    def __call__(self, pairs: Sequence[tuple[str, Rationale, Rationale]]) -> list[float]:
        checkpoint, prompter = self.session.judge()
        found = []
        for problem, one, other in pairs:
            asked = f"{checkpoint.id} {prompter.constitution.hash} {one.id} {other.id}"
            if one.text.strip() == other.text.strip():
                found.append(0.5)
                continue
            if asked not in self.journal.known:
                principle = overall(prompter.constitution, self.samples.problems[problem])
                match = Match(
                    self.samples.problems[problem], one, other, principle or prompter.constitution.principles[0]
                )
                said: list[Comparison] = compare(
                    [match], engine=self.session.engine(checkpoint), checkpoint=checkpoint.id, prompter=prompter,
                    settings=Feedback(), round_=1, seed=self.session.recipe.seed,
                )  # fmt: skip
                self.journal.add(asked, {"preferred": said[0].preferred})
                found.append(said[0].preferred)
                continue
            found.append(float(self.journal.known[asked]["preferred"]))
        return found


# --- the comparison --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A way, and how far its responses follow each principle."""

    way: Way
    shares: Mapping[str, Share]
    passing: frozenset[str]
    """The prompts whose response is whole and fails no check."""
    wins: WinRate | None = None
    """How often a judge prefers its response to the first one."""
    plain: "Row | None" = None
    """Rejection sampling with the tokens that a form takes."""

    @property
    def paired(self) -> tuple[int, int]:
        """Prompts where only its response passes every check, and where only that of rejection sampling does."""
        other = self.plain.passing if self.plain else self.passing
        return len(self.passing - other), len(other - self.passing)

    def to_json(self) -> dict[str, object]:
        way, (won, lost) = self.way, self.paired
        low, high = self.wins.interval if self.wins else (None, None)
        return {
            "name": way.name,
            "shares": {name: one.to_json() for name, one in self.shares.items()},
            "kept": way.kept, "tried": way.tried, "found": way.found, "not kept": dict(way.not_kept),
            "relevance": way.mean_relevance, "tokens": way.tokens, "seconds": way.seconds,
            **({"judged": {"rate": self.wins.rate, "low": low, "high": high, "n": self.wins.n}} if self.wins else {}),
            **({"rejection": self.plain.to_json(), "won": won, "lost": lost, "p": mcnemar(won, lost)}
               if self.plain else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """All that a trial found: the responses before, and each form with rejection sampling beside it."""

    constitution: Constitution
    samples: Samples
    before: Row
    forms: Sequence[Row]

    @property
    def best(self) -> Row | None:
        """The form by which most responses pass every check; of equal ones the one that takes fewer tokens."""
        return max(self.forms, key=lambda one: (len(one.passing), -one.way.tokens), default=None)

    @property
    def p_values(self) -> dict[str, float]:
        """McNemar's, of each form beside rejection sampling, corrected by Holm for the number of forms."""
        names = [one.way.name for one in self.forms]
        return dict(zip(names, holm([mcnemar(*one.paired) for one in self.forms]), strict=True))

    @property
    def rows(self) -> list[Row]:
        """All in the order of the table."""
        return [self.before, *(row for one in self.forms for row in (one, one.plain) if row)]

    def to_json(self) -> dict[str, object]:
        return {
            "constitution": self.constitution.label,
            "prompts": len(self.samples.of),
            "before": self.before.to_json(),
            "forms": [{**one.to_json(), "holm": self.p_values[one.way.name]} for one in self.forms],
            "best": self.best.way.name if self.best else None,
        }

    def examples(self, count: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Prompts with what each way made of them, those first where the ways differ most."""
        ways = [one.way for one in self.rows]
        problems = sorted(self.samples.of, key=lambda one: -len({way.texts[one].text for way in ways}))  # stable
        for problem in problems[:count]:
            yield self.samples.problems[problem].question, [(way.name, way.texts[problem].text) for way in ways]


def read_trial(
    folder: RunFolder, forms: Iterable[str], constitution: Constitution, prefer: Prefer | None = None
) -> Trial:
    """What a finished trial says; `prefer` asks a judge."""
    samples = read_samples(folder)
    first = Way("before", {problem: mine[0] for problem, mine in samples.of.items()}, samples.verdicts)
    rows = []
    for name in forms:
        form = read_form(folder, name, samples)
        plain = make_row(reject(samples, form.tokens, constitution, prefer), samples, constitution, prefer)
        rows.append(replace(make_row(form, samples, constitution, prefer), plain=plain))
    return Trial(constitution, samples, make_row(first, samples, constitution), rows)


def make_row(way: Way, samples: Samples, constitution: Constitution, prefer: Prefer | None = None) -> Row:
    """What the checks, and the judge where there is one, say of a way's responses."""
    said = outcomes(check_answers(way.texts, samples.problems, way.verdicts, constitution))
    failed = {response for (response, _), outcome in said.items() if outcome != "correct"}
    passing = frozenset(name for name, one in way.texts.items() if is_whole(one) and one.id not in failed)
    shares = count_shares(Answers("", 1, way.texts, said), constitution)
    wins = None
    if prefer:
        pairs = [(problem, one, samples.of[problem][0]) for problem, one in way.texts.items()]
        liked = [0.5 if abs(2 * one - 1) < TIE else float(one > 0.5) for one in prefer(pairs)]
        wins = count_wins(liked, [len(one.text) - len(first.text) for _, one, first in pairs])
    return Row(way, {**shares, EVERY: Share(len(passing), len(way.texts))}, passing, wins)


def judge_trial(
    recipe: Recipe, folder: RunFolder, forms: Iterable[str], *, judge: bool, load: Loader | None = None
) -> Trial:
    """Read a finished trial, with a judge's word where it is asked."""
    with folder, closing(Session(recipe, folder, load=load)) as session:
        constitution = session.inputs.constitution
        assert constitution is not None
        prefer = JudgedPairs(session, read_samples(folder), folder) if judge else None
        return read_trial(folder, forms, constitution, prefer)
