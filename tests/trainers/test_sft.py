"""SFT through TRL: what is learned, what is left out, and that a resumed run is bit for bit the same."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from harm import HARMS, Harm, flip
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel
from transformers.trainer_utils import rotate_checkpoints

from selfimprove.engines.build import build_model
from selfimprove.engines.models import load_model
from selfimprove.engines.tensors import find_unusable, hash_weights
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import ModelError, TrainingError
from selfimprove.recipe import Build, Lora, SupervisedTraining
from selfimprove.records.files import SEAL, seal_folder
from selfimprove.running.training import steps_of_round
from selfimprove.tasks.addition import write_rationale
from selfimprove.trainers.checkpoints import Pace, is_finished, newest_checkpoint
from selfimprove.trainers.common import count_steps, share_of_rate
from selfimprove.trainers.job import CURVE, Curve, SftJob, TrainResult
from selfimprove.trainers.launch import launch_training
from selfimprove.trainers.sft import tokenize_examples as tokenize_rows
from selfimprove.trainers.sft import train_sft

SHAPE = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, head_size=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(SHAPE, folder, seed=5)
    return folder


def make_job(model: Path, folder: Path, settings: SupervisedTraining, steps: int | None = 6, rows: int = 10) -> SftJob:
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(11 * at % 97, 7 * at % 89) for at in range(1, rows + 1)]
    table = pa.table(
        {"prompt": [f"{a}+{b}=" for a, b in pairs], "completion": [write_rationale(a, b) for a, b in pairs]}
    )
    pq.write_table(table, folder / "examples.parquet")
    return SftJob(
        model=str(model),
        examples=folder / "examples.parquet",
        output=folder / "checkpoint",
        settings=settings,
        steps=steps,
        seed=2**40 + 7,
        device="cpu",
        threads=1,
    )


def quick(**changes: object) -> SupervisedTraining:
    return SupervisedTraining(**{"batch_size": 4, "learning_rate": 0.01, "checkpoint_every": 2, **changes})  # type: ignore[arg-type]


def read_curve(job: SftJob) -> Curve:
    return Curve.model_validate_json((job.workspace / CURVE).read_text())


@pytest.mark.parametrize("device", ["cpu", "auto"])
@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_half_precision_trains_on_a_machine_without_a_gpu(
    model: Path, tmp_path: Path, device: str, lora: Lora | None
) -> None:
    if device == "auto" and torch.accelerator.is_available():
        pytest.skip("it would train on the GPU")
    job = make_job(model, tmp_path, quick(lora=lora)).model_copy(update={"dtype": "bfloat16", "device": device})
    result = train_sft(job)
    assert result.steps == 6
    assert all(math.isfinite(one.loss) for one in read_curve(job).curve if one.loss is not None)


def test_training_in_float16_needs_a_gpu(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, quick()).model_copy(update={"dtype": "float16"})
    with pytest.raises(TrainingError, match="no training in float16 without a GPU"):
        train_sft(job)


def test_the_curve_so_far_is_on_disk_while_it_trains(model: Path, tmp_path: Path) -> None:
    job, seen = make_job(model, tmp_path, quick()), list[list[int]]()

    def look(step: int, steps: int, logged: dict[str, float]) -> None:
        seen.append([one.step for one in read_curve(job).curve])
        if step == 5:
            raise KeyboardInterrupt

    job.workspace.mkdir()
    (job.workspace / CURVE).write_text('{"steps": 9, "curve": [{"step": 8, "lo')  # of a process that was killed
    with pytest.raises(KeyboardInterrupt):
        train_sft(job, look)
    assert seen == [list(range(1, step)) for step in range(1, 6)]  # a step is logged once its report is out
    assert read_curve(job).steps == 6

    def look_again(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == 5:  # the first one after the checkpoint of step 4
            assert [one.step for one in read_curve(job).curve] == [1, 2, 3, 4]

    assert train_sft(job, look_again).resumed_from == 4


@pytest.mark.parametrize(
    ("stop_at", "optimizer"),
    [
        (3, "adamw"),
        (5, "muon"),
        *(pytest.param(*one, marks=pytest.mark.long) for one in ((2, "adamw"), (2, "muon"), (3, "muon"), (5, "adamw"))),
    ],
)
def test_a_run_that_was_stopped_ends_with_the_same_weights(
    model: Path, tmp_path: Path, optimizer: str, stop_at: int
) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == stop_at:
            raise Stop

    whole = make_job(model, tmp_path / "whole", quick(optimizer=optimizer))
    train_sft(whole)
    broken = make_job(model, tmp_path / "broken", quick(optimizer=optimizer))
    with pytest.raises(Stop):
        train_sft(broken, stop)
    resumed = train_sft(broken)
    # The save of a step follows its report, so stopping at step 2 comes before the first one.
    assert resumed.resumed_from == (stop_at - 1) // 2 * 2
    # What was trained twice stands once in the curve.
    assert [one.step for one in resumed.curve] == [1, 2, 3, 4, 5, 6]
    assert read_curve(broken).curve == resumed.curve
    assert hash_weights(broken.output) == hash_weights(whole.output)


def test_a_run_stopped_after_its_last_step_trains_no_step_more(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, quick())
    train_sft(job)
    expected = hash_weights(job.output)
    shutil.rmtree(job.output)  # a kill between the last step and the rename
    result = train_sft(job)
    assert result.steps == 6
    assert hash_weights(job.output) == expected


class Killed(Exception):
    pass


@pytest.mark.parametrize(("optimizer", "stop_at"), [("adamw", 4), pytest.param("muon", 5, marks=pytest.mark.long)])
def test_a_run_that_saves_by_the_clock_goes_on_with_the_same_weights(
    model: Path, tmp_path: Path, optimizer: str, stop_at: int
) -> None:
    def stop(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == stop_at:
            raise Killed

    settings = quick(optimizer=optimizer, checkpoint_every=None)
    whole = make_job(model, tmp_path / "whole", settings)  # too short for a minute to pass
    train_sft(whole)
    assert not list(whole.workspace.glob("checkpoint-*"))
    broken = make_job(model, tmp_path / "broken", settings).model_copy(update={"save_after": 0.0})
    with pytest.raises(Killed):
        train_sft(broken, stop)
    resumed = train_sft(broken)
    assert 0 < resumed.resumed_from < stop_at
    assert hash_weights(broken.output) == hash_weights(whole.output)


@pytest.mark.parametrize(
    ("step_takes", "save_takes", "longest"),
    [
        (lambda step: 0.01, 0.0, 61.0),  # quick steps
        (lambda step: 7.0, 0.5, 68.0),  # slow ones: the last one may end after the minute
        (lambda step: 40.0 if step == 1 else 0.1, 1.0, 62.0),  # the first one compiles
        (lambda step: 0.01 if step < 3000 else 2.0, 1.0, 125.0),  # they become slower: twice as long, once
        (lambda step: 5.0, 30.0, 305.0),  # saving takes long: a tenth of the time goes into it
    ],
)
def test_a_kill_costs_a_minute_or_ten_times_what_saving_takes(
    step_takes: Callable[[int], float], save_takes: float, longest: float
) -> None:
    now, saved, gaps, asked = 0.0, 0.0, list[float](), 0

    def agree(passed: float, took: float) -> tuple[float, float]:
        nonlocal asked
        asked += 1
        return passed, took

    pace = Pace(60.0, lambda: now)
    for step in range(1, 5000):
        now += step_takes(step)
        if pace.is_due(step, agree):
            gaps.append(now - saved)
            now += save_takes
            saved = now
            pace.saved(step, save_takes)
        if now > 3000:
            break
    assert max(gaps[1:] or gaps, default=0.0) <= longest
    assert len(gaps) <= 1 + now / max(60.0, 10 * save_takes)
    assert now - saved <= longest
    assert asked <= 40 * (1 + len(gaps))


@pytest.fixture(scope="module")
def stopped(model: Path, tmp_path_factory: pytest.TempPathFactory) -> SftJob:
    """A training that ended after step 5 of 6, with the trainer's checkpoints of the steps 2 and 4."""

    def stop(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == 5:
            raise Killed

    job = make_job(model, tmp_path_factory.mktemp("stopped"), quick())
    with pytest.raises(Killed):
        train_sft(job, stop)
    return job


NAMES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "config.json",
    SEAL,
)


