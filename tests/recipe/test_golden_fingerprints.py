"""Golden fingerprints: what every shipped recipe plans, as it stands and with each of many changes, stays what it was.

A fingerprint that changes makes every run on disk start anew at that stage, so that no change may happen by accident.
`golden/fingerprints.json` has one line a plan: the recipe, the change, the hashes of data and constitution, and one
hash over all stages of the plan in order (round, name, version, main record, what it reads, fingerprint); or "refused"
where the recipe is not valid with that change. After a deliberate change, which the commit's message names, it is
written anew, with the reasons of all refusals on the terminal:

    python tests/recipe/test_golden_fingerprints.py --write
"""

import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from selfimprove.errors import RecipeError
from selfimprove.recipe import Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.running.plan import build_plan

GOLDEN = Path(__file__).parent / "golden" / "fingerprints.json"
REFUSED = "refused"
RECIPES = (
    "arithmetic", "arithmetic-steered", "as-asked", "ask", "best-of-n", "concise", "constitutional",
    "instruction-tuning", "long-addition", "own-problems", "rlhf", "rlhf-chat", "rlhf-dpo", "rlvr", "self-correct",
    "self-instruct", "star-dpo", "word-problems", "word-problems-chat",
)  # fmt: skip
# Another recipe with a stage more, and those that have few stages: what they plan otherwise is seen in a few plans.
SOME = ("as shipped", "unhashed settings", "seed", "sft of defaults", "sft of defaults, started otherwise")
FEW = {**dict.fromkeys(("arithmetic-steered", "instruction-tuning", "long-addition", "own-problems"), SOME),
       "rlhf-chat": SOME[:3],
       **dict.fromkeys(("self-instruct", "word-problems-chat"),
                       tuple(one for one in SOME if one != "unhashed settings"))}  # fmt: skip
# These have no `verify`, which has unhashed settings, or nothing that `sft` could train on, or need transformers.
REFUSE = (
    "instruction-tuning", "rlhf", "rlhf-chat", "rlhf-dpo", "rlvr", "self-instruct", "word-problems",
    "word-problems-chat",
)  # fmt: skip
# The hashes that stand for all problems and exemplars, and for the constitution's content.
VARIANTS = {"data A": ("A", ""), "data B, constitution C": ("B", "C")}

