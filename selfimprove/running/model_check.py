"""The examination at the start of a run: in short, from files alone where they leave no doubt."""

import sys
from itertools import islice
from shlex import quote

from selfimprove.doctor.examine import examine
from selfimprove.doctor.findings import TOPICS, Finding
from selfimprove.doctor.likelihood import Likelihood, measure
from selfimprove.doctor.subject import Subject, Use, read_subject
from selfimprove.engines.models import load_model
from selfimprove.errors import ModelError, RecipeError
from selfimprove.prompting.chat import ChatTemplate
from selfimprove.recipe.flow import flow_of
from selfimprove.records import Problem
from selfimprove.records.printable import printable
from selfimprove.running.session import Session
from selfimprove.stages.evaluate import Evaluate
from selfimprove.stages.generate import Generate
from selfimprove.stages.sft import Sft

HELD_OUT, DRAWN, LONGEST = 2000, 8, 12  # problems that are looked through, drawn of a group, and rendered
SMALL = 2 << 30  # bytes of weights that are loaded to settle a doubt


def check_start(session: Session) -> None:
    """Examine the model that a run starts from; raises ModelError where something is wrong and not overruled.

    What is doubtful is said, and stands in the record of the first stage.
    """
    recipe = session.recipe
    unknown = sorted(set(recipe.model.overrule) - set(TOPICS))
    if unknown:
        raise RecipeError(f"'model.overrule': no finding is called '{unknown[0]}'; choose from {', '.join(TOPICS)}")
    if recipe.model.path is None or recipe.model.build is not None:
        return
    session.import_models()
    use = make_use(session)
    subject = read_subject(recipe.model.path, template=_template(use))
    found = examine(subject, use)
    if any(one.id in ("begin", "chat begin") and one.level == "doubtful" for one in found):
        likelihood = _measure_small(subject, session)
        found = examine(subject, use, likelihood) if likelihood else found
    tell(found, recipe.model.path, recipe.model.overrule)
    said = [f"{one.level}: {one.id}: {one}" for one in found if one.level != "ok"]
    if said:
        session.clock.metrics["model"] = said


def tell(found: list[Finding], model: str, overruled: tuple[str, ...]) -> None:
    """Say what is doubtful or overruled; raises ModelError with what is wrong."""
    for one in found:
        if one.level == "doubtful" or (one.level == "wrong" and one.id in overruled):
            print(f"selfimprove: {model}: {one.id}: {printable(str(one))}", file=sys.stderr, flush=True)
    wrong = [one for one in found if one.level == "wrong" and one.id not in overruled]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        names = ", ".join(dict.fromkeys(one.id for one in wrong))
        raise ModelError(
            f"{model}: {wrong[0].id}: {wrong[0]}{more}; see all with: selfimprove doctor {quote(model)}; to run all "
            f"the same: --set 'model.overrule=[{names}]'"
        )


def _template(use: Use) -> ChatTemplate | None:
    return use.prompts.chat if isinstance(use.prompts.chat, ChatTemplate) else None


def _measure_small(subject: Subject, session: Session) -> Likelihood | None:
    """Settle a doubt with the weights where that is cheap."""
    model = session.recipe.model
    size = sum(one.stat().st_size for one in subject.whole.glob("*.safetensors"))
    if size > SMALL or session.recipe.engine.name != "transformers":
        return None
    loaded, tokenizer = load_model(str(model.path), base=None, dtype=model.dtype, device=model.device)
    return measure(loaded, tokenizer, subject.template)


def make_use(session: Session) -> Use:
    """What a run does with its model; raises ModelError where a prompt cannot be written."""
    recipe = session.recipe
    prompts = session.prompts
    problems = choose_problems(session)
    shown = [one for own in (prompts.exemplars, *prompts.own.values()) for one in own]
    more: list[str] = []
    if session.prompter and session.inputs.constitution and problems:
        principle = session.inputs.constitution.principles[0]
        more = [session.prompter.critique(principle, problems[0].question, "I do not know.")]
    engine, written = recipe.engine, recipe.of(Generate).max_tokens
    return Use(
        prompts=prompts,
        problems=problems,
        max_tokens=max(recipe.of(Evaluate).max_tokens or written, written if recipe.rounds else 1),
        dtype=recipe.model.dtype,
        engine=engine.name,
        longest=engine.vllm.max_length if engine.name == "vllm" else None,
        sft=recipe.find(Sft),
        trains=recipe.rounds > 0,
        hints=recipe.rounds > 0 and any(step.stage.hints for step in flow_of(recipe)),
        texts=tuple(prompts.exemplar_completion(one) for one in shown[:4]),
        more=tuple(more),
    )


def choose_problems(session: Session) -> list[Problem]:
    """The longest of the held-out problems and of some training ones."""
    task = session.inputs.task
    drawn = (one for group in islice(task.levels, 32) for one in task.draw(group, DRAWN, 0)) if task.levels else ()
    found = [*session.inputs.held_out[:HELD_OUT], *drawn]
    return sorted(found, key=lambda one: (-len(one.question), one.id))[:LONGEST]
