"""Records without what pydantic does for each: for stages that look over a million of them.

A record that is read in part is one of its class and has the columns that were asked for; one that is made is whole, of
values that this program made itself, and has the id that `Record.id` would give it.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from selfimprove.records import Record, hash_bytes

AnyModel = TypeVar("AnyModel", bound=BaseModel)
AnyRecord = TypeVar("AnyRecord", bound=Record)
_new, _set = object.__new__, object.__setattr__


def read_in_part(kind: type[AnyModel], fields: Mapping[str, object]) -> AnyModel:
    """A record that has these fields alone and what follows from them, unchecked: to be looked at, and neither compared
    nor written."""
    one = _new(kind)
    _set(one, "__dict__", fields)
    return one


def make(kind: type[AnyRecord], **fields: object) -> AnyRecord:
    """A whole record of its fields, in their order and of the right types, unchecked; those that came later are at
    their defaults."""
    names, there, unhashed, later, prefix = _shape(kind)
    if (*fields,) != names:
        raise TypeError(f"a {kind.kind} has the fields {', '.join(names)}, in this order")
    hashed = {name: value for name, value in fields.items() if name not in unhashed} if unhashed else fields
    fields |= later | {"id": hash_bytes(prefix + to_json(hashed))}
    one = _new(kind)
    _set(one, "__dict__", fields)
    _set(one, "__pydantic_fields_set__", there)
    _set(one, "__pydantic_extra__", None)
    _set(one, "__pydantic_private__", None)
    return one


@lru_cache(maxsize=256)
def _shape(kind: type[Record]) -> tuple[tuple[str, ...], set[str], frozenset[str], dict[str, Any], bytes]:
    """The fields of a kind, in order and as a set that all its records share; those that no id is made of; those that
    came later, with their defaults; and what an id's hash begins with."""
    later = {name: kind.model_fields[name].default for name in kind._added}
    names = tuple(name for name in kind.model_fields if name not in later)
    return names, {*names}, kind._unhashed, later, f"{kind.kind}\0".encode()
