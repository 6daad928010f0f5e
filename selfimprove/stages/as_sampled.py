"""What a row that is a sample as it was written takes over from it: its prompt, and what is known of its tokens."""

from typing import Any

from selfimprove.prompting.prompts import PromptFormat
from selfimprove.records import Problem, Rationale


def is_whole(rationale: Rationale) -> bool:
    """Whether a text was written in one piece for its problem: it continues and revises no other one."""
    return len(rationale.parents) == 2


def is_sample(rationale: Rationale) -> bool:
    """Whether a text was written for its problem's own prompt, without a hint."""
    return rationale.origin == "sampled" and is_whole(rationale)


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


def prompt_of(rationale: Rationale, problem: Problem, prompts: PromptFormat, shown: bool) -> str:
    """The prompt that a text is trained by, and that a reward model reads: the question, or what was shown."""
    if is_sample(rationale) and prompts.is_trained_as_shown(problem, shown):
        return rationale.prompt
    return prompt_as_trained(problem, prompts, shown)


def prompt_as_trained(problem: Problem, prompts: PromptFormat, shown: bool) -> str:
    """The prompt by which texts of a problem are trained, whoever wrote them, and by which a reward model is asked."""
    return prompts.render(problem) if shown else prompts.render_question(problem)
