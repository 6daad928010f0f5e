"""The tokens of what is trained: those that were sampled where a text is a sample as it was written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove.engines.model_folders import find_whole
from selfimprove.engines.models import read_longest
from selfimprove.prompting.prompts import encode_completion
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.trainers.job import TrainingJob

SAMPLED = "as sampled"
CHANGED = "as sampled, and not what their text gives"
TEXT = "from the text of a sample"
DIFFER = "from the text of a sample, and of another number"


def read_rows(path: Path, needed: Sequence[str], known: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a job's file with the columns that they need, and those `known` that it has."""
    import pyarrow.parquet as pq

    there = pq.read_schema(path).names
    rows: list[dict[str, Any]] = pq.read_table(
        path, columns=[*needed, *(one for one in known if one in there)]
    ).to_pylist()
    return rows


def longest_row(job: TrainingJob) -> int:
    """The tokens that a row has at most: as many as the settings allow, and the model has places for."""
    return min(job.settings.max_length, read_longest(find_whole(job.model, job.base)) or job.settings.max_length)


class CompletionTokens:
    """Encodes completions and counts where their tokens come from.

    A text may be written in several ways: tokenized again, "12" is one token where the model wrote "1" and "2". After
    the tokens of its prompt, which are always encoded as they were for sampling, a sample is trained as it was written.
    """

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self._tokenizer, self._end = tokenizer, end
        self.counts: Counter[str] = Counter()

    def encode(self, text: str, token_ids: Sequence[int] | None, sampled_tokens: int | None) -> list[int]:
        """Token ids with the end token: `token_ids` where they are this text's, else those that the text gives."""
        plain = encode_completion(self._tokenizer, text, self._end)
        if token_ids is not None and (ids := [*token_ids, self._end]) == plain:
            self.counts[SAMPLED] += 1
        elif token_ids is not None and self._give(token_ids, text):
            self.counts[SAMPLED] += 1
            self.counts[CHANGED] += 1
            return ids
        elif sampled_tokens is not None:
            self.counts[TEXT] += 1
            # Some engines count the end token and some do not.
            self.counts[DIFFER] += sampled_tokens not in (len(plain) - 1, len(plain))
        return plain

    def _give(self, token_ids: Sequence[int], text: str) -> bool:
        """Whether tokens are a text's: what was edited, or shown with a special token broken up, is trained as text."""
        if max(token_ids, default=0) >= len(self._tokenizer):
            return False
        return bool(self._tokenizer.decode(token_ids, skip_special_tokens=False) == text)


def describe_origins(counts: Mapping[str, int] | None) -> str:
    """What is to be said of texts whose tokens are not those of their text, or may not be those sampled."""
    found, said = counts or {}, []
    if found.get(CHANGED):
        said.append(f"{found[CHANGED]} of {found[SAMPLED]} samples have other tokens than their text gives")
    if found.get(TEXT):
        known = f", at least {found[DIFFER]} of them not as they were sampled" if found.get(DIFFER) else ""
        said.append(f"{found[TEXT]} samples are tokenized from their text{known}")
    return "; ".join(said)
