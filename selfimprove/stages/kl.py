"""How far the policy has moved from the model before round 1: the KL divergence, estimated on its own samples."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from math import sqrt
from statistics import mean, stdev

from selfimprove.records import KL, Checkpoint, Rationale
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk
from selfimprove.stages.generate import Generate
from selfimprove.store.rows import Rows

NEEDED = ("parents", "prompt", "text", "origin", "round", "finish", "token_ids")


def measure_into(desk: Desk[Settings], rationales: Rows[Rationale]) -> None:
    """Note the estimate in the stage's manifest, if the recipe asks for one."""
    if desk.other(Generate).kl_samples:
        desk.note(KL, measure_kl(desk, rationales.pick(*NEEDED)))


def measure_kl(desk: Desk[Settings], rationales: Iterable[Rationale]) -> dict[str, object] | None:
    """A Monte Carlo estimate of KL(policy || base) over texts that the policy sampled, in nats (Stiennon et al., 2020,
    section 3.4): the mean of log policy(text) - log base(text), with its standard error.

    It is one where the samples are the policy's own draws, at temperature 1 and with top_p 1; else it is the mean
    log-ratio of the texts that were written, so both settings stand beside it. At most `generate.kl_samples` texts are
    scored, chosen by their ids, which are hashes. None where there is nothing to score.
    """
    settings, stop = desk.other(Generate), desk.prompts.stop
    written = (one for one in rationales if one.origin == "sampled" and one.round == desk.round)
    whole = (one for one in written if len(one.parents) == 2 and one.finish != "too_long")  # repairs go on from others
    chosen = nsmallest(settings.kl_samples, whole, key=lambda one: one.id)
    if not chosen:
        return None
    # The end token was drawn too, unless a text was cut off or may have ended at a stop string.
    ended = {one.id for one in chosen if one.finish == "stop" and not stop}
    policy = _score(chosen, ended, desk.incumbent, desk)
    base = _score(chosen, ended, desk.first_checkpoint, desk)
    both = [one.id for one in chosen if one.id in policy and one.id in base]
    if not both:
        return None
    ratios = [policy[one][0] - base[one][0] for one in both]
    tokens = sum(policy[one][1] for one in both)
    return {
        "texts": len(both),
        "nats a text": mean(ratios),
        "standard error": stdev(ratios) / sqrt(len(ratios)) if len(ratios) > 1 else None,
        "nats a token": sum(ratios) / tokens if tokens else 0.0,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "checkpoint": desk.incumbent.id,
    }


def describe_kl(found: Mapping[str, object] | None) -> str:
    """The estimate in words, as the end of a line; nothing where there is none."""
    if not found:
        return ""
    error = found["standard error"]
    about = "" if error is None else f" ± {error:.2g}"
    return f"; {KL} {found['nats a text']:.3g}{about} nats a text ({found['nats a token']:.3g} a token)"


def _score(
    texts: Sequence[Rationale], ended: set[str], checkpoint: Checkpoint, desk: Desk[Settings]
) -> dict[str, tuple[float, int]]:
    """By text: its log-probability and its tokens; a text that a model has no room for is left out."""
    engine = desk.engine(checkpoint)
    found = {one.id: (0.0, 0) for one in texts if not one.text and one.id not in ended}  # nothing to score
    for end in (True, False):
        some = [one for one in texts if (one.id in ended) == end and (one.text or end)]
        scores = (
            engine.score([(one.prompt, one.text if one.token_ids is None else one.token_ids) for one in some], end=end)
            if some
            else []
        )
        found |= {one.id: (score.logprob, score.tokens) for one, score in zip(some, scores, strict=True)
                  if not score.too_long}  # fmt: skip
    return found
