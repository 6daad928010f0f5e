"""The model that is examined, and what is done with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from selfimprove.engines.model_files import CONFIG, check_weights, read_dtypes, read_json
from selfimprove.engines.model_folders import find_whole, resolve_folder
from selfimprove.engines.models import read_config, read_generation, read_tokenizer
from selfimprove.prompting.chat import ChatTemplate, find_end, load_template
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe import Prompting, Training
from selfimprove.records import Problem

EXAMPLE = Problem(question="What is 12 + 7?", answer="19", task="example", level=1, group="example")


@dataclass(frozen=True)
class Subject:
    """A model as its files describe it; `name` is what the user called it."""

    name: str
    whole: Path
    tokenizer: Tokenizer
    template: ChatTemplate | None
    config: Any
    generation: Any
    settings: dict[str, Any]
    """What generation_config.json says, as it stands there."""
    rows: int | None
    """Tokens that the model has embeddings for."""
    dtypes: tuple[str, ...]

    @cached_property
    def longest(self) -> int | None:
        found = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @cached_property
    def ends(self) -> list[int]:
        found = self.generation.eos_token_id
        return [one for one in (found if isinstance(found, list) else [found]) if one is not None]

    def end(self, chat: bool) -> int:
        return find_end(self.tokenizer, chat=chat)

    def token(self, number: int | None) -> str:
        """A token as it is shown."""
        if number is None or not 0 <= number < len(self.tokenizer):
            return "none" if number is None else f"token {number}, which there is not"
        return repr(self.tokenizer.convert_ids_to_tokens(number))[1:-1]


@dataclass(frozen=True)
class Use:
    """What is done with a model: its prompts and how long they and the completions are, and what is trained."""

    prompts: PromptFormat
    problems: Sequence[Problem] = (EXAMPLE,)
    max_tokens: int = 256
    dtype: str = "float32"
    engine: str = "transformers"
    longest: int | None = None
    """The engine's own limit of tokens."""
    sft: Training | None = None
    trains: bool = True
    hints: bool = False
    texts: tuple[str, ...] = ()
    """What a completion looks like, where it is known."""
    more: tuple[str, ...] = field(default=())
    """Other prompts, such as those by a constitution."""

    @property
    def chat(self) -> bool:
        return self.prompts.chat is not None

    @cached_property
    def sampled(self) -> list[str]:
        """Prompts that are sampled with."""
        renders = [self.prompts.render, *([self.prompts.render_hint] if self.hints else [])]
        return [*(render(one) for one in self.problems for render in renders), *self.more]

    def trained(self, problem: Problem) -> str:
        """The prompt of a problem's trained row."""
        short = self.sft is not None and getattr(self.sft, "prompt", "question") == "question"
        return self.prompts.render_question(problem) if short else self.prompts.render(problem)


def read_subject(model: str, base: str | None = None, *, template: ChatTemplate | None = None) -> Subject:
    """A model's files; raises ModelError where one of them is broken. `template` spares loading it again."""
    whole = find_whole(model, base)
    config = read_config(whole)
    shapes = check_weights(whole, read_json(whole / CONFIG))
    folder = resolve_folder(model)
    own = check_weights(folder) if folder != whole else {}  # an adapter may bring embeddings for more tokens
    tokenizer = read_tokenizer(model, base)
    given = whole / "generation_config.json"
    every = (*own.items(), *shapes.items())
    tables = [shape[0] for name, shape in every if name.endswith(("embed_tokens.weight", "wte.weight"))]
    rows = tables[0] if tables else getattr(config.get_text_config(), "vocab_size", None)
    return Subject(
        name=model,
        whole=whole,
        tokenizer=tokenizer,
        template=template or load_template(tokenizer, name=model),
        config=config,
        generation=read_generation(whole),
        settings=read_json(given) if given.is_file() else {},
        rows=rows,
        dtypes=read_dtypes(whole),
    )


def plain_use(template: ChatTemplate | None) -> Use:
    """What is done with a model by default, where no recipe says it."""
    return Use(PromptFormat(Prompting(), chat=template))