@pytest.mark.parametrize("harm", [*HARMS, Path.unlink], ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_an_unsound_trainer_checkpoint_is_set_aside_and_the_older_one_is_used(
    stopped: SftJob, tmp_path: Path, harm: Harm, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "training"
    shutil.copytree(stopped.workspace, workspace)
    assert newest_checkpoint(workspace) == workspace / "checkpoint-4"
    harm(workspace / "checkpoint-4" / name)
    assert newest_checkpoint(workspace) == workspace / "checkpoint-2"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{workspace / 'checkpoint-4'}: is not used" in said
    assert newest_checkpoint(workspace) == workspace / "checkpoint-2" and not capsys.readouterr().err
    harm(workspace / "checkpoint-2" / name)
    assert newest_checkpoint(workspace) is None
    # What is set aside is none of the two checkpoints that the trainer keeps: it would drop the one that it just wrote.
    (workspace / "checkpoint-2").mkdir()
    rotate_checkpoints(str(workspace), save_total_limit=2)
    assert (workspace / "checkpoint-2").is_dir() and len(list(workspace.glob("unsound-*"))) == 2


def test_a_flipped_bit_in_the_optimizer_does_not_change_what_is_trained(
    stopped: SftJob, model: Path, tmp_path: Path
) -> None:
    whole = make_job(model, tmp_path / "whole", quick())
    train_sft(whole)
    broken = make_job(model, tmp_path / "broken", quick())
    shutil.copytree(stopped.workspace, broken.workspace)
    flip(broken.workspace / "checkpoint-4" / "optimizer.pt")
    assert train_sft(broken).resumed_from == 2
    assert hash_weights(broken.output) == hash_weights(whole.output)


@pytest.mark.parametrize("harm", [*HARMS, Path.unlink], ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "training.json"])
def test_a_finished_checkpoint_counts_as_one_only_where_it_is_whole(
    stopped: SftJob, tmp_path: Path, harm: Harm, name: str
) -> None:
    output = tmp_path / "checkpoint"
    assert not is_finished(output)
    shutil.copytree(stopped.workspace / "checkpoint-4", output)
    (output / "training.json").write_text("{}")
    seal_folder(output)
    assert is_finished(output)
    harm(output / name)
    assert not is_finished(output)
    assert not output.exists() and (tmp_path / "unsound-checkpoint").is_dir()


def test_the_loss_counts_the_completion_and_its_end_only(model: Path, tmp_path: Path) -> None:
    """The first logged loss is the mean NLL of completion and end tokens, worked out here from the logits."""

    job = make_job(model, tmp_path, quick(batch_size=1, learning_rate=1e-12), steps=1, rows=1)
    result = train_sft(job)
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model)
    prompt = tokenizer("11+7=")["input_ids"]
    target = [*tokenizer(write_rationale(11, 7), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        logits = network(torch.tensor([prompt + target])).logits[0].log_softmax(-1)
    expected = -sum(float(logits[len(prompt) - 1 + at, one]) for at, one in enumerate(target)) / len(target)
    assert result.curve[0].loss == pytest.approx(expected, abs=2e-4)
    assert prompt[0] == tokenizer.bos_token_id


def set_padding(folder: Path, padding: str) -> None:

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if padding == "<far>":
        tokenizer.add_special_tokens({"pad_token": "<far>"})  # beyond the embeddings
    tokenizer.pad_token = padding or None
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("padding", ["<pad>", "<eos>", "", "<far>"], ids=["own", "the end", "none", "beyond"])
def test_each_rows_end_is_trained_whatever_pads(padding: str, model: Path, tmp_path: Path) -> None:

    folder = Path(shutil.copytree(model, tmp_path / "model"))
    set_padding(folder, padding)
    job = make_job(folder, tmp_path / "run", quick(batch_size=2, learning_rate=1e-12), steps=1, rows=2)
    rows = [("1+1=", "2"), ("12+34=", "46#46")]
    pq.write_table(pa.table({"prompt": [a for a, _ in rows], "completion": [b for _, b in rows]}), job.examples)
    result = train_sft(job)
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    losses = []
    for asked, text in rows:
        prompt = tokenizer(asked)["input_ids"]
        target = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = network(torch.tensor([prompt + target])).logits[0].log_softmax(-1)
        losses += [-float(logits[len(prompt) - 1 + at, one]) for at, one in enumerate(target)]
    assert result.curve[0].loss == pytest.approx(sum(losses) / len(losses), abs=2e-4)


def test_a_chat_models_rows_end_as_its_template_ends_a_turn(model: Path, tmp_path: Path) -> None:

    folder = Path(shutil.copytree(model, tmp_path / "model"))
    turns = "{% for m in messages %}{{ m.content }}{{ '=' if m.role == 'user' else unk_token }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(turns)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    job = make_job(folder, tmp_path / "run", quick()).model_copy(update={"chat": True})
    rows = tokenize_rows(job, tokenizer).data
    assert {one[-1] for one in rows["input_ids"]} == {tokenizer.unk_token_id} != {tokenizer.eos_token_id}
    plain = tokenize_rows(job.model_copy(update={"chat": False}), tokenizer).data
    assert {one[-1] for one in plain["labels"]} == {tokenizer.eos_token_id}


@pytest.mark.parametrize(
    ("rows", "epochs", "passes"), [(1, 1.0, 1), (1, 3.0, 3), (10, 1.0, 1), (10, 2.0, 2)], ids=lambda one: str(one)
)
def test_tokens_are_those_of_real_rows(model: Path, tmp_path: Path, rows: int, epochs: float, passes: int) -> None:
    """Neither padding nor what the last batch lacks is counted."""

    job = make_job(model, tmp_path, quick(batch_size=8, epochs=epochs), steps=None, rows=rows)
    said: list[float] = []
    result = train_sft(job, lambda step, steps, logged: said.append(logged["tokens per second"]))
    data = tokenize_rows(job, AutoTokenizer.from_pretrained(model)).data
    assert result.tokens == passes * sum(map(len, data["input_ids"]))
    assert result.sequences == passes * rows
    assert 0 < result.tokens_per_second == pytest.approx(result.tokens / result.seconds)
    assert all(said)


def test_a_training_that_diverges_is_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    """Both where a loss says so and where only the last step, whose loss is not logged, broke the weights."""
    job = make_job(model, tmp_path / "run", quick(learning_rate=1e30, clip=0.0))
    with pytest.raises(TrainingError, match=r"diverged: the loss is nan at step \d of 6.*'learning_rate' \(1e\+30\)"):
        train_sft(job)
    assert not job.output.exists()
    assert all(math.isfinite(one.loss) for one in read_curve(job).curve)
    last = make_job(model, tmp_path / "last", quick(learning_rate=1e39, clip=0.0), steps=1)
    with pytest.raises(TrainingError, match="the trained weights hold values that are no finite numbers"):
        train_sft(last)
    assert not last.output.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused_before_they_are_used(
    model: Path, tmp_path: Path, value: float
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    network = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        network.model.norm.weight[3] = value
    network.save_pretrained(folder)
    assert find_unusable(model) is None and find_unusable(folder) == "model.norm.weight"
    if math.isnan(value):
        for use in (hash_weights, lambda one: load_model(one, base=None, dtype="float32", device="cpu")):
            with pytest.raises(ModelError, match=r"'model.norm.weight' holds values that are no numbers \(NaN\)"):
                use(folder)


def test_long_rows_are_left_out_and_counted(model: Path, tmp_path: Path) -> None:
    result = train_sft(make_job(model, tmp_path / "some", quick(max_length=38), rows=20))
    assert 0 < result.left_out < 20
    assert result.rows + result.left_out == 20
    # A model with places of its own for so many tokens has none for more.
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.save_pretrained(tmp_path / "gpt2")
    shape = {"n_positions": 38, "n_embd": 32, "n_layer": 1, "n_head": 1, "pad_token_id": 0, "bos_token_id": 1}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), eos_token_id=2, **shape)).save_pretrained(tmp_path / "gpt2")
    assert train_sft(make_job(tmp_path / "gpt2", tmp_path / "few", quick(), rows=20)).left_out == result.left_out
    with pytest.raises(TrainingError, match="none of 20 rows"):
        train_sft(make_job(model, tmp_path / "none", quick(max_length=5), rows=20))


