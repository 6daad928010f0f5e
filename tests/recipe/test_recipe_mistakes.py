"""Every mistake in a recipe is one line that says where, what, and the nearest right name."""

import json
from pathlib import Path

import pytest

from selfimprove.constitution import load_constitution
from selfimprove.errors import RecipeError, suggest
from selfimprove.recipe.changes import Change
from selfimprove.recipe.file import load_recipe

HEAD = """\
name: plain
model: {path: some/model}
train:
  name: gsm8k
"""
INTEGER = "must be a whole number"

NEEDS_REVISE = "needs the stage 'revise'"
NO_ANSWER = f"{NEEDS_REVISE} or 'instruct' or 'best' or 'rl': open prompts have no answer to go by"

# Lines 1 to 4 are HEAD; `{}` stands for the recipe's path.
MISTAKES = [
    # Unknown names, at every depth.
    ("rouns: 3", "{}:5: unknown key 'rouns'; did you mean 'rounds'?"),
    ("prompt:\n  styl: few-shot", "{}:6: unknown key 'styl'; did you mean 'style'?"),
    ("engine: {thread: 1}", "{}:5: unknown key 'thread'; did you mean 'threads'?"),
    ("stages:\n  generat: {}", "{}:6: unknown key 'generat'; did you mean 'generate'?"),
    ("stages:\n  generate:\n    sampels: 3", "{}:7: unknown key 'sampels'; did you mean 'samples'?"),
    ("stages:\n  sft:\n    lora:\n      rnk: 3", "{}:8: unknown key 'rnk'; did you mean 'rank'?"),
    ("  grades: [1]", "{}:5: unknown key 'grades'; known: answers, held_out, limit, name, path"),
    ("evaluate_on:\n  - name: jsonl\n    pth: x", "{}:7: unknown key 'pth'; did you mean 'path'?"),
    ("evaluate_on:\n  - name: gsm8k\n  - name: svmp", "{}:7: unknown task 'svmp'; did you mean 'svamp'?"),
    ("prompt:\n  style: few-shots", "{}:6: 'prompt.style' is 'few-shots'; did you mean 'few-shot'?"),
    ("stages: {sft: {optimizer: sgd}}", "{}:5: 'stages.sft.optimizer' is 'sgd'; known: adamw, muon"),
    ("evaluate_on:\n  - path: x", "{}:6: 'evaluate_on.0' needs a name"),
    # Wrong types.
    ("rounds: many", f"{{}}:5: 'rounds' {INTEGER}, not 'many'"),
    ('prompt:\n  stop: ["x", ""]', "{}:6: 'prompt.stop.1' must not be empty"),
    ("rounds: 1.5", "{}:5: 'rounds' must be a whole number, not 1.5"),
    ("rounds: " + "x" * 80, f"{{}}:5: 'rounds' {INTEGER}, not '{'x' * 56}..."),
    ("evaluate_on: gsm8k", "{}:5: 'evaluate_on' is a list; write [{name: gsm8k}] and not gsm8k"),
    ("evaluate_on: 5", "{}:5: 'evaluate_on' is a list; write [{name: 5}] and not 5"),
    ("description: 2024-01-01", "{}:5: 'description' must be a text, not datetime.date(2024, 1, 1)"),
    ("stages:", "{}:5: 'stages' is a group of settings, such as 'stages.warmup', and not None"),
    ("stages: [sft]", "{}:5: 'stages' is a group of settings, such as 'stages.warmup', and not ['sft']"),
    # Out of range.
    ("seed: -1", "{}:5: 'seed' must be at least 0, not -1"),
    ("stages: {generate: {top_p: 0}}", "{}:5: 'stages.generate.top_p' must be more than 0, not 0"),
    (
        "stages:\n  select:\n    rationalized_cap: 1.5",
        "{}:7: 'stages.select.rationalized_cap' must be at most 1, not 1.5",
    ),
    ("stages: {sft: {learning_rate: -1}}", "{}:5: 'stages.sft.learning_rate' must be more than 0, not -1"),
    ("stages: {sft: {epochs: .inf}}", "{}:5: 'stages.sft.epochs' must be a finite number, not inf"),
    (
        "stages: {generate: {temperature: .nan}}",
        "{}:5: 'stages.generate.temperature' must be a finite number, not nan",
    ),
    # Not YAML, or not such YAML.
    ("name: again", "{}:5: 'name' is set twice (first in line 1)"),
    ("stages:\n  sft: {steps: 1}\n  sft: {}", "{}:7: 'sft' is set twice (first in line 6)"),
    ("1: 2", "{}:5: a key must be a name such as 'rounds'"),
    ("? [a, b]\n: 1", "{}:5: found unhashable key"),
    ("\tseed: 1", "{}:5: found a tab character that violates indentation"),
    ("prompt: {style: few-shot", "{}:6: did not find expected ',' or '}'"),
    ("description: *nowhere", "{}:5: found undefined alias"),
    ("---\nname: two", "{}:5: but found another document"),
    ("description: !secret x", "{}:5: could not determine a constructor for the tag '!secret'"),
    ("description: 2024-13-45", "{}: not valid YAML (month must be in 1..12)"),
    ("stages: &again\n  sft: *again", "{}:5: holds an alias of itself"),
    # Settings that do not fit each other.
    (
        "stages:\n  warmup: {}",
        "{}:6: only the tasks 'arithmetic', 'long-addition' and 'rising' have seed rationales; leave 'warmup' out and "
        "start from a pretrained model",
    ),
    ("prompt:\n  style: few-shot", "{}:5: style 'few-shot' needs 'exemplars'"),
    ("prompt: {style: few-shot-cot}", "{}:5: style 'few-shot-cot' needs 'exemplars'"),
    ("prompt:\n  cue: A\n  question: Q", "{}:7: 'prompt.question' lacks {question}"),
    ("prompt:\n  hint: '{question}!'", "{}:6: 'prompt.hint' lacks {answer}"),
    ("prompt:\n  hint: '{answer}!'", "{}:6: 'prompt.hint' lacks {question}"),
    ("prompt:\n  answer: It is.", "{}:6: 'prompt.answer' lacks {answer}"),
    # What goes by a constitution.
    ("stages:\n  revise: {}", "{}:6: 'revise' needs a 'constitution', by path or by name"),
    (
        "stages:\n  prefer:\n    feedback: {}\n  dpo: {}",
        "{}:7: 'prefer.feedback' needs a 'constitution', by path or by name",
    ),
    (
        "constitution: short\nstages:\n  prefer:\n    feedback: {}\n  dpo: {}",
        "{}:8: 'prefer.feedback' compares responses to open prompts; name some with 'open'",
    ),
    (
        "stages:\n  prefer: {}\n  dpo:\n    lora: {}\n    reference: base",
        "{}:9: 'reference: base' is not there for LoRA: TRL holds an adapter to its own beginning",
    ),
    (
        "stages:\n  prefer: {}\n  dpo:\n    loss: ipo\n    labels: soft",
        "{}:9: soft labels need the loss 'sigmoid' without 'label_smoothing'",
    ),
    (
        "stages:\n  prefer: {}\n  dpo:\n    loss: ipo\n    label_smoothing: 0.1",
        "{}:9: 'label_smoothing' needs the loss 'sigmoid' (cDPO) or 'robust', not 'ipo'",
    ),
    (
        "open_prompt:\n  chat: never",
        "{}:6: 'open_prompt.chat' must be what 'prompt.chat' is: one model reads both",
    ),
    ("open_prompt:\n  question: x", "{}:5: 'open_prompt' needs {question} in its 'question'"),
    ("open_prompt:\n  style: few-shot", "{}:5: 'open_prompt' needs 'exemplars' for 'few-shot'"),
    ("stages:\n  critique: {}", f"{{}}:6: 'critique' {NEEDS_REVISE}"),
    (
        "stages:\n  evaluate:\n    revise: true",
        f"{{}}:7: 'evaluate.revise' {NEEDS_REVISE}, which trains on what was revised",
    ),
    ("constitution: short\nopen: {name: prompts/red-team}", f"{{}}:6: 'open' {NO_ANSWER}"),
    ("constitution: short\nstages:\n  critique: {}", f"{{}}:7: 'critique' {NEEDS_REVISE}"),
    (
        "stages:\n  revise: {reject: [refusals]}",
        "{}:6: 'stages.revise.reject.0' is 'refusals'; did you mean 'refusal'?",
    ),
    (
        "stages:\n  revise: {principles: in turn}",
        "{}:6: 'stages.revise.principles' is 'in turn'; did you mean 'in-turn'?",
    ),
    ("stages:\n  revise: {revisions: 0}", "{}:6: 'stages.revise.revisions' must be more than 0, not 0"),
    (
        "open: {name: red-team}",
        "{}:5: 'open.name' is 'red-team'; write it with a name, such as 'prompts/red-team'",
    ),
    # The first mistake in the file's order is the one that is named.
    ("rounds: many\nseed: -1", f"{{}}:5: 'rounds' {INTEGER}, not 'many'"),
    ("seed: -1\nrounds: many", "{}:5: 'seed' must be at least 0, not -1"),
]


