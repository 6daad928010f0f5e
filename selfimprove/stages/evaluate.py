"""Answer the held-out problems and count what is right."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

from pydantic import NonNegativeFloat, PositiveInt

from selfimprove.prompting.phrases import echoes, find_boilerplate, loops, refuses, speaks_of_itself
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.task_settings import EVERY, TaskSettings
from selfimprove.records import (
    Checkpoint,
    Critique,
    CrossCheck,
    Evaluation,
    Problem,
    Rationale,
    Record,
    Revision,
    Verdict,
    Vote,
    by_id,
)
from selfimprove.records.stats import sum_by_task, wilson
from selfimprove.settings import Settings, Share, added, unhashed
from selfimprove.stages.asking import Asking, counted, measure_votes
from selfimprove.stages.base import SHOWN, Ahead, Cost, Desk, Look, Records, Round, Stage, chunks
from selfimprove.stages.critique_examples import is_right
from selfimprove.stages.generate import Generate
from selfimprove.stages.revise import Revise, by_constitution, chain, chain_steps
from selfimprove.stages.split import controllers
from selfimprove.stages.vote import VOTE_VERSION, vote
from selfimprove.tasks import Task, pool_size


class Evaluate(Settings):
    """Answer all held-out problems, greedily where the temperature is 0."""

    max_tokens: PositiveInt | None = None
    """The longest answer in tokens; by default that of `generate`, or of the standard."""
    samples: PositiveInt = added(1)
    """Answers to each problem; with more than one the majority counts (self-consistency; Wang et al., 2022)."""
    temperature: NonNegativeFloat = added(0.0)
    """0 is greedy; several samples need a temperature above 0 (the paper: 0.5 to 0.7)."""
    standard: Literal["lm-eval", "lm-eval-cot"] | None = added(None)
    """Ask as lm-evaluation-harness 0.4.13 does, where it has the task: GSM8K, MMLU and BIG-Bench Hard. lm-eval: by its
    gsm8k, mmlu and bbh; lm-eval-cot: by gsm8k_cot instead of gsm8k. All other tasks are asked by `prompt`."""
    extract: str | None = added(None)
    """Zero-shot CoT's second prompt, such as "Therefore, the answer (arabic numerals) is" (Kojima et al., 2022, section
    3): it follows each answer, and what the model writes then is what counts. By default the verifier reads the
    answer out of the text."""
    limit: PositiveInt | None = added(None)
    """At most n held-out problems, chosen by a hash of the question; by default all."""
    training: PositiveInt | None = added(None)
    """Answer n training problems instead of the held-out ones, to choose a prompt by; for recipes without rounds."""
    everything: bool = added(False)
    """Answer all problems of the training task, those to train on too; for recipes without rounds."""
    controller: Share = added(0.0)
    """The share of the held-out problems of each family that is answered for what promotes and steers, and that no
    reported figure counts: `promote` then goes by these alone."""
    unseen: bool = unhashed(
        False,
        "leave out problems that the model was trained on, as the run tells whose checkpoint it is (what is left out "
        "counts); `selfimprove evaluate --model` sets it",
    )
    revise: bool = False
    """Criticise and revise every answer as well, to see what the model can correct; the accuracy is of the answers
    before it."""
    part_size: PositiveInt = 512
    """Problems in a part."""


def evaluate(
    problems: Sequence[Problem], rationales: Sequence[Rationale], verdicts: Mapping[str, Verdict], checkpoint: str
) -> Iterator[Evaluation]:
    """One evaluation a group of problems; `verdicts` is by rationale. Undecided answers are counted beside `n`."""
    verdict_of = {one.problem: verdicts[one.id] for one in rationales}
    groups: dict[tuple[str, int, str], list[Verdict]] = {}
    for problem in problems:
        groups.setdefault((problem.task, problem.level, problem.group), []).append(verdict_of[problem.id])
    for (task, level, group), found in groups.items():
        correct = sum(one.outcome == "correct" for one in found)
        undecided = sum(one.outcome == "undecided" for one in found)
        low, high = wilson(correct, len(found) - undecided)
        yield Evaluation(
            parents=(checkpoint, *(one.id for one in found)),
            task=task,
            level=level,
            group=group,
            n=len(found) - undecided,
            correct=correct,
            undecided=undecided,
            wrong_reason=sum(one.wrong_reason for one in found),
            low=low,
            high=high,
        )


def asking_of(desk: Desk[Evaluate]) -> Asking:
    return Asking(desk, desk.trained)


def parts(desk: Desk[Evaluate]) -> list[Sequence[Problem]]:
    """Parts that answer problems, each asked in one way, and a last one with what follows from them all."""
    asking = desk.once(asking_of)
    # What is written comes before what is scored.
    order = sorted(desk.read_of(0, Problem, "problems"), key=asking.scores)
    found = [
        part
        for _, some in groupby(order, key=asking.kind)
        for part in chunks(list(some), desk.settings.part_size)
        if part
    ]
    return [*found, []]


def answer(part: Sequence[Problem], desk: Desk[Evaluate]) -> Records:
    """The answers to the problems of a part; the last one judges and counts them all."""
    asking, problems = desk.once(asking_of), desk.read_of(0, Problem, "problems")
    if part:
        yield from asking.ask(part)
        return
    written = [one for one in desk.written(Rationale) if one.origin == "sampled"]
    verdicts = list(asking.judge(written, by_id(problems)))
    yield from verdicts
    judged = {one.rationale: one for one in verdicts}
    votes = list(vote(by_id(problems), written, same=desk.judging.same_answers)) if asking.samples > 1 else []
    yield from votes
    final = counted(written, votes)
    apart = controllers(problems, desk.settings.controller)
    reported = [one for one in problems if one.id not in apart]
    found = list(evaluate(reported, final, judged, asking.checkpoint.id))
    yield from found
    if errors := desk.judging.errors:
        desk.note("verifier", errors)
    if votes:
        shown = [one for one in written if one.problem not in apart]
        desk.note("self-consistency", measure_votes(votes, shown, judged, found))
    yield from asking.judge_by_standard(written, judged, by_id(problems))
    answered = {one.id: one for one in problems if not asking.scores(one)}
    yield from evaluate_revisions(desk, asking.checkpoint, answered, final, judged)


def evaluate_revisions(
    desk: Desk[Evaluate],
    checkpoint: Checkpoint,
    problems: Mapping[str, Problem],
    answers: Sequence[Rationale],
    verdicts: Mapping[str, Verdict],
) -> Records:
    """What the model makes of its own held-out answers by critique and revision; the figures go into the manifest."""
    open_ = {name: one for name, one in problems.items() if one.is_open}
    written = defaultdict(list)
    for one in answers:
        if one.problem in open_:
            written[open_[one.problem].question].append(one)
    if written:
        desk.note("open prompts", describe_texts(written))
    if not desk.settings.revise:
        return
    taken = [one for one in answers if one.finish == "stop" and one.problem in problems]
    records = list(chain(desk, checkpoint, taken, problems, verdicts, "evaluate"))
    yield from records
    desk.note("revised", measure_revisions(taken, verdicts, records))


def describe_texts(written: Mapping[str, Sequence[Rationale]]) -> dict[str, float]:
    """How many responses to open prompts, by prompt, do not end, say nothing, go in circles, give back the prompt,
    refuse, speak of themselves as an AI or are boilerplate."""
    texts = {prompt: [one.text for one in found] for prompt, found in written.items()}
    everything = [one for found in texts.values() for one in found]
    boilerplate = find_boilerplate(texts)
    return {
        "responses": len(everything),
        "cut off": sum(one.finish == "length" for found in written.values() for one in found),
        "empty": sum(not one.strip() for one in everything),
        "repeated": sum(map(loops, everything)),
        "echoes": sum(echoes(prompt, one) for prompt, found in texts.items() for one in found),
        "refusals": sum(map(refuses, everything)),
        "about itself": sum(map(speaks_of_itself, everything)),
        "boilerplate": sum(one in boilerplate for one in everything),
        "words": sum(len(one.split()) for one in everything) / max(1, len(everything)),
    }


def measure_revisions(
    responses: Sequence[Rationale], verdicts: Mapping[str, Verdict], records: Sequence[Record]
) -> dict[str, int]:
    """Wrong answers that became right, right ones that became wrong, and critiques that a verifier bears out."""
    judged = {**verdicts, **{one.rationale: one for one in records if isinstance(one, Verdict)}}
    by = by_id([*responses, *(one for one in records if isinstance(one, Rationale))])
    last = {one.id: one.id for one in responses}
    first = dict(last)
    for one in records:
        # Taken as the model gives it: no verifier says which of its revisions to keep.
        if isinstance(one, Revision) and by[one.rationale].finish == "stop":
            origin = first[one.response]
            first[one.rationale], last[origin] = origin, one.rationale
    found = [(judged[start].outcome, judged[end].outcome) for start, end in last.items()]
    critiques = [one for one in records if isinstance(one, Critique) and one.response in by]
    of_wrong = [one for one in critiques if judged[one.response].outcome == "incorrect"]
    of_right = [one for one in critiques if judged[one.response].outcome == "correct"]

    def count(some: Sequence[Critique]) -> tuple[int, int]:
        said = [is_right(one, by[one.response].text, judged[one.response]) for one in some]
        return sum(one is True for one in said), sum(one is not None for one in said)

    (named, wrong), (passed, right) = count(of_wrong), count(of_right)
    return {
        "wrong": sum(before == "incorrect" for before, _ in found),
        "repaired": sum(before == "incorrect" and after == "correct" for before, after in found),
        "right": sum(before == "correct" for before, _ in found),
        "spoiled": sum(before == "correct" and after != "correct" for before, after in found),
        "critiques of wrong": wrong,
        "a line named": sum(one.line is not None for one in of_wrong),
        "line named": named,
        "critiques of right": right,
        "nothing found": passed,
    }


def say(desk: Desk[Evaluate]) -> str:
    """What was answered right, and of open prompts, which have no answer, what their answers look like."""
    found, manifest = desk.written(Evaluation), desk.manifest
    correct, n = sum(one.correct for one in found), sum(one.n for one in found)
    undecided = sum(one.undecided for one in found if n or not one.task.startswith("prompts/"))
    lines = [f"{correct} of {n} held-out problems correct ({correct / n:.1%})"] if n else []
    lines += [f"{undecided} undecided"] if undecided else []
    tasks = [one for one in sum_by_task(found, desk.round) if one.n]
    more = [f"{one.task} {one}" for one in tasks if len(tasks) > 1]
    more += describe_evaluation(manifest.metrics) if manifest else []
    return "; ".join(filter(None, [", ".join(lines), *more])) or "no held-out problem has an answer"


def describe_consistency(found: Mapping[str, object]) -> str:
    """What the majority over several samples was worth."""
    return (
        f"by majority over {found['samples']} samples {found['majority']:.1%}, "
        f"a single sample {found['single sample']:.1%} on average, {found['ties']} ties"
    )


def describe_evaluation(metrics: dict[str, Any]) -> list[str]:
    """What was seen in the answers to open prompts, and what the model could correct."""
    lines = [describe_consistency(metrics["self-consistency"])] if metrics.get("self-consistency") else []
    if errors := metrics.get("verifier"):
        lines.append(describe_errors(errors))
    if texts := metrics.get("open prompts"):
        lines.append(
            f"of {texts['responses']} open answers {texts.get('cut off', 0)} are cut off, {texts.get('empty', 0)} "
            f"empty, {texts.get('repeated', 0)} go in circles, {texts.get('echoes', 0)} give back the "
            f"prompt, {texts['refusals']} refuse, {texts['boilerplate']} are boilerplate, "
            f"{texts['about itself']} speak of themselves as an AI, {texts['words']:.0f} words on average"
        )
    if revised := metrics.get("revised"):
        lines.append(
            f"by critique and revision {revised['repaired']} of {revised['wrong']} wrong answers repaired and "
            f"{revised['spoiled']} of {revised['right']} right ones spoiled, "
            f"the wrong line named in {revised['line named']} of {revised['critiques of wrong']} critiques"
        )
    return lines


def describe_errors(errors: dict[str, Any]) -> str:
    """How often the verifier was wrong on labelled responses, with the 95% intervals."""
    said = [
        f"{name} {rate['count']} of {rate['n']} ({rate['low']:.1%} to {rate['high']:.1%})"
        for name, rate in ((name, errors[name]) for name in ("false accepts", "false rejects"))
    ]
    return f"the verifier on labelled responses: {', '.join(said)}, {errors['undecided']['count']} undecided"


def depends(round_: Round[Evaluate]) -> dict[str, object]:
    settings = round_.settings
    return {
        **round_.own,
        "max_tokens": settings.max_tokens or round_.other(Generate).max_tokens,
        **round_.shared(*SHOWN),
        **(by_constitution(round_) if settings.revise else {}),
        **({"version of vote": VOTE_VERSION} if settings.samples > 1 else {}),
    }


def cost(look: Look[Evaluate]) -> Sequence[Cost]:
    settings, held_out = look.settings, look.sizes.held_out
    most = settings.max_tokens or look.recipe.of(Generate).max_tokens
    found = [Cost(texts=held_out * settings.samples, longest=most, measured_as=("generate",))]
    if settings.revise:
        _, longest = chain_steps(look)
        texts = held_out * look.recipe.of(Revise).revisions
        found.append(Cost(texts=texts, longest=longest, measured_as=("revise",)))
    return found


def remarks(ahead: Ahead[Evaluate]) -> Iterator[str]:
    """Held-out problems that are fewer than the recipe says."""
    recipe = ahead.recipe
    if ahead.settings.training or ahead.settings.everything:
        return
    for asked, task in zip(recipe.evaluate_on or (recipe.train,), ahead.given.held_out_tasks, strict=True):
        yield from too_few_held_out(asked, task, last=recipe.rounds == 0)


def too_few_held_out(settings: TaskSettings, task: Task, *, last: bool) -> Iterator[str]:
    asked, there, rest = getattr(settings, "held_out", None), len(task.held_out()), pool_size(task)
    if not isinstance(asked, int) or asked >= EVERY or rest is None or there >= asked:
        return
    half = there == (there + rest) // 2
    why = f"at most half of its {there + rest:,} different problems are set aside" if half else "it has no more"
    more = "; to evaluate all of them: --all" if last and half else ""
    yield f"task '{task.name}': {there:,} problems are held out and not {asked:,} ('held_out'): {why}{more}"


def check(recipe: Recipe, settings: Evaluate) -> Iterable[Mistake]:
    here = ("stages", "evaluate")
    if settings.samples > 1 and settings.temperature == 0:
        said = f"{settings.samples} greedy samples are all the same; set 'evaluate.temperature'"
        yield Mistake((*here, "samples"), said)
    if settings.training and (recipe.rounds or recipe.train.family == "scored"):
        said = "'evaluate.training' is for recipes without rounds: nothing would be held out"
        yield Mistake((*here, "training"), said)
    if settings.everything and (recipe.rounds or settings.training or recipe.evaluate_on):
        said = "'evaluate.everything' is for recipes without rounds, 'evaluate.training' and 'evaluate_on'"
        yield Mistake((*here, "everything"), said)
    if settings.training and settings.standard:
        said = "'evaluate.standard' has prompts for held-out problems, not for training ones"
        yield Mistake((*here, "training"), said)
    if settings.controller and not recipe.rounds:
        said = "'evaluate.controller' is for recipes with rounds: without them nothing is promoted or steered"
        yield Mistake((*here, "controller"), said)
    if settings.extract and settings.samples > 1:
        said = f"'evaluate.extract' is for one sample, not for {settings.samples}"
        yield Mistake((*here, "extract"), said)
    if settings.revise and recipe.find(Revise) is None:
        said = "'evaluate.revise' needs the stage 'revise', which trains on what was revised"
        yield Mistake((*here, "revise"), said)


EVALUATE = Stage(
    name="evaluate",
    version=1,
    settings=Evaluate,
    writes=Rationale,
    also=(Verdict, Vote, Evaluation, CrossCheck, Critique, Revision),
    reads=lambda round: [round.problems, round.trained],
    parts=parts,
    run=answer,
    uses=(*SHOWN, "constitution"),
    depends=depends,
    when="always",
    about="held out",
    optional=False,
    asks="policy",
    gathers=True,
    gathering_asks=lambda desk: desk.settings.revise or desk.judging.asks,
    per_item=lambda desk: desk.settings.samples,
    say=say,
    cost=cost,
    remarks=remarks,
    check=check,
)
