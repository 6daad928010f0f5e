"""Chat templates: rendered within limits and at a fixed time, and what can be found out about one by rendering."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path

from selfimprove.errors import ModelError
from selfimprove.prompting.prompts import find_marks, neutralize_special_tokens
from selfimprove.prompting.sandbox import Sandbox, SandboxError
from selfimprove.prompting.tokenizer import Tokenizer

Messages = Sequence[Mapping[str, str]]
LONGEST = 1 << 20  # characters beyond four times those of the messages
USER, MODEL = "What colour is the sky?", "It is blue on a clear day."  # what is rendered to find out about a template
CLOCK = "chat-clock.txt"  # in a run's folder, where its prompts depend on the day


class ChatTemplate:
    """A tokenizer's chat template as a function of messages; `name` is the model's, for errors.

    It is rendered in a process of its own that the kernel ends at a bound of time and memory, and told the time `now`,
    so that a prompt is the same when it is sampled, trained and evaluated.
    """

    def __init__(self, tokenizer: Tokenizer, *, name: str, now: datetime | None = None) -> None:
        self.name, self.now = name, now or datetime.now()
        self.source = _choose_template(tokenizer, name)
        self.values = _plain_values(tokenizer.special_tokens_map)
        self.specials = [str(one) for one in tokenizer.all_special_tokens]
        # What the model's turns may hold: marks of reasoning are written by the model itself.
        self.unmarked = [one for one in self.specials if one not in find_marks(tokenizer)]
        self.lost: dict[str, str] = {}
        """By role: the first line of a message that was not in its prompt."""
        self.changed: dict[str, str] = {}
        """By role: the first line of which some characters were changed."""
        self._sandbox = Sandbox()

    def __call__(self, messages: Messages) -> str:
        """The prompt for the turn that follows; raises ModelError where the last message is not in it."""
        clean = self.clean(messages)
        text = self.render(clean)
        lost = []
        for at, line in find_lost(clean, text):
            if is_changed(line, text):
                self.changed.setdefault(clean[at]["role"], line)
            else:
                self.lost.setdefault(clean[at]["role"], line)
                lost.append((at, line))
        mine = [line for at, line in lost if at == len(clean) - 1]
        if mine and len(mine) == len(_lines(clean[-1]["content"])):
            raise ModelError(
                f"{self.name}: its chat template leaves the question out of the prompt ({mine[0][:60]!r}); mend the "
                "template, or set 'prompt.chat' to never"
            )
        return text

    def clean(self, messages: Messages) -> list[dict[str, str]]:
        """Messages in which no special token is written out, but for marks of reasoning in the model's turns."""
        return [
            {
                **one,
                "content": neutralize_special_tokens(
                    one["content"], self.unmarked if one["role"] == "assistant" else self.specials
                ),
            }
            for one in messages
        ]

    def render(self, messages: Messages, *, generation: bool = True, now: datetime | None = None) -> str:
        """What the template makes of messages; raises ModelError where it refuses them or does not end."""
        shown = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]
        return self._render(shown if self.wants_parts else list(messages), generation, now)

    def _render(self, messages: Sequence[object], generation: bool, now: datetime | None = None) -> str:
        values = {**self.values, "messages": messages, "tools": None, "documents": None}
        asked = {
            "chat": self.source,
            "values": values | {"add_generation_prompt": generation},
            "now": (now or self.now).isoformat(),
            "longest": LONGEST + 4 * sum(len(str(one)) for one in messages),
        }
        try:
            answer = self._sandbox.ask(asked)
        except SandboxError as error:
            raise ModelError(
                f"{self.name}: its chat template {error}; mend it, or set 'prompt.chat' to never"
            ) from None
        if "error" in answer:
            said = " ".join(answer["error"].split())[:200]
            raise ModelError(
                f"{self.name}: its chat template cannot render a prompt ({said}); mend it or set prompt.chat=never"
            )
        return str(answer["text"])

    @cached_property
    def wants_parts(self) -> bool:
        """Whether contents must be lists of parts, as in templates for models that see pictures too."""
        plain, parts = USER, [{"type": "text", "text": USER}]
        try:
            if USER in self._render([{"role": "user", "content": plain}], True):
                return False
        except ModelError as error:
            return self._takes(parts, error)
        return self._takes(parts, None)

    def _takes(self, parts: object, error: ModelError | None) -> bool:
        try:
            return USER in self._render([{"role": "user", "content": parts}], True)
        except ModelError:
            if error:
                raise error from None
            return False

    @cached_property
    def tells_time(self) -> bool:
        """Whether prompts depend on the day on which they are written."""
        turns = [{"role": "user", "content": USER}]
        try:
            return self.render(turns, now=datetime(2001, 2, 3, 4, 5)) != self.render(
                turns, now=datetime(2036, 11, 29, 16, 57)
            )
        except ModelError:
            return False

    @cached_property
    def after_turn(self) -> str | None:
        """What the template writes after a turn of the model's, or None where that turn is not found in the text."""
        try:
            text = self.render(
                [{"role": "user", "content": USER}, {"role": "assistant", "content": MODEL}], generation=False
            )
        except ModelError:
            return None
        return text.rpartition(MODEL)[2] if MODEL in text else None


