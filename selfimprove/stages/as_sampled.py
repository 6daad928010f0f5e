"""What a row that is a sample as it was written takes over from it: its prompt, and what is known of its tokens."""

from typing import Any

from selfimprove.records import Rationale


def is_whole(rationale: Rationale) -> bool:
    """Whether a text was written in one piece for its problem: it continues and revises no other one."""
    return len(rationale.parents) == 2


def count_sampled(rationale: Rationale, stop: tuple[str, ...]) -> int | None:
    """How many tokens a text has by the engine's count, where that is all that is known of them.

    With stop strings the count holds those of a string that was cut off.
    """
    known = rationale.token_ids is not None or rationale.finish != "stop"
    return None if known or stop or not is_whole(rationale) else rationale.tokens


def tokens_of_pair(chosen: Rationale, rejected: Rationale, stop: tuple[str, ...]) -> dict[str, Any]:
    """The columns of a pair of whole texts."""
    return {
        "chosen_token_ids": chosen.token_ids,
        "rejected_token_ids": rejected.token_ids,
        "chosen_sampled_tokens": count_sampled(chosen, stop),
        "rejected_sampled_tokens": count_sampled(rejected, stop),
    }
