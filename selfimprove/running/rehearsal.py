"""What a training would be refused for, found before the first token is paid for: the same configuration, built on the
shape of the model alone, and the length of a row."""

import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from selfimprove.engines.model_folders import resolve_folder
from selfimprove.errors import ModelError, RecipeError, SelfImproveError
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe import Training
from selfimprove.recipe.recipe import Build
from selfimprove.recipe.reinforcement import RlTraining
from selfimprove.records import Problem
from selfimprove.records.printable import printable
from selfimprove.running.plan import PlannedStage
from selfimprove.running.session import Session
from selfimprove.stages.rank import Rank
from selfimprove.stages.training import adapter_before, differing_adapter, with_adapter
from selfimprove.trainers.rewarding import OTHER_TOKENIZER, hash_vocabulary, read_reading, tell_form

MOST, GROUPS, DRAWN = 2000, 32, 8  # problems that the shortest question is looked for in; drawn of each group


def check_reward_models(session: Session) -> None:
    """Look at the reward models of other runs that stages still to come name; raises ModelError with what is wrong."""
    ranks = [one for one in session.plan.values() if isinstance(one.own, Rank) and one.own.path is not None]
    paths = [str(one.own.path) for one in ranks if not session.folder.stage(*one.key, one.fingerprint).closed]
    for path in dict.fromkeys(paths):
        reading = read_reading(path)
        if reading.chat != (session.prompts.chat is not None):
            raise ModelError(tell_form(path, chat=reading.chat))
        if session.recipe.model.path is None:
            continue  # the tokenizer of a model that is built is known once it is
        from selfimprove.engines.models import read_tokenizer

        session.import_models()
        if hash_vocabulary(read_tokenizer(resolve_folder(str(session.recipe.model.path)))) != reading.tokenizer:
            raise ModelError(f"{path}: {OTHER_TOKENIZER}")


def check_training(session: Session) -> None:
    """Rehearse every training of a run that is still to come; raises RecipeError with what is wrong with the first.

    A training that goes on with another's adapter without being told to is said.
    """
    check_reward_models(session)
    model = session.recipe.model
    coming = [one for one in session.plan.values() if isinstance(one.own, Training)]
    coming = [one for one in coming if not session.folder.stage(*one.key, one.fingerprint).closed]
    policy = [one.name for one in session.plan.values() if one.round and one.declared.trains == "policy"]
    done: set[tuple[str, str]] = set()
    for stage in coming:
        trains_policy = stage.declared.trains == "policy"
        before = adapter_before(stage.recipe, stage.name) if trains_policy and stage.round else None
        settings = with_adapter(stage.own, before)
        key = (stage.name, settings.model_dump_json())
        if key in done:
            continue
        done.add(key)
        if trains_policy and stage.round and (why := differing_adapter(stage.recipe, stage.name, stage.own)):
            raise RecipeError(why)
        if before and stage.own.lora is None:
            _say_adapter(stage, before[0])
        try:
            if model.build:
                _rehearse_built(stage, settings, session, model.build)
            else:
                _rehearse(stage, settings, session, given=not stage.round or stage.name == policy[0])
        except SelfImproveError as error:
            raise RecipeError(f"'{stage.name}' could not be trained: {printable(str(error))}") from None


def _say_adapter(stage: PlannedStage, before: str) -> None:
    if getattr(stage.own, "reference", None) == "base":
        raise RecipeError(
            f"'{stage.name}' goes on with the adapter of '{before}', and 'reference: base' is not there for LoRA; "
            f"leave '{stage.name}.reference' out"
        )
    print(f"selfimprove: '{stage.name}' has no 'lora', and goes on with the adapter of '{before}'", file=sys.stderr)


def _rehearse(stage: PlannedStage, settings: Training, session: Session, *, given: bool) -> None:
    """`given` says that the stage is the first of a round to train the policy, and so may train the model given."""
    from selfimprove.engines.model_files import read_base
    from selfimprove.engines.model_folders import find_whole, resolve_folder
    from selfimprove.engines.models import build_skeleton, read_longest
    from selfimprove.trainers.adapters import check_shape
    from selfimprove.trainers.rehearse import rehearse

    session.import_models()
    folder = resolve_folder(str(session.recipe.model.path))
    adapter = read_base(folder) is not None
    if adapter and given and settings.lora:
        check_shape(folder, settings.lora)
    whole = find_whole(folder)
    skeleton = build_skeleton(whole)
    if skeleton is not None:
        rehearse(skeleton, settings, base=str(whole))
    _check_length(
        stage.name, settings, session, lambda prompt: _count_tokens(folder, prompt, session), read_longest(whole)
    )


def _rehearse_built(stage: PlannedStage, settings: Training, session: Session, shape: Build) -> None:
    """The same for a model that the run builds itself; only an adapter's layers can be missing from it, and only for
    them torch is loaded. Its tokenizer makes a token of each character, after one for the beginning."""
    if settings.lora:
        from selfimprove.engines.build import sketch_model
        from selfimprove.trainers.rehearse import rehearse

        session.import_models()
        rehearse(sketch_model(shape), settings, base="model.build")
    _check_length(stage.name, settings, session, lambda prompt: len(prompt) + 1, shape.max_positions)


def _count_tokens(folder: Path, prompt: str, session: Session) -> int:
    from selfimprove.engines.models import read_tokenizer
    from selfimprove.prompting.prompts import encode_prompt

    tokenizer: Tokenizer = read_tokenizer(folder)
    return len(encode_prompt(tokenizer, prompt, chat=session.prompts.chat is not None))


def _check_length(
    name: str, settings: Training, session: Session, count: Callable[[str], int], positions: int | None
) -> None:
    """Not even the shortest of a task's questions leaves room for a token of an answer, and one for its end; or for a
    text that is written while training goes on, of which the longest counts."""
    writes = isinstance(settings, RlTraining)
    problems = [*session.inputs.held_out[:MOST], *(_draw_some(session) if writes else ())]
    if not problems:
        return
    problem = min(problems, key=lambda one: (len(one.question), one.id))
    if not isinstance(settings, RlTraining):
        tokens = count(session.prompts.render_question(problem))
        if tokens + 2 > settings.max_length:
            raise RecipeError(
                f"'{name}.max_length: {settings.max_length}' leaves out every row: a short question has {tokens} "
                "tokens without an answer"
            )
        return
    tokens, longest = count(session.prompts.render(problem)), settings.max_tokens
    for limit, said in ((settings.max_length, f"'{name}.max_length'"), (positions, "the model")):
        if limit is not None and tokens + longest > limit:
            raise RecipeError(
                f"'{name}.max_tokens: {longest}' leaves no room for a question: a short one has {tokens} tokens, and "
                f"{said} has room for {limit} in all"
            )


def _draw_some(session: Session) -> list[Problem]:
    """Some of the problems that are trained on."""
    task = session.inputs.task
    return [one for group in islice(task.levels, GROUPS) for one in task.draw(group, DRAWN, 0)] if task.levels else []