def test_end_tokens_written_in_a_text_are_text(model: Path, tmp_path: Path) -> None:

    from selfimprove.prompting.prompts import encode_completion, encode_prompt

    tokenizer = AutoTokenizer.from_pretrained(model)
    assert encode_completion(tokenizer, "1<eos>2").count(tokenizer.eos_token_id) == 1
    assert tokenizer.eos_token_id not in encode_prompt(tokenizer, "1<eos>2", chat=False)


def test_lora_trains_an_adapter_and_goes_on_with_it(model: Path, tmp_path: Path) -> None:
    before = hash_weights(model)
    settings = quick(lora=Lora(rank=2, alpha=4))
    first = make_job(model, tmp_path / "first", settings).model_copy(update={"base": str(model)})
    assert train_sft(first).trainable < 10_000
    assert (first.output / "adapter_config.json").is_file()
    second = make_job(first.output, tmp_path / "second", settings).model_copy(update={"base": str(model)})
    train_sft(second)
    assert hash_weights(model) == before
    assert len({before, hash_weights(first.output), hash_weights(second.output)}) == 3


def test_an_adapter_is_trained_with_its_own_tokens_and_template(model: Path, tmp_path: Path) -> None:
    """Its base may be a model that knows neither."""
    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.add_tokens(["=1"])
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<turn>{% endfor %}"
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapter = tmp_path / "adapter"
    get_peft_model(network, LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj"])).save_pretrained(
        adapter, save_embedding_layers=True
    )
    tokenizer.save_pretrained(adapter)
    plain = make_job(model, tmp_path / "job", quick(lora={"rank": 2, "alpha": 8, "targets": ["q_proj"]}, batch_size=10))
    job = plain.model_copy(update={"model": str(adapter), "base": str(model), "chat": True, "steps": 1})
    first = train_sft(job).curve[0].loss
    rows = pq.read_table(job.examples).to_pylist()
    scores = TransformersEngine(adapter, device="cpu", threads=1, chat=True).score(
        [(one["prompt"], one["completion"]) for one in rows], end=True
    )
    assert first == pytest.approx(-sum(one.logprob for one in scores) / sum(one.tokens for one in scores), rel=2e-4)
    saved = AutoTokenizer.from_pretrained(job.output)
    assert len(saved) == len(tokenizer) and saved.chat_template == tokenizer.chat_template
    again = TransformersEngine(job.output, base=model, device="cpu", threads=1, chat=True)
    assert again.end == tokenizer.convert_tokens_to_ids("<turn>") != tokenizer.eos_token_id