@pytest.mark.parametrize(("lines", "message"), MISTAKES, ids=[lines for lines, _ in MISTAKES])
def test_a_mistake_is_one_line(lines: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{HEAD}{lines}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert str(caught.value) == message.replace("{}", str(path))


BUILD_OR_PATH = "a model needs either 'path' (a folder or a hub name) or 'build'"
WHOLE_FILES = [
    ("", "{}:1: expected a mapping of settings such as 'name: my-run'"),
    ("# nothing\n", "{}:1: expected a mapping of settings such as 'name: my-run'"),
    ("- name: x\n", "{}:1: expected a mapping of settings such as 'name: my-run'"),
    ("just words\n", "{}:1: expected a mapping of settings such as 'name: my-run'"),
    ("name: x\0\n", "{}: not valid YAML"),
    ("[" * 3000, "{}:1: nested too deeply"),
    (HEAD.replace("gsm8k", "gsm9k"), "{}:4: unknown task 'gsm9k'; did you mean 'gsm8k'?"),
    (HEAD.replace("  name: gsm8k", "  path: x"), "{}:3: 'train' needs a name"),
    (HEAD.replace("gsm8k", "prompts/red-team"), f"{{}}:4: 'train.name: prompts/red-team' {NO_ANSWER}"),
    (
        HEAD.replace("gsm8k", "prompts/red-team")
        + "constitution: short\nstages:\n  revise:\n    revisions: 2\n    lessons: true\n",
        "{}:9: 'revise.lessons' needs problems with answers, and 'prompts/red-team' has none",
    ),
    (
        HEAD.replace("gsm8k", "arithmetic") + "stages:\n  warmup:\n    critiques: 3\n",
        "{}:7: 'warmup.critiques' needs a 'constitution', by path or by name",
    ),
    (HEAD.replace("name: plain\n", ""), "{}: 'name' is missing"),
    (HEAD.replace("name: plain", "nmae: plain"), "{}:1: unknown key 'nmae'; did you mean 'name'?"),
    (HEAD.replace("name: plain", "name: 7"), "{}:1: 'name' must be a text, not 7"),
    (HEAD.replace("model: {path: some/model}\n", ""), "{}: 'model' is missing"),
    (HEAD.replace("path: some/model", ""), f"{{}}:2: {BUILD_OR_PATH}"),
    (HEAD.replace("path: some/model", "path: some/model, build: {}"), f"{{}}:2: {BUILD_OR_PATH}"),
    (HEAD.replace("path: some/model", "build: {}"), "{}: a model built from nothing needs the stage 'warmup'"),
    (
        HEAD.replace("path: some/model", "build: {layers: 2, nope_layers: [1, 3]}"),
        "{}:2: there is no layer 3; 'layers' is 2",
    ),
    (
        HEAD.replace("path: some/model", "build: {}") + "stages:\n  sft: {}\n",
        "{}:5: a model built from nothing needs the stage 'warmup'",
    ),
]


@pytest.mark.parametrize(("text", "message"), WHOLE_FILES, ids=[ascii(text)[:60] for text, _ in WHOLE_FILES])
def test_a_file_that_is_no_recipe_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert str(caught.value) == message.replace("{}", str(path))


NAMED = "write 1 to 100 of letters, digits, '.', '_', '-', and begin with a letter or a digit"


@pytest.mark.parametrize("name", ["a/b", "", "..", ".hidden", "a b", "x" * 101, "a\n"])
def test_a_name_that_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(HEAD)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path), [f"name={json.dumps(name)}"])
    shown = repr(name) if len(name) <= 60 else f"{name[:57]!r}..."
    assert str(caught.value).endswith(f": 'name' is {shown}; {NAMED}")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("prompts", "'prompts'; write it with a name, such as 'prompts/mine'"),
        ("scored", "'scored'; write it with a name, such as 'scored/mine'"),
        ("prompts/My File", "'prompts/My File'; write 'prompts/' and then 1 to 80 of small letters, digits, '_', '-'"),
    ],
)
def test_a_task_without_its_name_is_shown_how_to_write_it(task: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(HEAD)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path), [f"train={{name: {task}, path: {path}}}"])
    assert str(caught.value).endswith(f"'train.name' is {said}")