def load_template(tokenizer: Tokenizer, *, name: str, now: datetime | None = None) -> ChatTemplate | None:
    """A tokenizer's chat template, or None where it has none; raises ModelError where it is broken."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    template, turns = ChatTemplate(tokenizer, name=name, now=now), [{"role": "user", "content": USER}]
    if len({template(turns) for _ in range(4)}) > 1:
        raise ModelError(
            f"{name}: its chat template writes the same prompt in different ways, by chance; mend it, or set "
            "'prompt.chat' to never"
        )
    return template


def fix_clock(run: Path, model: str = "") -> datetime:
    """The time that a run's chat template is told, from its first start on; raises ModelError.

    Where the run that made the model told its template a time, that is told on: what is evaluated is what was trained.
    """
    path = run / CLOCK
    if not path.exists() and not path.is_symlink():
        made_by = next((one / CLOCK for one in Path(model).parents if (one / CLOCK).is_file()), None)
        now = _read_clock(made_by) if made_by else datetime.now()
        partial = path.with_suffix(".partial")
        partial.write_text(now.isoformat(timespec="seconds") + "\n")
        partial.replace(path)
    return _read_clock(path)


def _read_clock(path: Path) -> datetime:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 100:
            raise ValueError
        return datetime.fromisoformat(path.read_text().strip())
    except ValueError:
        raise ModelError(
            f"{path}: should hold the time that this run's chat template is told, such as 2026-01-31T12:00:00"
        ) from None


def find_end(tokenizer: Tokenizer, *, chat: bool) -> int:
    """The token that ends a completion: what the chat template ends the model's turns by, else the end token."""
    if not chat or not getattr(tokenizer, "chat_template", None):
        return int(tokenizer.eos_token_id)
    after = _after_turn(tokenizer)
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"] if after else []
    return int(ids[0]) if ids and ids[0] in tokenizer.added_tokens_decoder else int(tokenizer.eos_token_id)


@lru_cache(maxsize=4)
def _after_turn(tokenizer: Tokenizer) -> str | None:
    return ChatTemplate(tokenizer, name=str(tokenizer.name_or_path)).after_turn


def _choose_template(tokenizer: Tokenizer, name: str) -> str:
    """The template, of several the one called default; raises ModelError."""
    given = tokenizer.chat_template
    if isinstance(given, dict) and isinstance(given.get("default"), str):
        return str(given["default"])
    if isinstance(given, str):
        return given
    names = ", ".join(sorted(map(str, given))) if isinstance(given, dict) else type(given).__name__
    raise ModelError(
        f"{name}: has several chat templates ({names}) and none called 'default'; keep one of them as "
        "chat_template.jinja, or set 'prompt.chat' to never"
    )


def _plain_values(values: Mapping[str, object]) -> dict[str, object]:
    return {key: list(map(str, one)) if isinstance(one, list | tuple) else str(one) for key, one in values.items()}


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def find_lost(messages: Messages, text: str) -> list[tuple[int, str]]:
    """The lines of messages that are not in a rendered text in their order, each with its message's place; spaces are
    not compared."""
    flat, at, lost = " ".join(text.split()), 0, []
    for place, one in enumerate(messages):
        for line in _lines(one["content"]):
            found = flat.find(line, at)
            if found < 0:
                lost.append((place, line))
            else:
                at = found + len(line)
    return lost


def is_changed(line: str, text: str) -> bool:
    """Whether at least half of a line, word by word, is in a text that does not hold it as it is."""
    folded, at, there = text.casefold(), 0, 0
    words = line.casefold().split()
    for word in words:
        found = folded.find(word, at)
        if found >= 0:
            at, there = found + len(word), there + len(word)
    return 2 * there >= sum(map(len, words))