PRETRAINED = ("warmup=null", "model={path: example/model}")
REVISED = ("constitution=brief-harmless", "critique={temperature: 0.5}", "revise={revisions: 2}")
PAIRED = ("prefer={limit: 80}", "dpo={steps: 9, nll: 20}")
OPEN = (*REVISED, "open={name: prompts/red-team, draw: 9}")
FEEDBACK = (*OPEN, *PAIRED, "prefer.feedback={tie: 0.01}")
ARITHMETIC = ("train={name: arithmetic}", "warmup={steps: 9}", "model={build: {}}")
VOTED = ("generate.samples=6", "generate.temperature=0.9", "select.vote={share: 0.7}")
UNHASHED = (
    "name=another",
    "description=another",
    "model.device=cuda:1",
    "engine={name: vllm, batch_size: 3, threads: 2, canary: false, vllm: {memory: 0.5}, server: {start: 2}}",
    "ray={workers: 3, cpus: 2}",
    "report_to=[tensorboard]",
    "generate.kl_samples=5",
    "verify.workers=2",
    "verify.overlap=false",
)
# Stages that come and go, and what else changes the form of a plan: on every recipe.
CHANGES: dict[str, tuple[str, ...]] = {
    "as shipped": (),
    "unhashed settings": UNHASHED,
    "seed": ("seed=7",),
    # The model and how it is asked.
    "another model, no warm-up": PRETRAINED,
    # The task, whose problems count by their hash alone.
    "another task, no warm-up": ("train={name: gsm8k}", *PRETRAINED),
    "another task, with a warm-up": ("train={name: gsm8k}", "warmup={}"),
    "arithmetic from nothing": ARITHMETIC,
    # Rationales and verdicts.
    "no warm-up": ("warmup=null",),
    "warm-up with critiques": (*ARITHMETIC, *REVISED, "warmup.critiques=20", "warmup.hinted=0.5"),
    "no repair": ("repair=null",),
    "repair": ("repair={samples: 2, temperature: 1.1, limit: 30}",),
    "no rationalization": ("rationalize=null",),
    "rationalization off": ("rationalize={enabled: false}",),
    "rationalization": ("rationalize={samples: 2, temperature: 0.4, limit: 30}",),
    # Critiques and revisions.
    "no critique": ("critique=null",),
    "neither critique nor revision": ("critique=null", "revise=null"),
    "revision without a constitution": ("constitution=null", "revise={}"),
    "critique and revision": REVISED,
    "revision without critique": (*REVISED, "critique=null"),
    "revision of earlier ones": (*REVISED, "revise.earlier=40"),
    "revision with lessons": (*REVISED, "revise.lessons=true"),
    "evaluate.revise": (*REVISED, "evaluate.revise=true"),
    "evaluate.revise without critique": (*REVISED, "critique=null", "evaluate.revise=true"),
    "open prompts": OPEN,
    "open prompts with their own format": (
        *OPEN,
        'open_prompt={style: few-shot, exemplars: ../exemplars/assistant.yaml, question: "H: {question}"}',
    ),
    # Selection.
    "select.pool fresh": ("select.pool=fresh",),
    "select.sources seed": ("select.sources=seed",),
    "select.balance off": ("select.balance=null",),
    "select.vote": VOTED,
    "select.vote, several answers": (*VOTED, "evaluate={samples: 5, temperature: 0.6}"),
    # Training.
    "sft.start base": ("sft.start=base",),
    "sft.start last": ("sft.start=last",),
    "sft of defaults": ("sft={}",),
    "sft of defaults, started otherwise": (
        "sft={launch: accelerate, launch_config: ddp, processes: 2, launch_arguments: [--debug], checkpoint_every: 3}",
    ),
    "no sft": ("sft=null",),
    "pairs alone": ("sft=null", *PAIRED),
    "pairs after sft": ("sft={}", *PAIRED),
    "no pairs": ("prefer=null", "dpo=null"),
    "prefer.feedback": FEEDBACK,
    # Shipped recipes' stages on others.
    "star-dpo's stages": (
        "repair={samples: 4, temperature: 1.3, limit: 300, part_size: 300}",
        "select={require: steps, hard_below: 0.6}",
        "sft=null",
        "prefer={per_problem: 2, limit: 800}",
        "dpo={steps: 100, batch_size: 16, learning_rate: 0.0003, nll: 20}",
    ),
    "self-correct's stages": (
        "constitution=self-correct",
        "critique={temperature: 1.0, max_tokens: 140}",
        "revise={temperature: 1.0, earlier: 800, lessons: true, part_size: 1600}",
        "sft={start: last, steps: 250}",
        "prefer={per_problem: 1, limit: 400}",
        "dpo={steps: 25, nll: 20}",
        "evaluate.revise=true",
    ),
    "everything": (
        *FEEDBACK,
        *VOTED,
        "repair={}",
        "rationalize={}",
        "sft={start: last}",
        "revise.earlier=9",
        "evaluate.revise=true",
        "rounds=3",
    ),
}
# What depends less on the recipe: on three of them, because reading a recipe takes most of this test's time.
DETAILED = ("arithmetic", "constitutional", "word-problems")
DETAILS: dict[str, tuple[str, ...]] = {
    "rounds 0": ("rounds=0",),
    # The model and how it is asked.
    "another model, with a warm-up": ("model={path: example/model}",),
    "a model of another shape": ("model={build: {layers: 4}}",),
    "model.dtype": ("model.dtype=bfloat16",),
    "zero-shot with a thought": ("prompt={style: zero-shot-cot, trigger: Think.}",),
    "few-shot": ("prompt={style: few-shot, exemplars: ../exemplars/word-problems.yaml, shots: 2}",),
    "other templates": ('prompt={question: "Q {question}", hint: "{answer} {question}", cue: " A", stop: ["Q"]}',),
    # The task, whose problems count by their hash alone.
    "evaluated on others": ("evaluate_on=[{name: svamp}, {name: asdiv}]", "promote.tasks=[svamp]"),
    "promoted by what is not evaluated": ("promote.tasks=[svamp]",),
    # Rationales and verdicts.
    "frontier": ("frontier={problems: 50, policy: yields, open_at: 0.2, mastered_at: 0.6}",),
    "generate": ("generate={samples: 3, temperature: 0.5, top_p: 0.9, max_tokens: 33, part_size: 7}",),
    "verify": ("verify={answer: stated, limits: {cpu_seconds: 2}, part_size: 9}",),
    "a second verifier": ("verify.second={verifier: math-verify, share: 0.2}",),
    # Critiques and revisions.
    "critique alone": ("revise=null", "critique={}"),
    "revision of failed ones": (*REVISED, "revise={of: failed, train: all, principles: in-turn, reject: [leak]}"),
    "open prompts without revision": ("revise=null", "critique=null", "open={name: prompts/red-team}"),
    # Selection.
    "select.sources samples": ("select.sources=samples",),
    "select.balance": ("select={balance: {cap: 9, repeat: 3}, pool: cumulative}",),
    "select.require": ("select.require=grounded",),
    "select.per_problem": ("select={per_problem: 3, rationalized_cap: 0.1, hard_below: 0.2}",),
    "select.vote of one sample": ("generate.samples=1", "select.vote={}"),
    # Training.
    "sft.prompt": ("sft={prompt: shown, steps: 5}",),
    "sft by LoRA": ("sft={lora: {rank: 4}, optimizer: adamw, epochs: 3, steps: null}",),
    "pairs that nobody trains on": ("prefer={}", "dpo=null"),
    "dpo without pairs": ("prefer=null", "dpo={}"),
    "prefer.require": (*PAIRED, "prefer={require: steps, cut: step, per_problem: 3, revisions: false}"),
    "prefer.files": (*PAIRED, "prefer.files={path: /no/such/pairs.jsonl, limit: 9}"),
    "prefer.feedback of another judge": (*FEEDBACK, "judge.path=example/judge"),
    "prefer.feedback without open prompts": (*REVISED, *PAIRED, "open=null", "prefer.feedback={}"),
    "judge.path": ("judge.path=example/judge",),
    "dpo": (*PAIRED, "dpo={beta: 0.3, loss: ipo, reference: start, learning_rate: 0.001, measure: 5}"),
    "dpo.reference": (*PAIRED, "dpo={reference: base, lora: null}"),
    "dpo.reference by LoRA": (*PAIRED, "dpo={reference: base, lora: {}}"),
    "dpo.labels": (*PAIRED, "dpo={labels: soft}"),
    "dpo.prompt": ("sft=null", *PAIRED, "dpo.prompt=shown"),
    # Evaluation and promotion.
    "evaluate.max_tokens": ("evaluate.max_tokens=50",),
    "evaluate, several answers": ("evaluate={samples: 5, temperature: 0.6}",),
    "evaluate.standard": ("evaluate={standard: lm-eval, limit: 30}",),
    "evaluate.extract": ('evaluate={extract: "So the answer is"}',),
    "evaluate.training": ("rounds=0", "evaluate.training=40"),
    "evaluate.training with rounds": ("rounds=1", "evaluate.training=40"),
    "promote": ("promote={rule: better, alpha: 0.1}",),
    # What is measured by the constitution.
    "comply": ("comply={limit: 9, tie: 0.1}",),
    "comply by another judge": ("comply={}", "judge.path=example/judge"),
    "comply without a judge": ("comply.by=null",),
    "promoted by the constitution": ("promote.rule=constitution",),
}
# `comply` came later and nothing else is made of it, so that only its own plans hold it, and the others stay.
MEASURED = ("comply", "comply by another judge", "comply without a judge", "promoted by the constitution")
# Changes whose plans are the same, because no record depends on what they set.
SAME = (("unhashed settings", "as shipped"), ("sft of defaults, started otherwise", "sft of defaults"))


