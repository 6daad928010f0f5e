"""What a chat template does to a conversation, found by rendering it back."""

from collections.abc import Iterator

from selfimprove.doctor.findings import Finding
from selfimprove.doctor.subject import Subject, Use
from selfimprove.errors import ModelError
from selfimprove.prompting.chat import MODEL, USER, ChatTemplate, find_lost

SYSTEM, THOUGHT, AGAIN = "Answer in one sentence.", "Light scatters in the air.", "And at night?"
THINKING = ("<think>", "<thinking>", "<reasoning>", "[THINK]", "<seed:think>")


def check_template(subject: Subject, use: Use) -> Iterator[Finding]:
    """All that is found out about the template that prompts are written by."""
    template = subject.template
    if template is None:
        return
    yield _check_kept(template, use)
    yield _check_system(template)
    yield _check_turn(template)
    if template.tells_time:
        text = f"prompts tell the day; this run's is {template.now:%Y-%m-%d}, at sampling, training and evaluation"
        yield Finding("clock", "ok", text)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _check_kept(template: ChatTemplate, use: Use) -> Finding:
    """Whether everything that the recipe's prompts hold is in them, and in order."""
    advice = "mend the template, or set 'prompt.chat' to never"
    lost, changed = {**template.lost}, {**template.changed}
    for prompts in (use.prompts, *use.prompts.formats.values()):
        if isinstance(prompts.chat, ChatTemplate):
            lost |= prompts.chat.lost
            changed |= prompts.chat.changed
    if lost:
        text = f"the chat template drops or moves text of {_name_first(lost)}"
        return Finding("template", "wrong", text, advice)
    if changed:
        text = f"the chat template changes characters of {_name_first(changed)}"
        return Finding("template", "doubtful", text, advice)
    talk = [turn("user", USER), turn("assistant", MODEL), turn("user", AGAIN)]
    try:
        if find_lost(talk, template.render(talk)):
            return Finding("template", "doubtful", "the chat template drops or moves turns of a longer talk", advice)
    except ModelError as error:
        return Finding("template", "doubtful", f"the chat template refuses a talk of several turns ({error})")
    thought = f"<think>\n{THOUGHT}\n</think>\n\n{MODEL}"
    try:
        text = template.render([talk[0], turn("assistant", thought), talk[2]])
    except ModelError:
        text = ""
    if THOUGHT not in text:
        return Finding(
            "template", "ok", "what the recipe's prompts hold is in them; reasoning in <think> would be dropped"
        )
    return Finding("template", "ok", "what the recipe's prompts hold is in them")


def _name_first(lines: dict[str, str]) -> str:
    role, line = next(iter(lines.items()))
    where = {"assistant": "an exemplar's answer", "user": "a question"}.get(role, f"a turn of '{role}'")
    return f"{where}: {line[:60]!r}"


def _check_system(template: ChatTemplate) -> Finding:
    """Nothing here writes system turns; whoever adds one to a template or a prompt wants to know."""
    talk = [turn("system", SYSTEM), turn("user", USER)]
    try:
        lost = find_lost(talk, template.render(talk))
    except ModelError:
        return Finding("system", "ok", "the chat template refuses system turns; none are written here")
    verb = "drops" if lost else "takes"
    return Finding("system", "ok", f"the chat template {verb} system turns; none are written here")


def _check_turn(template: ChatTemplate) -> Finding:
    """Whether a prompt ends where the template puts what the model says."""
    asked = [turn("user", USER)]
    prompt = template.render(asked)
    opened = next((one for one in THINKING if prompt.rstrip().endswith(one)), None)
    if opened:
        text = f"a prompt opens {opened}: what the model writes begins inside it, and so do trained rows"
        return Finding("turn", "ok", text)
    try:
        whole = template.render([*asked, turn("assistant", MODEL)], generation=False)
    except ModelError as error:
        return Finding("turn", "doubtful", f"the chat template refuses a turn of the model's ({error})")
    before = whole.partition(MODEL)[0]
    if MODEL not in whole:
        return Finding("turn", "doubtful", "the chat template changes what the model said")
    if before.rstrip() == prompt.rstrip():
        return Finding("turn", "ok", f"a prompt ends with {prompt[-30:]!r}, where the model's turn begins")
    if before.startswith(prompt):
        more = before[len(prompt) :]
        if any(one in more for one in THINKING):
            return Finding("turn", "ok", f"a prompt ends with {prompt[-30:]!r}; the template itself would add {more!r}")
        text = f"a prompt ends before the model's turn begins: {more[:60]!r} is missing"
        return Finding(
            "turn", "doubtful", text, "a template without a generation prompt has the model write that first"
        )
    text = f"a prompt ends with {prompt[-30:]!r}, and the model's turns stand after {before[-30:]!r}"
    return Finding("turn", "doubtful", text)
