"""Where prompts begin, where completions end, and what the tokenizer does to texts in between."""

from collections.abc import Iterator
from itertools import takewhile
from math import log
from shlex import quote

from selfimprove.doctor.findings import Finding
from selfimprove.doctor.likelihood import UNKNOWN, Likelihood
from selfimprove.doctor.subject import Subject, Use
from selfimprove.prompting.chat import USER
from selfimprove.prompting.prompts import decode_completion, encode_completion, encode_prompt

MUCH, SOME = 0.5, 0.1  # nats a token that a begin token is worth
GUESSING = 0.8  # of a uniform guess's nats a token
SHOWN = 40  # characters of a text in a line


def check_begins(subject: Subject, use: Use, likelihood: Likelihood | None) -> Iterator[Finding]:
    """What plain prompts begin with, and those of the chat template where it is used."""
    known = likelihood or Likelihood()
    plain = encode_prompt(subject.tokenizer, USER, chat=False)
    yield _check_begin("begin", subject, plain, not use.chat, known.plain, known.plain_other)
    if use.chat and subject.template:
        text = subject.template([{"role": "user", "content": USER}])
        ids = encode_prompt(subject.tokenizer, text, chat=True)
        yield _check_begin("chat begin", subject, ids, True, known.chat, known.chat_other)


def _check_begin(
    name: str, subject: Subject, ids: list[int], used: bool, mine: float | None, other: float | None
) -> Finding:
    """`used` says that such prompts are what the model is asked by; `mine` and `other` are nats a token as the prompt
    is, and with the begin token changed."""
    begin = subject.tokenizer.bos_token_id
    kind = "the chat template's prompts" if name == "chat begin" else "plain prompts"
    shown = " ".join(subject.token(one) for one in ids[:3])
    where = f"{kind} begin with {shown} …, and end with {subject.token(ids[-1]) if ids else 'nothing'}"
    if begin is None:
        return Finding(name, "ok", f"{where}; the tokenizer knows no begin token")
    token = subject.token(begin)
    if ids[:2] == [begin, begin]:
        advice = "have the tokenizer or the template add it, and not both" if used else "this recipe uses none of them"
        return Finding(name, "wrong" if used else "doubtful", f"{kind} begin with {token} twice", advice)
    there = ids[:1] == [begin]
    measured = ""
    if mine is not None and other is not None:
        pair = (mine, other) if there else (other, mine)
        measured = f" ({pair[0]:.2f} nats a token with {token}, {pair[1]:.2f} without)"
    if used and measured and mine is not None and other is not None and mine - other > SOME:
        do = "leave it out" if there else "have it added"
        place = "the template" if name == "chat begin" else "tokenizer.json (post_processor)"
        return Finding(
            name,
            "wrong" if mine - other > MUCH else "doubtful",
            f"{kind} begin {'with' if there else 'without'} {token}, and the model is better the other way{measured}",
            f"{do} in {place}",
        )
    if there:
        return Finding(name, "ok", f"{where}{measured}")
    if used and not measured:
        return Finding(
            name,
            "doubtful",
            f"{kind} begin without {token}, which the tokenizer knows",
            f"see whether the model needs it: selfimprove doctor {quote(subject.name)}",
        )
    return Finding(name, "ok", f"{where}, without {token}{measured}")


def check_likelihood(subject: Subject, likelihood: Likelihood | None) -> Iterator[Finding]:
    """Whether the model knows language at all, which wrong or damaged weights do not."""
    if likelihood is None:
        return
    if likelihood.plain is None:
        yield Finding("likelihood", "ok", "not measured: the tokenizer lacks letters of plain English")
        return
    guess = log(subject.rows or len(subject.tokenizer))
    best = min(one for one in (likelihood.plain, likelihood.plain_other) if one is not None)
    text = f"{likelihood.plain:.2f} nats a token of plain English (a guess: {guess:.2f})"
    if not best < GUESSING * guess:  # also where it is no number
        yield Finding("likelihood", "doubtful", text, "the weights may be damaged, or belong to another tokenizer")
        return
    chat = "" if likelihood.chat is None else f", {likelihood.chat:.2f} in an answer of the chat template's form"
    yield Finding("likelihood", "ok", text + chat)


def check_end(subject: Subject, use: Use) -> Iterator[Finding]:
    """What ends trained rows, and whether samples end there."""
    tokenizer, end = subject.tokenizer, subject.end(use.chat)
    plain = int(tokenizer.eos_token_id)
    ends = sorted({*subject.ends, plain, end})
    listed = ", ".join(subject.token(one) for one in ends)
    if use.chat and subject.template:
        after = subject.template.after_turn
        if after is None:
            text = "the chat template changes what the model said, so what ends its turn is not known"
            yield Finding("end", "doubtful", text, f"rows end in {subject.token(plain)}")
            return
        if end == plain and not after.lstrip().startswith(str(tokenizer.eos_token)):
            what = f"by {after[:SHOWN]!r}, which is no token" if after.strip() else "by nothing"
            text = f"the chat template ends the model's turn {what}"
            yield Finding(
                "end", "doubtful", text, f"rows end in {subject.token(plain)}, which the model may not expect"
            )
            return
    text = f"rows end in {subject.token(end)}, and so do samples; what ends a sample: {listed}"
    if end not in subject.ends:
        others = "generation_config.json does not list it: other programs may not stop there"
        yield Finding("end", "ok" if end == plain else "doubtful", f"{text}; {others}")
        return
    yield Finding("end", "ok", text)


