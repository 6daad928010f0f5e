"""What a run of `self-correct` can put right, on answers that do not change: before its rounds and after them.

    python tests/benchmarks/self_correct.py RUN [RUN ...]

For each run the held-out problems that its warmed-up model answered wrongly, and as many of those that it answered
rightly, are criticised and revised greedily by the warmed-up model and by the last checkpoint, each without a word from
the verifier. Beside it: the accuracy of the answers of the last checkpoint, what it puts right of its own mistakes, and
the accuracy after SFT alone of each round whose SFT was followed by DPO.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from selfimprove.recipe import Sampling
from selfimprove.records import Checkpoint, Critique, Evaluation, Rationale, Record, Revision, Verdict, by_id
from selfimprove.running.desk import StageDesk
from selfimprove.running.session import Session
from selfimprove.stages.base import Writer
from selfimprove.stages.dpo import Dpo
from selfimprove.stages.evaluate import measure_revisions
from selfimprove.stages.generate import generate
from selfimprove.stages.revise import revise
from selfimprove.stages.sft import Sft
from selfimprove.store import RunFolder


def open_run(folder: Path) -> Session:
    run = RunFolder(folder)
    return Session(run.recipe(), run)


def make_writer(session: Session, round_: int, checkpoint: Checkpoint) -> Writer:
    return replace(StageDesk(session.plan[0, "evaluate"], session).writer(checkpoint), round=round_)


def first_answers(session: Session) -> tuple[list[Rationale], dict[str, Verdict]]:
    """The wrong answers of the warmed-up model, and as many right ones."""
    verdicts = {one.rationale: one for one in session.read((0, "evaluate"), Verdict)}
    answers = [one for one in session.read((0, "evaluate"), Rationale) if one.origin == "sampled"]
    answers = [one for one in answers if one.finish == "stop"]
    wrong = [one for one in answers if verdicts[one.id].outcome == "incorrect"]
    right = sorted((one for one in answers if verdicts[one.id].outcome == "correct"), key=lambda one: one.id)
    return [*wrong, *right[: len(wrong)]], verdicts


def correct(
    session: Session, checkpoint: Checkpoint, answers: Sequence[Rationale], verdicts: dict[str, Verdict]
) -> dict[str, int]:
    """What a checkpoint makes of answers by critique and revision."""
    stages, prompter = session.recipe.stages, session.prompter
    assert stages.revise is not None and prompter is not None
    writer = make_writer(session, 1, checkpoint)
    records: list[Record] = list(
        revise(
            answers,
            problems=by_id(session.inputs.held_out),
            verdicts=verdicts,
            judge=session.judging.judge,
            writer=type(writer)(writer.engine, writer.checkpoint, writer.extract_answer, prompter.stop, 1, 0),
            prompter=prompter,
            critique=stages.critique and stages.critique.model_copy(update={"temperature": 0.0}),
            settings=stages.revise.model_copy(update={"temperature": 0.0}),
            blind=True,
        )
    )
    return measure_revisions(answers, verdicts, records)


def answer(session: Session, checkpoint: Checkpoint) -> float:
    """The share of the held-out problems that a checkpoint answers rightly."""
    sampling = Sampling(temperature=0.0, max_tokens=session.recipe.stages.generate.max_tokens)
    problems = by_id(session.inputs.held_out)
    written = list(
        generate(
            session.inputs.held_out,
            writer=make_writer(session, 0, checkpoint),
            render=session.prompts.render,
            sampling=sampling,
            samples=1,
        )
    )
    judged = session.judging.judge((problems[one.problem], one) for one in written)
    return mean(one.outcome == "correct" for one in judged)


def last_revisions(session: Session, round_: int) -> dict[str, int]:
    """What the last checkpoint made of its own answers, as its evaluation recorded it."""
    key = (round_, "evaluate")
    verdicts = {one.rationale: one for one in session.read(key, Verdict)}
    written: list[Rationale] = session.read(key, Rationale)
    records: list[Record] = [*written, *session.read(key, Critique), *session.read(key, Revision)]
    return measure_revisions([one for one in written if one.origin == "sampled"], verdicts, records)


def share(some: int, of: int) -> str:
    return f"{some}/{of} ({some / of:.1%})" if of else "0/0"


def report(folder: Path) -> None:
    session = open_run(folder)
    rounds = session.recipe.rounds
    print(f"\n{folder.name}, seed {session.recipe.seed}, {rounds} rounds")
    last = session.kept_after(rounds)
    for name, found in (("after the warm-up", 0), ("at the end", rounds)):
        evaluated = session.read((found, "evaluate"), Evaluation)
        print(
            f"  {name}: answers right {share(sum(one.correct for one in evaluated), sum(one.n for one in evaluated))}"
        )
    if session.recipe.stages.revise:
        answers, verdicts = first_answers(session)
        for name, checkpoint in (("warmed-up model", session.first_checkpoint()), ("last checkpoint", last)):
            print(f"  first answers, {name}: {describe(correct(session, checkpoint, answers, verdicts))}")
        print(f"  its own last answers: {describe(last_revisions(session, rounds))}")
    if session.recipe.find(Dpo) and session.recipe.find(Sft):
        for round_ in range(1, rounds + 1):
            after = session.read((round_, "evaluate"), Evaluation)
            whole = sum(one.correct for one in after) / sum(one.n for one in after)
            alone = answer(session, session.read((round_, "sft"), Checkpoint)[0])
            print(f"  round {round_}: SFT alone {alone:.1%}, with DPO {whole:.1%}")
    session.close()


def describe(found: dict[str, int]) -> str:
    return (
        f"wrong ones repaired {share(found['repaired'], found['wrong'])}, "
        f"wrong line named {share(found['line named'], found['critiques of wrong'])}, "
        f"in {share(found['line named'], found['a line named'])} of those that name a line, "
        f"right ones spoiled {share(found['spoiled'], found['right'])}, "
        f"nothing found in right ones {share(found['nothing found'], found['critiques of right'])}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    for folder in parser.parse_args().runs:
        report(folder)


if __name__ == "__main__":
    main()
