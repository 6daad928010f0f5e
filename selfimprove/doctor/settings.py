"""What the model's settings and the recipe's say about each other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfimprove.doctor.findings import Finding
from selfimprove.doctor.subject import Subject, Use
from selfimprove.engines.models import contradiction, describe_quantisation, keeps_state
from selfimprove.prompting.prompts import encode_prompt

STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}
# At these values a setting changes nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "temperature": (None, 1.0),
    "top_p": (None, 1.0),
    "top_k": (None, 0, 50),  # 50 is what transformers fills in
    "min_p": (None, 0.0),
    "typical_p": (None, 1.0),
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "length_penalty": (None, 1.0),
    "num_beams": (None, 1),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "bad_words_ids": (None, []),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "sequence_bias": (None,),
}


def check_length(subject: Subject, use: Use, prompts: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Whether prompts and completions fit, `prompts` being token ids by prompt."""
    limits = [one for one in (subject.longest, use.longest) if one]
    lengths = sorted(map(len, prompts.values()))
    if limits and lengths:
        limit, longest = min(limits), lengths[-1]
        text = f"the longest prompt has {longest} tokens, a completion up to {use.max_tokens}, and {limit} have room"
        advice = "lower max_tokens, or show fewer exemplars (prompt.shots)"
        if lengths[0] + use.max_tokens > limit:
            yield Finding("length", "wrong", f"{text}: no prompt fits", advice)
            return
        if longest + use.max_tokens > limit:
            yield Finding("length", "doubtful", f"{text}: some are left out as too long", advice)
            return
        if use.sft and use.trains:
            rows = [len(encode_prompt(subject.tokenizer, use.trained(one), chat=use.chat)) for one in use.problems]
            if rows and min(rows) >= use.sft.max_length:
                text = f"a row's prompt has at least {min(rows)} tokens, and sft.max_length is {use.sft.max_length}"
                yield Finding("length", "wrong", text, "no row would be trained: raise it")
                return
        yield Finding("length", "ok", text)
    elif lengths:
        yield Finding("length", "ok", f"the longest prompt has {lengths[-1]} tokens; the model names no limit")


def check_sampling(subject: Subject) -> Iterator[Finding]:
    """What its makers sample by is not taken over: the recipe alone says how."""
    found = {
        name: subject.settings[name]
        for name, neutral in NEUTRAL.items()
        if name in subject.settings and subject.settings[name] not in neutral
    }
    if found:
        listed = ", ".join(f"{name} {value}" for name, value in found.items())[:200]
        text = f"generation_config.json sets {listed}; samples here are drawn by the recipe's settings alone"
        yield Finding("sampling", "doubtful", text, "set temperature and top_p in the recipe as you want them")
    else:
        yield Finding("sampling", "ok", "generation_config.json sets nothing that is not used here")


def check_saving(subject: Subject, use: Use) -> Iterator[Finding]:
    """Whether the generation configuration contradicts itself, which transformers finds when it saves."""
    why = contradiction(subject.generation)
    if why:
        text = f"generation_config.json contradicts itself ({why})"
        yield Finding("saving", "doubtful", text, "checkpoints keep its token ids and leave the rest out")


def check_dtype(subject: Subject, use: Use) -> Iterator[Finding]:
    """Whether the run's precision holds the weights."""
    stored = [STORED.get(one, one.lower()) for one in subject.dtypes] or ["unknown"]
    text = f"weights stored in {' and '.join(stored)}, run in {use.dtype}"
    if use.dtype == "float16" and stored[0] in ("bfloat16", "float32"):
        yield Finding(
            "dtype", "doubtful", text, "float16 ends at 65,504: set model.dtype to bfloat16 where that is known"
        )
    elif use.dtype != "float32" and stored[0] == "float32" and use.trains:
        yield Finding("dtype", "doubtful", text, "small updates are lost when training in it: float32 keeps them")
    else:
        yield Finding("dtype", "ok", text)


def check_engine(subject: Subject, use: Use) -> Iterator[Finding]:
    """Whether the engine and the trainer can use the architecture and the weights."""
    kind = str(getattr(subject.config, "model_type", "unknown"))
    quantised = getattr(subject.config, "quantization_config", None)
    if quantised and (use.engine == "transformers" or use.trains):
        yield Finding("engine", "wrong", describe_quantisation(quantised), "take the model's plain weights")
    elif keeps_state(subject.config) and use.engine == "transformers":
        text = f"a recurrent or hybrid model ({kind}), whose state the transformers engine does not keep"
        yield Finding("engine", "wrong", text, "set engine.name to vllm")
    else:
        yield Finding("engine", "ok", f"{kind}, by the engine '{use.engine}'")
