"""Records without what pydantic does for each: for stages that look over a million of them.

A record that is read in part is one of its class and has the columns that were asked for; one that is made is whole, of
values that this program made itself, and has the id that `Record.id` would give it.
"""

import typing
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Literal, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from selfimprove.records import Record, hash_text

AnyModel = TypeVar("AnyModel", bound=BaseModel)
AnyRecord = TypeVar("AnyRecord", bound=Record)
_new, _set = object.__new__, object.__setattr__


def read_in_part(kind: type[AnyModel], fields: dict[str, Any]) -> AnyModel:
    """A record that has these fields alone and what follows from them, unchecked: to be looked at, and neither compared
    nor written."""
    one = _new(kind)
    _set(one, "__dict__", fields)
    return one


def make(kind: type[AnyRecord], **fields: Any) -> AnyRecord:
    """A whole record of all its fields, in their order and of the right types, unchecked."""
    names, writers, prefix = _shape(kind)
    if (*fields,) != names:
        raise TypeError(f"a {kind.kind} has the fields {', '.join(names)}, in this order")
    written = [key + write(value) for (key, write), value in zip(writers, fields.values(), strict=True) if key]
    fields["id"] = hash_text(f"{prefix}{','.join(written)}}}")
    one = _new(kind)
    _set(one, "__dict__", fields)
    _set(one, "__pydantic_fields_set__", set(names))
    _set(one, "__pydantic_extra__", None)
    _set(one, "__pydantic_private__", None)
    return one


Shape = tuple[tuple[str, ...], list[tuple[str, Callable[[Any], str]]], str]


@lru_cache(maxsize=256)
def _shape(kind: type[Record]) -> Shape:
    """The fields of a kind, what writes each of them in JSON, and what an id's hash begins with."""
    if kind._added:
        raise TypeError(f"a {kind.kind} has fields that came later, and is made by its class")
    known = kind.model_fields
    writers = [
        ("" if name in kind._unhashed else f'"{name}":', _writer(field.annotation)) for name, field in known.items()
    ]
    return (*known,), writers, f"{kind.kind}\0{{"


def _writer(annotation: Any) -> Callable[[Any], str]:
    """What writes values of a type as pydantic does in JSON."""
    text = typing.get_origin(annotation) is Literal and all(isinstance(one, str) for one in typing.get_args(annotation))
    if annotation is str or text:
        return encode_basestring
    if annotation is bool:
        return lambda value: "true" if value else "false"
    return _strings if annotation == tuple[str, ...] else _json


def _strings(values: tuple[str, ...]) -> str:
    return f"[{','.join([encode_basestring(one) for one in values])}]"


def _json(value: Any) -> str:
    return to_json(value).decode()