# --- the code under test: these two functions, and nothing else ----------------------------------------------


def load(name: str, overrides: Collection[str]) -> Recipe:
    """A shipped recipe with overrides as of the command line's --set; raises RecipeError."""
    return load_recipe(name, overrides)


def describe_plan(
    recipe: Recipe, data: str, constitution: str, leave_out: Collection[str] = ()
) -> list[tuple[object, ...]]:
    """The plan's stages in order: round, name, version, main record, sorted reads, fingerprint; raises RecipeError."""
    return [
        (stage.round, stage.name, stage.version, stage.main, sorted(stage.reads), stage.fingerprint)
        for stage in build_plan(recipe, data, constitution).values()
        if stage.name not in leave_out
    ]


# --- lines of the file ---------------------------------------------------------------------------------------


def changes_of(name: str) -> dict[str, tuple[str, ...]]:
    if name in FEW:
        return {change: CHANGES[change] for change in FEW[name]}
    return {**CHANGES, **(DETAILS if name in DETAILED else {})}


def lines(name: str, changes: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """One recipe's lines: the hash of each plan by its key, or "refused: " and the reason."""
    found: dict[str, str] = {}
    for change, overrides in changes.items():
        try:
            recipe = load(name, overrides)
            for variant, hashes in VARIANTS.items():
                leave_out = () if change in MEASURED else ("comply",)
                text = json.dumps(describe_plan(recipe, *hashes, leave_out))
                found[f"{name} | {change} | {variant}"] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        except RecipeError as error:
            found[f"{name} | {change}"] = f"{REFUSED}: {error}"
    return found


def golden() -> dict[str, str]:
    found: dict[str, str] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def differing(ours: dict[str, str], theirs: dict[str, str]) -> Iterator[str]:
    """The keys whose plans differ, and those that only one of the two has."""
    for key in dict.fromkeys((*ours, *theirs)):
        if ours.get(key, "").partition(":")[0] != theirs.get(key, "").partition(":")[0]:
            yield key


# --- tests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_plans_are_what_they_were(name: str) -> None:
    ours = lines(name, changes_of(name))
    theirs = {key: value for key, value in golden().items() if key.startswith(f"{name} | ")}
    changed = [f"{key}: {theirs.get(key, 'new')} -> {ours.get(key, 'gone')}" for key in differing(ours, theirs)]
    assert not changed, f"{len(changed)} of {len(theirs)} plans changed:\n" + "\n".join(changed)


def test_the_file_holds_every_recipe_and_enough_plans() -> None:
    plans = [key for key, value in golden().items() if value != REFUSED]
    shipped = {one.stem for one in (GOLDEN.parents[3] / "policies" / "recipes").glob("*.yaml")}
    assert {key.partition(" | ")[0] for key in plans} == set(RECIPES) == shipped
    assert len(plans) >= 300


def test_a_changed_fingerprint_is_seen() -> None:
    """A setting that one stage hashes changes the plans in which that stage runs, and no others."""
    every = {"as shipped", "rounds 0", "rationalization off", "prefer.feedback"}
    changes, theirs = changes_of("arithmetic"), golden()
    for more, expected in {
        "seed=1": every,
        "promote.alpha=0.2": every - {"rounds 0"},
        "rationalize.samples=9": {"as shipped", "prefer.feedback"},
        "judge.path=example/judge": {"prefer.feedback"},
        "verify.workers=9": set(),
    }.items():
        # What is refused stays refused.
        some = {change: (*changes[change], more) for change in (*every, "revision without a constitution")}
        ours = lines("arithmetic", some)
        changed = set(differing(ours, theirs)) & set(ours)
        assert changed == {f"arithmetic | {change} | {variant}" for change in expected for variant in VARIANTS}, more


@pytest.mark.parametrize("name", [one for one in RECIPES if one not in REFUSE])
def test_what_is_not_hashed_changes_no_plan(name: str) -> None:
    theirs = golden()
    for one, other in SAME:
        for variant in VARIANTS:
            assert theirs[f"{name} | {one} | {variant}"] == theirs[f"{name} | {other} | {variant}"]


def test_more_rounds_keep_the_stages_that_are_there() -> None:
    short, long = (describe_plan(load("self-correct", (f"rounds={rounds}",)), "A", "C") for rounds in (2, 4))
    assert long[: len(short)] == short and len(long) > len(short)


def write() -> None:
    found = {key: value for name in RECIPES for key, value in lines(name, changes_of(name)).items()}
    for key, value in found.items():
        if value.startswith(REFUSED):
            print(f"{key} | {value}")
    known = golden() if GOLDEN.exists() else {}
    changed = list(differing(found, known))
    GOLDEN.parent.mkdir(exist_ok=True)
    kept = {key: REFUSED if value.startswith(REFUSED) else value for key, value in found.items()}
    GOLDEN.write_text(json.dumps(kept, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    refused = sum(value == REFUSED for value in kept.values())
    print(f"{GOLDEN}: {len(kept) - refused} plans, {refused} refused, {len(changed)} lines changed")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: python {sys.argv[0]} --write")
    write()
