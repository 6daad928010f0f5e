"""The forms of a critique: by one principle, as a checklist of all of them, in one turn with the revision, or by checks
alone, after which the prompt is asked anew."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from selfimprove.constitution import Principle
from selfimprove.constitution.checks import comply
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Completion
from selfimprove.recipe import Sampling
from selfimprove.records import Critique, Outcome, Rationale, Verdict, replace_surrogates
from selfimprove.stages.base import Writer
from selfimprove.stages.critique import CritiqueSettings, Link, ask, criticise, make_critique

CritiqueForm = Literal["principle", "checklist", "one-turn", "anew", "none"]
MOST_QUOTE = 300  # characters; what is longer is no quotation but the response once more
_ENTRY = re.compile(r"^\W{0,6}(\d{1,2})\W{1,6}(yes|no)\b(.*)", re.IGNORECASE)
_QUOTE = re.compile(rf"[\"“„«]([^\"“”„«»\n]{{2,{MOST_QUOTE}}})[\"”“»]")


@dataclass(frozen=True)
class Turn:
    """A turn that holds a revision, as a whole or at its end."""

    prompt: str
    seed: int
    completion: Completion
    revision: str


@dataclass(frozen=True)
class Said:
    """What a critique leads to: the principle that the revision is asked by, and the critique as it is shown there; or
    the turn that holds the revision too. `anew`: the revision is asked for without the response."""

    link: Link
    critique: Critique | None
    principle: Principle
    shown: str | None
    turn: Turn | None = None
    anew: bool = False

    @property
    def found(self) -> bool:
        """Whether there is something to revise: always, where nothing was asked."""
        return self.critique is None or self.critique.found


def say_of(
    links: Sequence[Link],
    principles: Sequence[Sequence[Principle]],
    verdicts: Sequence[Verdict | None],
    *,
    writer: Writer,
    prompter: Prompter,
    critique: CritiqueSettings | None,
    revision: Sampling,
    form: CritiqueForm,
    purpose: str,
) -> list[Said]:
    """What is said of responses, in order, in the form that is asked for; `principles` are all that hold for each, and
    `verdicts` what checks may know of it."""
    if form == "anew":
        return look_again(links, principles, verdicts, writer=writer, prompter=prompter)
    if critique is None or form == "none":
        return [Said(one, None, one.principle, None) for one in links]
    if form == "checklist":
        return check_off(links, principles, verdicts, writer=writer, prompter=prompter, sampling=critique,
                         purpose=f"{purpose} checklist")  # fmt: skip
    if form == "one-turn":
        most = critique.max_tokens + revision.max_tokens
        sampling = revision.model_copy(update={"max_tokens": most})
        return say_and_revise(links, writer=writer, prompter=prompter, sampling=sampling, purpose=f"{purpose} turn")
    said = criticise(links, writer=writer, prompter=prompter, sampling=critique, purpose=f"{purpose} critique")
    return [Said(link, one, link.principle, one.text) for link, one in zip(links, said, strict=True)]


def write_revisions(
    said: Sequence[Said], writer: Writer, prompter: Prompter, settings: Sampling, purpose: str
) -> list[Rationale]:
    """The revised responses of a step, in order; those that came with their critique are not asked for again."""
    left = [one for one in said if one.turn is None]
    prompts = [
        prompter.anew(one.principle, one.link.problem.question)
        if one.anew
        else prompter.revision(one.principle, one.link.problem.question, one.link.response.text, one.shown)
        for one in left
    ]
    answers = ask([one.link for one in left], prompts, writer=writer, sampling=settings, purpose=purpose)
    asked = {
        id(one): Turn(prompt, seed, completion, replace_surrogates(completion.text).rstrip())
        for one, prompt, (seed, completion) in zip(left, prompts, answers, strict=True)
    }
    return [_make_revised(one, one.turn or asked[id(one)], writer, settings) for one in said]


def _make_revised(said: Said, turn: Turn, writer: Writer, settings: Sampling) -> Rationale:
    link, completion = said.link, turn.completion
    critique = [said.critique.id] if said.critique else []
    whole = turn.revision == completion.text
    return Rationale(
        parents=(link.problem.id, writer.checkpoint, link.response.id, *critique),
        prompt=turn.prompt,
        text=turn.revision,
        answer=writer.extract_answer(link.problem, turn.revision, turn.prompt),
        origin="revised",
        round=writer.round,
        sample=link.response.sample,
        seed=turn.seed,
        temperature=settings.temperature,
        top_p=settings.top_p,
        tokens=completion.tokens,
        logprob=completion.logprob,
        finish=completion.finish,
        token_ids=completion.token_ids if whole else None,
        token_lengths=completion.token_lengths if whole else None,
        token_costs=completion.token_costs if whole else None,
    )


# --- a checklist -----------------------------------------------------------------------------------------------


def check_off(
    links: Sequence[Link],
    principles: Sequence[Sequence[Principle]],
    verdicts: Sequence[Verdict | None],
    *,
    writer: Writer,
    prompter: Prompter,
    sampling: Sampling,
    purpose: str,
) -> list[Said]:
    """Hold each response against all its principles at once. What has a check is checked, and the model is asked of the
    others; of what it says only that counts which quotes the response."""
    measured = measure(links, principles, verdicts)
    open_ = [
        [one for one in held if found.get(one.id, ("undecided", ""))[0] == "undecided"]
        for held, found in zip(principles, measured, strict=True)
    ]
    asked = [at for at, left in enumerate(open_) if left]
    prompts = {at: prompter.checklist(open_[at], links[at].problem.question, links[at].response.text) for at in asked}
    answers = ask([links[at] for at in asked], [prompts[at] for at in asked], writer=writer, sampling=sampling,
                  purpose=purpose)  # fmt: skip
    completions = dict(zip(asked, answers, strict=True))
    said = []
    for at, (link, held) in enumerate(zip(links, principles, strict=True)):
        seed, completion = completions.get(at, (0, Completion(at, "", 0, 0.0, "stop")))
        text = replace_surrogates(completion.text).rstrip()
        quotes = read_checklist(text, open_[at], link.response.text)
        broken = reasons(measured[at])
        broken |= {name: f'"{quote}"' for name, quote in quotes.items()}
        wrong = [one for one in held if one.id in broken]
        shown = "\n".join(f"{' '.join(one.text.split())} Against it: {broken[one.id]}" for one in wrong)
        checked = describe([one for one in wrong if one.id not in quotes], broken)
        link = replace(link, principle=wrong[0]) if wrong else link
        record = make_critique(
            link, prompts.get(at, ""), "\n".join(filter(None, [text, checked])), seed, completion, writer, prompter,
            sampling.temperature, bool(wrong),
        )  # fmt: skip
        said.append(Said(link, record, join_principles(wrong, prompter) or link.principle, shown))
    return said


def measure(
    links: Sequence[Link], principles: Sequence[Sequence[Principle]], verdicts: Sequence[Verdict | None]
) -> list[dict[str, tuple[Outcome, str]]]:
    """What the checks say of each response, by principle."""
    return [
        {one.id: comply(one.check, link.response.text, verdict) for one in held if one.check}
        for link, held, verdict in zip(links, principles, verdicts, strict=True)
    ]


def reasons(measured: Mapping[str, tuple[Outcome, str]]) -> dict[str, str]:
    """Why checks fail, by principle."""
    return {name: reason for name, (outcome, reason) in measured.items() if outcome == "incorrect"}


def describe(wrong: Iterable[Principle], broken: Mapping[str, str]) -> str:
    """What checks find, a line each."""
    return "\n".join(f"{one.title or one.id}: {broken[one.id]}" for one in wrong)


def read_checklist(text: str, principles: Sequence[Principle], response: str) -> Mapping[str, str]:
    """By principle the words of the response that go against it, as a model's checklist quotes them; what it does not
    quote, or quotes wrongly, is left out."""
    found: dict[str, str] = {}
    flat = " ".join(response.split()).casefold()
    for line in text.split("\n"):
        entry = _ENTRY.match(line)
        if not entry or entry[2].casefold() != "no" or not 1 <= int(entry[1]) <= len(principles):
            continue
        for quote in _QUOTE.findall(entry[3]):
            words = " ".join(quote.split()).strip(" .…")
            if len(words) > 1 and words.casefold() in flat:
                found.setdefault(principles[int(entry[1]) - 1].id, words)
    return found


def join_principles(broken: Sequence[Principle], prompter: Prompter) -> Principle | None:
    """Several principles as one, by which a revision is asked for; None of none."""
    if len(broken) < 2:
        return broken[0] if broken else None
    own = any(one.revision for one in broken)
    requests = dict.fromkeys(prompter.constitution.request(one, "revision") for one in broken)
    return Principle(
        id=broken[0].id,
        text=" ".join(one.text.strip() for one in broken),
        revision="\n".join(requests) if own else None,
        exemplars=broken[0].exemplars,
    )


# --- anew ------------------------------------------------------------------------------------------------------


def look_again(
    links: Sequence[Link],
    principles: Sequence[Sequence[Principle]],
    verdicts: Sequence[Verdict | None],
    *,
    writer: Writer,
    prompter: Prompter,
) -> list[Said]:
    """Which principles a response goes against by their checks, without a word of the model; a principle without a
    check is among them where it was drawn. By these the prompt is asked anew, and training on the answer to the bare
    prompt is context distillation (Askell et al., 2021, section 2.2)."""
    said = []
    for at, (link, held, found) in enumerate(zip(links, principles, measure(links, principles, verdicts), strict=True)):
        broken = reasons(found)
        wrong = [one for one in held if one.id in broken]
        drawn = [] if link.principle.check else [link.principle]
        text = "\n".join([describe(wrong, broken), *(f"asked by: {one.title or one.id}" for one in drawn)]).strip()
        asked = [*wrong, *drawn]
        link = replace(link, principle=asked[0]) if asked else link
        record = make_critique(
            link, "", text, 0, Completion(at, "", 0, 0.0, "stop"), writer, prompter, 0.0, bool(asked)
        )
        said.append(Said(link, record, join_principles(asked, prompter) or link.principle, None, anew=True))
    return said


# --- one turn --------------------------------------------------------------------------------------------------


def say_and_revise(
    links: Sequence[Link], *, writer: Writer, prompter: Prompter, sampling: Sampling, purpose: str
) -> list[Said]:
    """A critique and the revision after it in one turn. The tokens of the turn are counted where the revision is."""
    prompts = [prompter.one_turn(one.principle, one.problem.question, one.response.text) for one in links]
    asked = ask(links, prompts, writer=replace(writer, stop=turn_stop(writer, prompter)), sampling=sampling,
                purpose=purpose)  # fmt: skip
    said = []
    for link, prompt, (seed, completion) in zip(links, prompts, asked, strict=True):
        whole = replace_surrogates(completion.text).rstrip()
        text, revision = prompter.split_turn(whole)
        nothing = completion.finish == "too_long" or not whole or prompter.constitution.finds_nothing(text or "-")
        counted = (
            replace(completion, token_ids=None)
            if nothing
            else replace(completion, tokens=0, logprob=None, token_ids=None)
        )
        record = make_critique(link, prompt, text, seed, counted, writer, prompter, sampling.temperature, not nothing)
        said.append(Said(link, record, link.principle, text, Turn(prompt, seed, completion, revision or "")))
    return said


def turn_stop(writer: Writer, prompter: Prompter) -> tuple[str, ...]:
    """What a turn with both ends before: all that a revision does, but for what begins the revision itself."""
    return tuple(one for one in writer.stop if one not in prompter.stop or one in prompter.turn_stop)
