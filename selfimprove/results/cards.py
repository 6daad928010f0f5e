"""The card of a published model and that of its data: what the records say, in the hub's format.

What a model or a file of others wrote is escaped: it can neither format the page nor leave its place.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from selfimprove.recipe.yaml import dump
from selfimprove.records.printable import printable
from selfimprove.results.card_facts import Evaluated, Facts
from selfimprove.results.steps import charts_figures
from selfimprove.store.manifest import CUT_OFF, last_measured
from selfimprove.verifiers.judge import JudgeVerifier

MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")
SHOWN = 600  # characters of a text in an example


def escape(text: str, limit: int = 300) -> str:
    """A text on one line in which no character formats anything."""
    return MARKUP.sub(r"\\\1", printable(" ".join(text.split()), limit))


def fence(text: str, limit: int = SHOWN) -> str:
    """A text as a block of code that no line of it can end."""
    shown = printable(text, limit)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}text\n{shown}\n{mark}"


def code(text: str) -> str:
    """A name as code on one line."""
    return f"`{printable(' '.join(text.replace('`', '').split()), 200)}`"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are escaped by whoever gives them."""
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


# --- the model's card --------------------------------------------------------------------------------------------


def model_card(facts: Facts, *, adapter: bool, title: str) -> str:
    """The model's card."""
    sections = [
        f"# {escape(title)}",
        _what_it_is(facts, adapter=adapter),
        "## Base model and licence",
        _licence(facts),
        "## How it was trained",
        _training(facts),
        "## Data",
        _data(facts),
        *_verifier(facts),
        *_constitution(facts),
        "## Figures",
        _figures(facts),
        "## Control",
        _control(facts),
        "## Limits",
        "\n".join(f"- {one}" for one in _limits(facts)),
    ]
    return f"---\n{dump(_metadata(facts, adapter=adapter, title=title))}---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(facts: Facts, *, adapter: bool, title: str) -> dict[str, object]:
    found: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["selfimprove", *dict.fromkeys(_methods(facts))],
    }
    if "/" in facts.base:
        found |= {"base_model": facts.base, "base_model_relation": "adapter" if adapter else "finetune"}
    if facts.licence:
        found["license"] = facts.licence
    if facts.mine and facts.mine.tasks:
        results = [
            {
                "task": {"type": "text-generation"},
                "dataset": {"type": one.task, "name": f"{one.task}, held out by the run"},
                "metrics": [{"type": "accuracy", "value": round(one.accuracy, 6), "name": str(one)}],
            }
            for one in facts.mine.tasks
        ]
        found["model-index"] = [{"name": title, "results": results}]
    return found


def _methods(facts: Facts) -> Iterator[str]:
    for one in facts.manifests:
        if one.tokens.get("trained"):
            yield one.declared or one.stage


def _what_it_is(facts: Facts, *, adapter: bool) -> str:
    begun = "random weights" if facts.built else f"{code(facts.base)}"
    form = "A LoRA adapter for" if adapter else "A language model that began as"
    rounds = max((one.round for one in facts.manifests), default=0)
    at = facts.mine.round if facts.mine else None
    which = f", kept in round {at}" if at is not None else ""
    return (
        f"{form} {begun} and improved itself in {rounds} round{'s' if rounds != 1 else ''}{which} (run "
        f"{code(facts.name)}, seed {facts.recipe.seed}): it wrote answers, they were judged, and it was trained on "
        f"what passed. {escape(facts.recipe.description)}".rstrip()
    )


def _licence(facts: Facts) -> str:
    if facts.built:
        return "There is no base model: the weights were random at the beginning."
    said = f"licence: {escape(facts.licence)}" if facts.licence else (
        "licence: **not known**. The base model's folder names none; look it up before you share this"
    )  # fmt: skip
    where = "" if "/" in facts.base else ", which lay in a local folder of this name and may be found elsewhere"
    return f"Base model: {escape(facts.base)}{where}; {said}."


