"""YAML files as pydantic models: every mistake is one line with the file, the line and the nearest right name."""

import numbers
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from selfimprove.errors import EMPTY, OTHER_NAMES, RecipeError, nearest, not_known, plain_words, suggest
from selfimprove.recipe.json_text import check_characters, join_pairs, read_json

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]
MAX_BYTES = 1 << 20
MAX_VALUES = 20_000
MAX_DEPTH = 64
MAX_DIGITS = 64
DEEP = "nested too deeply"
MAX_MISTAKES = 100
PATTERN = re.compile(
    r"\^(?P<family>[a-z_]+/)?(?P<first>\[[^\]]+\])?\[(?P<later>[^\]]+)\]\{[01],(?P<most>\d+)\}\$", re.ASCII
)
CLASSES = {"A-Za-z": "letters", "a-z": "small letters", "0-9": "digits"}
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# libyaml's parser takes a tenth of the time; where PyYAML comes without it, its own does the same.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NAMES = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class Document:
    """A parsed YAML file with the line of each key; raises RecipeError where it is not a mapping of unique keys."""

    def __init__(
        self, text: str, source: str, mistakes: list[str] | None = None, loader: type[yaml.SafeLoader] = Loader
    ) -> None:
        """With `mistakes` a key that is set twice is added to them and the last one counts; `loader` knows the tags of
        a format of others."""
        self.source, self._mistakes = source, mistakes
        self.lines: dict[Location, int] = {}
        self.sources: dict[Location, str] = {}  # of what was taken over from another file
        self.overridden: dict[Location, str] = {}
        node, found = compose(text, source, loader)
        self.data: dict[str, Any] = found
        self._index(node, ())
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError(f"{source}:1: expected a mapping of settings such as 'name: my-run'")

    @classmethod
    def from_data(cls, data: Mapping[str, object], source: str) -> "Document":
        """A document of plain data, such as a dictionary; a mistake is then named by its key and not by a line."""
        plain = plain_data(data, source)
        check_characters(plain, source)
        document = cls(dump(plain), source)
        document.overridden = {at: ".".join(map(str, at)) for at in document.lines if at}
        document.lines = {}
        return document

    def _index(self, node: yaml.Node | None, location: Location) -> None:
        if node is None:  # an empty file
            return
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.tag not in NAMES:
                    raise RecipeError(f"{self.source}:{key.start_mark.line + 1}: a key must be a name such as 'rounds'")
                inner = (*location, key.value)
                if inner in self.lines:
                    self._refuse(
                        f"{self.source}:{key.start_mark.line + 1}: '{key.value}' is set twice "
                        f"(first in line {self.lines[inner]})"
                    )
                self.lines[inner] = key.start_mark.line + 1
                self._index(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                self._index(value, (*location, number))

    def _refuse(self, mistake: str) -> None:
        if self._mistakes is None:
            raise RecipeError(mistake)
        self._mistakes.append(mistake)

    def where(self, location: Location) -> str:
        """Name the override, or the file and the line, of the innermost part of `location` that was given."""
        if location not in self.lines:
            for inner, override in self.overridden.items():
                if inner[: len(location)] == location:
                    return override
        for end in range(len(location), 0, -1):
            if location[:end] in self.overridden:
                return self.overridden[location[:end]]
            if location[:end] in self.lines:
                return f"{self.sources.get(location[:end], self.source)}:{self.lines[location[:end]]}"
        return self.source


def compose(text: str, source: str, kind: type[yaml.SafeLoader] = Loader) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML or JSON text and the plain data that they stand for; raises RecipeError.

    What a text could make of itself is bounded before anything is built: its size, how deeply it is nested, the values
    that its aliases stand for, and the length of its numbers.
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{source}: is too large ({len(text):,} characters, at most {MAX_BYTES:,} are read)")
    try:
        check_characters(text, source)
        said = read_json(text, source)
        text = said[1] if said else join_pairs(text)
        _check_events(text, source)
        loader = kind(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            _count_values(node, source, {})
            data = said[0] if said else loader.construct_document(node)
            check_characters(data, source)  # escapes, where PyYAML's own parser reads them
            return node, data
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise RecipeError(f"{source}{where}: {problem.replace('exceeded maximum nesting depth', DEEP)}") from None
    except (ValueError, OverflowError) as error:  # a date such as 2024-13-45
        raise RecipeError(f"{source}: not valid YAML ({error})") from None


def _check_events(text: str, source: str) -> None:
    depth = count = 0
    for event in yaml.parse(text, Loader=Loader):
        count += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > MAX_VALUES:
            where = f"{source}:{event.start_mark.line + 1}" if event.start_mark else source
            many = f"more than {MAX_VALUES:,} keys and values"
            raise RecipeError(f"{where}: {many if count > MAX_VALUES else DEEP}")


def _count_values(node: yaml.Node, source: str, known: dict[int, int]) -> int:
    """How many values a node stands for, those that its aliases repeat counted each time; `known` is by node."""
    where = f"{source}:{node.start_mark.line + 1}"
    if id(node) in known:
        if known[id(node)] == 0:
            raise RecipeError(f"{where}: holds an alias of itself")
        return known[id(node)]
    known[id(node)] = 0
    count = 1
    if isinstance(node, yaml.ScalarNode):
        if node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
            raise RecipeError(f"{where}: a number of {len(node.value):,} digits (at most {MAX_DIGITS})")
    else:
        pairs = node.value if isinstance(node, yaml.SequenceNode) else [one for pair in node.value for one in pair]
        for inner in pairs:
            count += _count_values(inner, source, known)
            if count > MAX_VALUES:
                raise RecipeError(f"{where}: its aliases stand for more than {MAX_VALUES:,} values")
    known[id(node)] = count
    return count


def read_document(path: Path, mistakes: list[str] | None = None, loader: type[yaml.SafeLoader] = Loader) -> Document:
    """Read a YAML file, as `Document` does; raises RecipeError with the reason where it cannot be read."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RecipeError(f"{path}: is no regular file")
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a UTF-8 text file") from None
    return Document(text, str(path), mistakes, loader)


def validate(model: type[Model], document: Document, *, lenient: bool = False) -> Model:
    """Validate a document against a model; raises RecipeError for the first mistake, in the file's order.

    `lenient` lets names stand that nothing here declares.
    """
    try:
        return model.model_validate(document.data, context={"lenient": lenient})
    except ValidationError as error:
        raise RecipeError(_mistakes(model, document, error, most=1)[0]) from None


def find_mistakes(model: type[BaseModel], document: Document) -> list[str]:
    """Every mistake of a document against a model, in the file's order; of very many the first ones."""
    try:
        model.model_validate(document.data)
    except ValidationError as error:
        return _mistakes(model, document, error, most=MAX_MISTAKES)
    return []


def find_places(model: type[BaseModel], data: object) -> list[tuple[Location, bool]]:
    """Where plain data is not valid against a model, and whether something is missing there."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return [(_walk(model, item["loc"])[1], item["type"] == "missing") for item in error.errors()]
    return []


def _mistakes(model: type[BaseModel], document: Document, error: ValidationError, *, most: int) -> list[str]:
    mistakes = [(_real_location(model, item), item) for item in error.errors()]
    # A name that is missing is often one that is misspelt, so what is there comes first.
    mistakes.sort(key=lambda mistake: (mistake[1]["type"] == "missing", document.lines.get(mistake[0], 0)))
    return [f"{document.where(location)}: {_describe(model, location, item)}" for location, item in mistakes[:most]]


def _describe(model: type[BaseModel], location: Location, item: Any) -> str:
    name = ".".join(str(part) for part in location)
    kind = item["type"]
    if kind == "extra_forbidden":
        parents, _ = _walk(model, item["loc"][:-1])
        known = parents[0].model_fields if parents else ()
        key = str(location[-1])
        return f"unknown key '{key}'{suggest(key, known)}{elsewhere(model, key, known)}"
    if kind == "missing":
        return f"'{name}' is missing"
    if kind == "union_tag_invalid":
        tag = str(item["ctx"]["tag"])[:60]
        expected = [text.strip(" '") for text in item["ctx"]["expected_tags"].split(",")]
        variants, _ = _walk(model, item["loc"])
        noun = re.findall("[A-Z][a-z0-9]*", variants[0].__name__)[-1].lower()  # the task of ArithmeticTask
        return not_known(noun, tag, expected)
    if kind == "union_tag_not_found":
        given = item["input"]
        return f"'{name}' needs a name" + (
            f"; did you mean '{name}.name: {given[:60]}'?" if isinstance(given, str) else ""
        )
    if kind == "not_known":
        return f"'{name}': {not_known(item['ctx']['noun'], str(item['input'])[:60], item['ctx']['known'])}"
    if kind == "literal_error":
        value = str(item["input"])[:60]
        expected = [text.strip(" '") for text in item["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"'{name}' is '{value}'{suggest(value, expected)}"
    if kind == "string_pattern_mismatch" and (said := _describe_pattern(item["ctx"]["pattern"], str(item["input"]))):
        return f"'{name}' is {said}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return _describe_group(model, name, item)
    if kind in ("tuple_type", "list_type"):
        return _describe_list(model, name, item)
    message = plain_words(item["msg"])
    shown = repr(item["input"])
    beside = "" if message == EMPTY else f", not {shown if len(shown) <= 60 else shown[:57] + '...'}"
    return f"'{name}' {message}{beside}"


def _describe_pattern(pattern: str, given: str) -> str:
    """What a name must look like, from the few patterns that the settings have; empty for others, such as a plugin's.

    They are one class of characters, after a family and a slash or after a first character.
    """
    read = PATTERN.fullmatch(pattern)
    if not read:
        return ""
    family, first, later, most = read["family"] or "", read["first"], read["later"], int(read["most"])
    rest, allowed = later, []
    for text, words in CLASSES.items():
        if text in rest:
            rest = rest.replace(text, "")
            allowed.append(words)
    allowed += [f"'{one}'" for one in rest]
    if family and "/" not in given:
        return f"{given[:60]!r}; write it with a name, such as '{family}{'mine' if given + '/' == family else given}'"
    length = most + 1 if first else most
    what = f"'{family}' and then " if family else ""
    starts = ", and begin with a letter or a digit" if first else ""
    shown = repr(given) if len(given) <= 60 else f"{given[:57]!r}..."
    return f"{shown}; write {what}1 to {length} of {', '.join(allowed)}{starts}"


def _describe_group(model: type[BaseModel], name: str, item: Any) -> str:
    """That one value stands where settings should, with the setting that it is most likely of."""
    groups, _ = _walk(model, item["loc"])
    keys = list(groups[0].model_fields) if groups else []
    shown = str(item["input"])[:60]
    meant = next((key for key in ("path", "name") if key in keys), None)
    if isinstance(item["input"], str) and meant:
        return f"'{name}' is a group of settings; did you mean '{name}.{meant}: {shown}'?"
    known = f", such as '{name}.{keys[0]}'" if keys else ""
    return f"'{name}' is a group of settings{known}, and not {shown}"


def _describe_list(model: type[BaseModel], name: str, item: Any) -> str:
    """That one value stands where a list should, with that list."""
    groups, _ = _walk(model, item["loc"])
    given = item["input"]
    if not isinstance(given, (str, int, float)) or len(str(given)) > 60:
        return f"'{name}' is a list, such as [first, second], and not {str(given)[:60]}"
    return f"'{name}' is a list; write {f'[{{name: {given}}}]' if groups else f'[{given}]'} and not {given}"


def elsewhere(model: type[BaseModel], key: str, known: Iterable[str]) -> str:
    """Where else there is a setting of an unknown key's name, if none of this group is meant."""
    if nearest(key, known):
        return ""
    places = list(_places(model, OTHER_NAMES.get(key, key)))
    places.sort(key=lambda one: (not one[1].startswith("stages."), one[0]))
    found = [repr(name.removeprefix("stages.")) for _, name in places[:3]]
    return f"; elsewhere there is {', '.join(found)}" if found else ""


def _places(
    model: type[BaseModel], key: str, before: str = "", depth: int = 0, by_choice: bool = False
) -> Iterator[tuple[bool, str]]:
    """The settings of a name, two groups deep at most, each with whether its group is one that may be left out."""
    for name, field in model.model_fields.items():
        if name == key:
            yield by_choice, f"{before}{name}"
        inner = _variants(field.annotation)
        for group in inner if len(inner) == 1 and depth < 2 else ():
            yield from _places(group, key, f"{before}{name}.", depth + 1, by_choice or field.default is None)


def _variants(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) in (Union, tuple, list, dict) or type(annotation).__name__ == "UnionType":
        return [found for inner in get_args(annotation) for found in _variants(inner)]
    if hasattr(annotation, "__metadata__"):
        return _variants(annotation.__origin__)
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _walk(model: type[BaseModel], location: Sequence[str | int]) -> tuple[list[type[BaseModel]], Location]:
    """Follow pydantic's location, leaving out the tags that it adds for unions."""
    current: list[type[BaseModel]] = [model]
    real: list[str | int] = []
    keyed = False  # whether the next part is a key of a mapping that is no settings
    for part in location:
        tagged = [one for one in current if len(current) > 1 and not keyed and _tag(one) == part]
        if tagged:
            current = tagged
            continue
        real.append(part)
        if keyed:
            keyed = False
        elif isinstance(part, str):
            fields = [one.model_fields[part] for one in current if part in one.model_fields]
            current = [found for field in fields for found in _variants(field.annotation)]
            keyed = any(get_origin(field.annotation) is dict for field in fields)
    return current, tuple(real)


def _tag(model: type[BaseModel]) -> object:
    field = model.model_fields.get("name")
    return getattr(model, "family", field.default if field else None)


def _real_location(model: type[BaseModel], item: Any) -> Location:
    _, location = _walk(model, item["loc"])
    return (*location, "name") if item["type"] == "union_tag_invalid" else location


def plain_data(value: object, name: str) -> object:
    """A Python value as YAML would hold it: paths as texts, numpy's numbers as numbers; raises RecipeError."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: plain_data(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(inner, f"{name}.{at}") for at, inner in enumerate(value)]
    raise RecipeError(f"{name}: a setting is a number, a text, a list or a dictionary, not {type(value).__name__}")


def dump(data: object) -> str:
    """Write plain data as YAML in its own order, with multi-line texts readable."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
