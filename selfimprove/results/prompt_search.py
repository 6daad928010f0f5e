"""Search for a better trigger with the model itself, on training problems alone.

The first step shows worked problems and asks what the instruction was (APE; Zhou et al., 2022, section 3.1); each later
one shows the triggers so far in the order of their accuracy and asks for the next (OPRO; Yang et al., 2023, section 3).
Both prompts are texts to go on with, so that a base model can answer them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.engines import Request
from selfimprove.errors import StoreError, TaskError
from selfimprove.prompting.triggers import Trigger, clean, key_of, why_not
from selfimprove.recipe import Recipe, Sampling
from selfimprove.records import Checkpoint, Problem, Proposal, derive_seed, digest, replace_surrogates
from selfimprove.results.prompt_study import Asked, SharedEngine, ask, trigger_form
from selfimprove.running.report import Report
from selfimprove.running.session import Session
from selfimprove.stages.base_model import BASE
from selfimprove.stages.evaluate import Evaluate
from selfimprove.store import RunFolder
from selfimprove.tasks.base import draw_evenly

LISTED = 12  # triggers that a prompt lists, the best ones so far
SHOWN = 3  # worked problems that a prompt shows
PROPOSED = 48  # tokens of a proposal
VERSION = 1


@dataclass(frozen=True)
class Search:
    """How long to search: steps, proposals a step, and the training problems that each is scored on."""

    steps: int = 3
    proposals: int = 8
    problems: int = 100
    temperature: float = 1.0


@dataclass(frozen=True)
class Found:
    """What a search tried: the triggers with their accuracy on the training problems, the best first."""

    tried: list[Asked]
    proposals: list[Proposal]
    problems: int

    @property
    def best(self) -> Trigger:
        return trigger_of(self.tried[0])

    def describe(self) -> str:
        """The best of many on the same problems looks better than it is: the line says so."""
        kept = sum(one.kept for one in self.proposals)
        return (
            f"{len(self.proposals)} proposals, {kept} of them tried, beside {len(self.tried) - kept} given triggers; "
            f"the best has {self.tried[0].accuracy:.1%} of {self.tried[0].n} training problems. That is the highest of "
            f"{len(self.tried)} figures on the same problems and so too high (selection bias); the held-out one is not"
        )

    def to_json(self) -> dict[str, object]:
        tried = [
            {**trigger_of(one).model_dump(), "correct": one.correct, "n": one.n, "accuracy": one.accuracy}
            for one in self.tried
        ]
        return {"training problems": self.problems, "tried": tried, "proposals": len(self.proposals)}


def trigger_of(one: Asked) -> Trigger:
    assert one.form.trigger is not None
    return one.form.trigger


def search(
    recipe: Recipe,
    folder: RunFolder,
    given: Sequence[Trigger],
    settings: Search,
    *,
    load: SharedEngine,
    report: Report | None = None,
) -> Found:
    """Propose and score triggers, beginning with the `given` ones, of which there must be one.

    What was proposed and scored already is read again. Held-out problems stay unseen.
    """
    evaluate = recipe.of(Evaluate).model_copy(update={"training": settings.problems, "limit": None})
    scored = recipe.model_copy(update={"stages": recipe.stages.model_copy(update={"evaluate": evaluate})})
    own = RunFolder(folder.path / "search")
    tried = [ask(trigger_form(one), scored, own, load=load, report=report) for one in given]
    proposals: list[Proposal] = []
    for step in range(1, settings.steps + 1):
        made = propose(recipe, own, _rank(tried), settings, step, proposals, load=load)
        proposals += made
        for one in made:
            if one.kept:
                trigger = Trigger(text=one.trigger, source=f"proposed by the model in step {step}")
                tried.append(ask(trigger_form(trigger), scored, own, load=load, report=report))
    return Found(_rank(tried), proposals, len(tried[0].outcomes))


def _rank(tried: Sequence[Asked]) -> list[Asked]:
    """The best first; of equal ones the one that was tried first."""
    return sorted(tried, key=lambda one: -one.accuracy)


def propose(
    recipe: Recipe,
    folder: RunFolder,
    tried: Sequence[Asked],
    settings: Search,
    step: int,
    before: Sequence[Proposal],
    *,
    load: SharedEngine,
) -> list[Proposal]:
    """The proposals of one step, kept on disk as they were written."""
    # As the triggers are asked: the recipe's own style may need exemplars that the task has not.
    session = Session(tried[0].form.apply(recipe, folder.path.name), folder)
    try:
        shown = draw_evenly(session.inputs.task, SHOWN, derive_seed(recipe.seed, "shown in proposals", step))
        if not shown:
            raise TaskError(f"task '{session.inputs.task.name}' has no training problems to search on")
        prompt = write_request(shown, tried, step, session)
        asked = [VERSION, prompt, settings.proposals, settings.temperature, recipe.seed, step, str(recipe.model.path)]
        disk = folder.stage(step, "propose", digest(*asked))
        opened = disk.opened_as()
        if opened not in (None, disk.fingerprint):
            raise StoreError(f"{disk.path}: was made with other settings; choose another --name")
        if not disk.has_part("proposal", 0):
            with folder:
                folder.write_recipe(recipe)
                disk.begin({"proposals": settings.proposals, "temperature": settings.temperature})
                disk.write_part("proposal", 0, list(_ask(prompt, recipe, settings, step, tried, before, session, load)))
        return disk.read(Proposal)
    finally:
        session.close()


def _ask(
    prompt: str,
    recipe: Recipe,
    settings: Search,
    step: int,
    tried: Sequence[Asked],
    before: Sequence[Proposal],
    session: Session,
    load: SharedEngine,
) -> list[Proposal]:
    checkpoint = RunFolder(session.folder.path / tried[0].form.name).stage(0, BASE.name).read(Checkpoint)[0]
    seeds = [derive_seed(recipe.seed, "propose", step, number) for number in range(settings.proposals)]
    sampling = Sampling(temperature=settings.temperature, max_tokens=PROPOSED)
    engine = load(checkpoint, session)
    written = sorted(engine.generate([Request(prompt, seed) for seed in seeds], sampling, ("\n\n",)), key=_index)
    known = {key_of(trigger_of(one).text) for one in tried} | {key_of(one.trigger) for one in before}
    proposals = []
    for one in written:
        text = replace_surrogates(one.text)
        trigger = clean(text)
        reason = "nothing was written" if one.finish == "too_long" else why_not(trigger, known, prompt)
        if not reason and one.finish == "length" and "\n" not in text.strip():
            reason = f"not at an end after {PROPOSED} tokens"
        known.add(key_of(trigger))
        proposals.append(
            Proposal(
                parents=(checkpoint.id,),
                prompt=prompt,
                text=text,
                trigger=trigger,
                kept=not reason,
                reason=reason or "tried",
                step=step,
                seed=seeds[one.index],
                temperature=settings.temperature,
                tokens=one.tokens,
                logprob=one.logprob,
                finish=one.finish,
            )
        )
    return proposals


def _index(completion: Any) -> int:
    return int(completion.index)


def write_request(shown: Sequence[Problem], tried: Sequence[Asked], step: int, session: Session) -> str:
    """The text that a proposal goes on from, as the user's turn where there is a chat template."""
    pairs = "\n\n".join(f"Input: {one.question}\nOutput: {one.answer}" for one in shown if one.answer)
    if step == 1:
        text = (
            "I gave a friend one instruction that helps to reason about every input. By it the friend solved these:"
            f"\n\n{pairs}\n\nThe instruction was one short sentence that names no input. "
        )
        end = 'It said: "'
    else:
        listed = [
            f"Instruction: {trigger_of(one).text}\nScore: {100 * one.accuracy:.0f}" for one in reversed(tried[:LISTED])
        ]
        text = (
            "Short instructions that stand before the answer to problems such as the ones below, and the score of each "
            f"from 0 to 100. Each one is better than those before it.\n\n{pairs}\n\n" + "\n\n".join(listed) + "\n\n"
        )
        end = "Instruction:"
    if session.prompts.chat:
        return session.prompts.chat([{"role": "user", "content": f"{text}Write one new instruction and nothing else."}])
    return text + end