def _training(facts: Facts) -> str:
    rows = []
    for one in facts.manifests:
        if trained := one.tokens.get("trained"):
            curve = one.metrics.get("curve") or []
            shown = curve and not charts_figures(one)  # the loss of RL is about 0 by construction
            loss = f"{curve[0]['loss']:.3f} to {curve[-1]['loss']:.3f}" if shown else ""
            numbers = (one.metrics.get("rows", ""), one.metrics.get("steps", ""), f"{trained:,}")
            kept = "yes" if (one.round, one.stage) in facts.within else "no"
            rows.append((str(one.round), one.stage, *map(str, numbers), loss, kept))
    packages = facts.manifests[-1].packages if facts.manifests else {}
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in packages.items())
    generate = facts.recipe.of(_generate())
    sampled = (
        f"Each round samples {generate.samples} answers a problem at temperature {generate.temperature:g}, of at most "
        f"{generate.max_tokens} tokens."
    )
    return "\n\n".join(
        [
            sampled,
            table(("round", "stage", "rows", "steps", "tokens", "loss", "in this model"), rows),
            f"Made with {versions}.",
        ]
    )


def _generate() -> Any:
    from selfimprove.stages.generate import Generate

    return Generate


def _data(facts: Facts) -> str:
    recipe = facts.recipe
    names = [f"trained on problems of {escape(recipe.train.name)}"]
    if recipe.open:
        names.append(f"open prompts of {escape(recipe.open.name)}")
    rows = [(str(one["round"]), one["kind"], escape(one["source"]), f"{one['n']:,}") for one in facts.rows]
    said = f"{'; '.join(names)}. Held-out problems were never trained on. The rows have a card of their own."
    return f"{said[0].upper()}{said[1:]}\n\n{table(('round', 'rows for', 'from', 'rows'), rows)}"


def _verifier(facts: Facts) -> Iterator[str]:
    yield "## Verifier"
    if not facts.verdicts:
        yield "Nothing was judged."
        return
    rows = [
        (escape(str(one["verifier"])), str(one["version"]), one["outcome"], f"{one['n']:,}") for one in facts.verdicts
    ]
    yield "What said which answers are right, over all rounds; *undecided* is not *incorrect*."
    yield table(("verifier", "version", "outcome", "answers"), rows)
    if errors := last_measured(facts.manifests, "verifier"):
        from selfimprove.stages.evaluate import describe_errors

        yield f"{describe_errors(errors)}."


def _constitution(facts: Facts) -> Iterator[str]:
    one = facts.constitution
    if one is None:
        return
    yield "## Constitution"
    yield f"{escape(one.name)}, version {one.version}, hash `{one.hash}`. {escape(one.description)}".rstrip()
    yield "\n".join(f"- {escape(each.id)}: {escape(each.text, 500)}" for each in one.principles)


def _figures(facts: Facts) -> str:
    parts = []
    rows = [
        (f"{'**' if one.mine else ''}{one.round}{'**' if one.mine else ''}", escape(task.task), f"{task.accuracy:.1%}",
         "{:.1%} to {:.1%}".format(*task.interval), str(task.n), str(task.undecided))
        for one in facts.rounds for task in one.tasks
    ]  # fmt: skip
    if rows:
        parts.append(
            "Held-out accuracy with the Wilson 95% interval; the published checkpoint's round stands in bold type.\n\n"
            + table(("round", "task", "accuracy", "95% interval", "of", "undecided"), rows)
        )
    measured = [one for one in facts.rounds if one.rows]
    if measured:
        parts.append(
            "Held-out answers to open prompts by the constitution: how many follow a principle, prompts won and lost "
            "beside the round before and round 0 (exact McNemar test), or the share that a judge prefers (ties as "
            "half, each pair in both orders), and that share between answers of one length.\n\n" + _measured(measured)
        )
    decided = [f"- round {one.round}: {escape(one.promotion, 500)}" for one in facts.rounds if one.promotion]
    return "\n\n".join([*parts, *(["\n".join(decided)] if decided else [])]) or "Nothing was measured."


def _measured(rounds: Sequence[Evaluated]) -> str:
    names = ("round", "principle", "follow it", "95% interval", "beside the round before", "beside round 0",
             "at equal length")  # fmt: skip
    rows = [
        (str(one.round), *map(escape, (row.principle, row.share, row.interval, row.before, row.start, row.controlled)))
        for one in rounds
        for row in one.rows
    ]
    return table(names, rows)