def test_a_cosine_that_begins_anew_falls_to_its_final_share_each_time() -> None:
    settings = quick(warmup_steps=2, restarts=1, final_share=0.1)
    found = [share_of_rate(step, settings, 10) for step in range(11)]
    half = 0.1 + 0.9 / 2
    assert found[:3] == [0.0, 0.5, 1.0] and found[4] == pytest.approx(half)
    assert found[6] == 1.0 and found[8] == pytest.approx(half) and found[10] == pytest.approx(0.1)
    plain = quick(warmup_steps=2, final_share=0.1)
    assert share_of_rate(6, plain, 10) == pytest.approx(half)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_training_with_restarts_goes_on_with_the_same_weights(optimizer: str, model: Path, tmp_path: Path) -> None:
    settings = quick(optimizer=optimizer, restarts=2, warmup_steps=0)
    whole, cut = (make_job(model, tmp_path / name, settings) for name in ("whole", "cut"))
    curve = train_sft(whole).curve
    rates = {one.step: one.learning_rate for one in curve}
    assert rates[1] == rates[3] == rates[5] == pytest.approx(0.01) and rates[2] < rates[3]
    shutil.rmtree(whole.workspace / "checkpoint-6", ignore_errors=True)
    shutil.copytree(whole.workspace, cut.workspace)
    assert train_sft(cut).resumed_from == 4
    assert hash_weights(cut.output) == hash_weights(whole.output)