OVERRIDES = [
    ("rounds", "--set rounds: expected key=value, such as generate.samples=8"),
    ("=3", "--set =3: expected key=value, such as generate.samples=8"),
    ("prompt..stop=1", "--set prompt..stop=1: expected key=value, such as generate.samples=8"),
    ("generat.samples=1", "--set generat.samples: unknown key 'generat'; did you mean 'generate'?"),
    ("rl.beta=0.1", "--set rl.beta=0.1: unknown key 'beta'; did you mean 'kl'?"),
    ("sft.warmup_ratio=0.1", "--set sft.warmup_ratio=0.1: unknown key 'warmup_ratio'; did you mean 'warmup_steps'?"),
    ("generate.sampels=1", "--set generate.sampels=1: unknown key 'sampels'; did you mean 'samples'?"),
    ("stages.generat.samples=1", "--set stages.generat.samples=1: unknown key 'generat'; did you mean 'generate'?"),
    ("sft.lora.rnk=1", "--set sft.lora.rnk=1: unknown key 'rnk'; did you mean 'rank'?"),
    ("train.name=gsm9k", "--set train.name=gsm9k: unknown task 'gsm9k'; did you mean 'gsm8k'?"),
    (
        "evaluate_on=[{name: svmp}]",
        "--set evaluate_on=[{name: svmp}]: unknown task 'svmp'; did you mean 'svamp'?",
    ),
    ("verify.answer=state", "--set verify.answer=state: 'stages.verify.answer' is 'state'; did you mean 'stated'?"),
    ("rounds=", "--set rounds=: 'rounds' must be a whole number, not None"),
    ("rounds=many", f"--set rounds=many: 'rounds' {INTEGER}, not 'many'"),
    ("sft.batch_size=0", "--set sft.batch_size=0: 'stages.sft.batch_size' must be more than 0, not 0"),
    (
        "generate=3",
        "--set generate=3: 'stages.generate' is a group of settings, such as 'stages.generate.temperature', and not 3",
    ),
    (
        "prompt.stop.0=x",
        "--set prompt.stop.0=x: 'prompt.stop' is a list, such as [first, second], and not {'0': 'x'}",
    ),
    # What other programs call a setting, one value for a list or a group, a setting of another group.
    ("sft.lr=1", "--set sft.lr=1: unknown key 'lr'; did you mean 'learning_rate'?"),
    ("sft.lora.r=3", "--set sft.lora.r=3: unknown key 'r'; did you mean 'rank'?"),
    ("report_to=wandb", "--set report_to=wandb: 'report_to' is a list; write [wandb] and not wandb"),
    ("model=/path", "--set model=/path: 'model' is a group of settings; did you mean 'model.path: /path'?"),
    ("train=svamp", "--set train=svamp: 'train' needs a name; did you mean 'train.name: svamp'?"),
    (
        "lr=1",
        "--set lr: unknown key 'lr'; elsewhere there is 'sft.learning_rate', 'warmup.learning_rate', "
        "'distill.learning_rate'",
    ),
    (
        "prompt.max_tokens=9",
        "--set prompt.max_tokens=9: unknown key 'max_tokens'; known: answer, chat, cue, exemplars, hint, question, "
        "shots, stop, style, trigger; elsewhere there is 'generate.max_tokens', 'evaluate.max_tokens', "
        "'comply.max_tokens'",
    ),
    (
        "dpo.loss=simpo",
        "--set dpo.loss=simpo: 'stages.dpo.loss' is 'simpo'; known: hinge, ipo, robust, sigmoid, sigmoid_norm",
    ),
    ("name.x=3", "--set name.x: 'name' is not a group of settings"),
    ("description=a: b: c", "--set description: 'a: b: c' is not a YAML value"),
    ("description=[", "--set description: '[' is not a YAML value"),
    ("description=!secret x", "--set description: '!secret x' is not a YAML value"),
    ("description=2024-13-45", "--set description: '2024-13-45' is not a YAML value"),
    ("prompt.hint=x", "--set prompt.hint=x: 'prompt.hint' lacks {answer}"),
    ("model={}", f"--set model={{}}: {BUILD_OR_PATH}"),
]