def check_padding(subject: Subject) -> Iterator[Finding]:
    """Rows are padded with labels and a mask of their own, so any token that has an embedding can pad."""
    tokenizer = subject.tokenizer
    pad, rows = tokenizer.pad_token_id, subject.rows or 1 << 62
    if pad is None or not 0 <= pad < rows:
        why = "there is no padding token" if pad is None else f"the padding token has the id {pad} of {rows}"
        yield Finding("padding", "doubtful", f"{why}; {subject.token(tokenizer.eos_token_id)} pads instead")
        return
    text = f"{subject.token(pad)} pads"
    if pad == tokenizer.eos_token_id:
        text += ", which is the end token too; what is padded is known by its place, so the end is trained"
    if subject.generation.pad_token_id in subject.ends and subject.generation.pad_token_id != tokenizer.eos_token_id:
        text += f"; to generation_config.json {subject.token(subject.generation.pad_token_id)} both pads and ends texts"
    yield Finding("padding", "ok", text)


def check_vocabulary(subject: Subject, use: Use) -> Iterator[Finding]:
    """Tokens without an embedding are an index error, embeddings without a token write nothing."""
    tokenizer, rows = subject.tokenizer, subject.rows
    ids = [one for prompt in use.sampled[:8] for one in encode_prompt(tokenizer, prompt, chat=use.chat)]
    if tokenizer.unk_token_id is not None and (lost := ids.count(tokenizer.unk_token_id)) > UNKNOWN * len(ids):
        text = f"{lost / len(ids):.0%} of what the model is asked with has no token: it reads nothing of that"
        advice = "take a tokenizer that has these letters, or name the recipe that the model is for"
        yield Finding("vocabulary", "doubtful", text, advice)
        return
    size = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    if rows is None or size == rows:
        yield Finding("vocabulary", "ok", f"{size} tokens")
        return
    if size < rows:
        yield Finding("vocabulary", "ok", f"{size} tokens, and {rows - size} embeddings without one")
        return
    needed = {tokenizer.eos_token_id, tokenizer.bos_token_id, subject.end(use.chat)}
    needed |= set(ids)
    beyond = sorted(one for one in needed if one is not None and one >= rows)
    text = f"{size} tokens, and embeddings for {rows}"
    if beyond:
        advice = "take the tokenizer that belongs to the model"
        yield Finding("vocabulary", "wrong", f"{text}: {subject.token(beyond[0])} has none", advice)
        return
    yield Finding("vocabulary", "doubtful", f"{text}; none of those without one is used by the recipe")


def check_stops(subject: Subject, use: Use) -> Iterator[Finding]:
    """Stop strings are looked for in the text, so one must come back from its tokens; how it is split may vary."""
    lost, split = [], []
    for stop in use.prompts.stop:
        ids = encode_completion(subject.tokenizer, f"7{stop}")[:-1]
        if stop not in subject.tokenizer.decode(ids):
            lost.append(stop)
        alone = encode_completion(subject.tokenizer, stop)[:-1]
        if ids[-len(alone) :] != alone:
            split.append(stop)
    if lost:
        advice = "choose another stop string, or none"
        yield Finding("stop", "doubtful", f"no tokens give {lost[0]!r}, so no text would stop there", advice)
    elif use.prompts.stop:
        text = "stop strings are found in the text"
        yield Finding("stop", "ok", f"{text}, also where {split[0]!r} is split otherwise" if split else text)


def check_texts(subject: Subject, use: Use) -> Iterator[Finding]:
    """What is trained is the text again as tokens: what a tokenizer changes on the way is trained changed."""
    tokenizer, end = subject.tokenizer, subject.end(use.chat)
    texts = use.texts or (use.prompts.settings.answer.replace("{answer}", str(use.problems[0].answer or 1)),)
    for text in texts:
        ids = encode_completion(tokenizer, text, end)
        again = decode_completion(tokenizer, ids, [end])
        if again.strip() != text.strip():
            at = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, again, strict=False)))
            shown = f"{text[at : at + SHOWN]!r} comes back as {again[at : at + SHOWN]!r}"
            yield Finding(
                "text", "doubtful", f"the tokenizer changes texts: {shown}", "see that answers can be written"
            )
            return
    yield Finding("text", "ok", "texts come back from their tokens as they were")