def test_epochs_count_the_last_short_batch() -> None:
    assert count_steps(SupervisedTraining(batch_size=4, epochs=1), 10) == 3
    assert count_steps(SupervisedTraining(batch_size=4, epochs=2), 10) == 6
    assert count_steps(SupervisedTraining(batch_size=4, accumulate=2, epochs=1), 10) == 2
    assert count_steps(SupervisedTraining(batch_size=64, epochs=0.1), 10) == 1
    assert [steps_of_round(40, 1.2, round_) for round_ in (0, 1, 2, 3)] == [40, 40, 48, 58]
    assert steps_of_round(40, 0.5, 9) == 1  # 0 would stand for whole epochs


@pytest.mark.long
def test_a_child_process_trains_the_same_weights(model: Path, tmp_path: Path) -> None:
    here = make_job(model, tmp_path / "here", quick())
    train_sft(here)
    arguments = ("--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    child = make_job(model, tmp_path / "child", quick(launch="accelerate", launch_arguments=(*arguments, "--cpu")))
    seen: list[int] = []
    result = launch_training(child, lambda step, steps, logged: seen.append(step))
    assert isinstance(result, TrainResult)
    assert result.steps == 6
    assert read_curve(child).curve == result.curve
    assert hash_weights(child.output) == hash_weights(here.output)


@pytest.mark.long
def test_a_child_that_refuses_says_why_and_one_that_breaks_where_its_log_is(model: Path, tmp_path: Path) -> None:
    settings = quick(launch="accelerate", launch_arguments=("--cpu",))
    with pytest.raises(TrainingError, match="nowhere: no such model"):
        launch_training(make_job(tmp_path / "nowhere", tmp_path / "run", settings))
    job = make_job(model, tmp_path / "run", settings)
    job.examples.write_bytes(b"no table")
    with pytest.raises(TrainingError, match=r"ended with code 1 .*log\.txt"):
        launch_training(job)
