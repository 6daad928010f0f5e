"""Looking at a model: its files, its tokenizer and its chat template, and with its weights what it finds likely."""

from selfimprove.doctor import settings, tokens, turns
from selfimprove.doctor.findings import Finding
from selfimprove.doctor.likelihood import Likelihood
from selfimprove.doctor.subject import Subject, Use
from selfimprove.prompting.prompts import encode_prompt


def examine(subject: Subject, use: Use, likelihood: Likelihood | None = None) -> list[Finding]:
    """All findings on a model, in the order of TOPICS; raises ModelError where a prompt cannot be written at all."""
    prompts = {one: encode_prompt(subject.tokenizer, one, chat=use.chat) for one in dict.fromkeys(use.sampled)}
    return [
        *tokens.check_begins(subject, use, likelihood),
        *tokens.check_likelihood(subject, likelihood),
        *tokens.check_end(subject, use),
        *tokens.check_padding(subject),
        *tokens.check_vocabulary(subject, use),
        *(turns.check_template(subject, use) if use.chat else ()),
        *tokens.check_stops(subject, use),
        *tokens.check_texts(subject, use),
        *settings.check_length(subject, use, prompts),
        *settings.check_sampling(subject),
        *settings.check_saving(subject, use),
        *settings.check_dtype(subject, use),
        *settings.check_engine(subject, use),
    ]