@pytest.mark.parametrize(("override", "message"), OVERRIDES, ids=[override for override, _ in OVERRIDES])
def test_a_mistake_in_an_override_names_the_override(override: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(HEAD)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path), ["seed=1", override])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arithmetc", "no recipe 'arithmetc' in policies/recipes; did you mean 'arithmetic'?"),
        ("nowhere/arithmetc.yaml", "nowhere/arithmetc.yaml: no such recipe; did you mean 'arithmetic'?"),
    ],
)
def test_a_misspelt_recipe_is_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert str(caught.value) == message


def test_no_name_is_too_long_or_too_odd_to_be_looked_for(tmp_path: Path) -> None:
    path, long = tmp_path / "recipe.yaml", "a" * 300  # longer than the name of a file may be
    path.write_text(HEAD)
    recipe = load_recipe(str(path), [f"constitution={long}", "judge.path=~nobody-here/x"])
    assert (recipe.constitution, recipe.judge.path) == (long, "~nobody-here/x")
    with pytest.raises(RecipeError, match=f"no recipe '{long[:100]}"):
        load_recipe(long)
    with pytest.raises(RecipeError, match=f"no constitution '{long[:100]}"):
        load_constitution(long)
    (tmp_path / "child.yaml").write_text(f"name: child\nextends: {long}\n")
    with pytest.raises(RecipeError, match=f"child.yaml:2: no constitution '{long[:100]}"):
        load_constitution(tmp_path / "child.yaml")


@pytest.mark.parametrize("value", ["{question}", "Q: {question}", "true", "12", "null", "a, b", "plain", "[", ""])
def test_what_takes_a_setting_back_gives_the_same_value(value: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(HEAD)
    undo = Change("prompt.cue", value, "another").undo
    assert undo is not None and load_recipe(str(path), [undo]).prompt.cue == value


def test_a_name_like_none_is_answered_with_all_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'zzz' in policies/recipes; known: arithmetic, .*word-problems"):
        load_recipe("zzz")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert str(caught.value) == f"{path}: not a UTF-8 text file"


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("svmp", ["svamp", "gsm8k"], "; did you mean 'svamp'?"),
        ("zzz", ["b", "a"], "; known: a, b"),
        ("zzz", [], ""),
        ("zzz", [f"name{number}" for number in range(41)], ""),
        # What merely shares letters is not meant.
        ("simpo", ["ipo", "hinge"], "; known: hinge, ipo"),
        ("recipes", ["traces", "run"], "; known: run, traces"),
        ("temp", ["temperature", "top_p"], "; did you mean 'temperature'?"),
    ],
)
def test_suggest_names_the_nearest_or_lists_a_few(name: str, known: list[str], expected: str) -> None:
    assert suggest(name, known) == expected