def _control(facts: Facts) -> str:
    if facts.control is None:
        return (
            "No control is named: how much of this comes from training as such, and not from what was selected, is "
            "not shown."
        )
    return f"Run {code(facts.control.name)}:\n\n{_figures(facts.control)}"


def _limits(facts: Facts) -> Iterator[str]:
    yield f"One run with one seed ({facts.recipe.seed}); another seed may end elsewhere."
    evaluated = facts.mine.tasks if facts.mine else []
    if evaluated:
        where = ", ".join(f"{escape(one.task)} ({one.n} problems)" for one in evaluated)
        yield f"Measured on {where} and on nothing else."
    elif not (facts.mine and facts.mine.rows):
        yield "Nothing was measured of this checkpoint."
    if undecided := sum(one.undecided for one in evaluated):
        yield f"{undecided} held-out answers could not be judged and are in no accuracy."
    if any(one["verifier"] == JudgeVerifier.name for one in facts.verdicts) or (facts.mine and facts.mine.rows):
        judge = "another model" if facts.recipe.judge.path else "the run's own first model"
        yield f"What a judge says is said by {judge}, which has preferences of its own."
    cut = [one for one in facts.manifests if one.metrics.get(CUT_OFF) and "evaluation" in one.counts]
    if cut:
        count, texts = cut[-1].metrics[CUT_OFF], cut[-1].counts.get("rationale", 0)
        yield f"{count} of {texts} held-out answers were cut off in round {cut[-1].round}."
    yield "Nothing was done for safety beyond what is said here; try it on your own prompts before you rely on it."


# --- the data's card ---------------------------------------------------------------------------------------------


def data_card(facts: Facts, files: dict[str, int], *, title: str) -> str:
    """The card of the rows that the run trained on; `files` are their names with their numbers of rows."""
    total, listed = sum(files.values()), ", ".join(f"{n:,} in `{name}`" for name, n in files.items())
    metadata: dict[str, Any] = {
        "task_categories": ["text-generation"],
        "tags": ["selfimprove", "synthetic"],
        "size_categories": [_size(total)],
        "configs": [
            {"config_name": name.partition(".")[0], "data_files": [{"split": "train", "path": name}]} for name in files
        ],
    }
    rows = [(str(one["round"]), one["kind"], escape(one["source"]), f"{one['n']:,}") for one in facts.rows]
    examples = [
        f"Prompt:\n\n{fence(one['prompt'])}\n\nCompletion:\n\n{fence(one['completion'])}" for one in facts.examples
    ]
    sections = [
        f"# {escape(title)}",
        f"The rows that the run {code(facts.name)} trained its model on: {listed}. "
        "The completions were written by the model itself (`sampled`, `rationalized`, `revised`) or are seed "
        "rationales (`seed`); nobody read them all.",
        "## Where it comes from",
        f"Prompts: {escape(facts.recipe.train.name)}"
        + (f" and {escape(facts.recipe.open.name)}" if facts.recipe.open else "")
        + f". Their licence is that of this data set and is not repeated here. {_writer(facts)} Rows of rounds "
        "that were rolled back are among them.",
        table(("round", "rows for", "from", "rows"), rows),
        "## Columns",
        "`sft`: `prompt`, `completion`, `origin`, `round`; `dpo`: `prompt`, `chosen`, `rejected`, `margin`, `source`, "
        "`principle`, `round`. `id` and `parents` lead back to the sample, the verdict and the principle in the run.",
        *_verifier(facts),
        *_constitution(facts),
        "## Examples",
        "As the model wrote them; control characters are spelled out.",
        *examples,
        "## Limits",
        "- What a verifier calls right may have wrong reasoning.\n- Held-out problems of the run are not in it; "
        "whether other test sets are is not known.\n"
        "- It was written by a model, with that model's mistakes and preferences.",
    ]  # fmt: skip
    return f"---\n{dump(metadata)}---\n\n" + "\n\n".join(sections) + "\n"


def _writer(facts: Facts) -> str:
    if facts.built:
        return "Written by checkpoints of the run, which began with random weights."
    licence = escape(facts.licence or "not known")
    return f"Written by {escape(facts.base)} and by what the run made of it; licence of that model: {licence}."


def _size(n: int) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for most, name in bounds if n < most), "1M<n<10M")
