"""Records that are read in part: for stages that look over a million of them."""

from typing import Any, TypeVar

from pydantic import BaseModel

AnyModel = TypeVar("AnyModel", bound=BaseModel)
_new, _set = object.__new__, object.__setattr__


def read_in_part(kind: type[AnyModel], fields: dict[str, Any]) -> AnyModel:
    """A record that has these fields alone and what follows from them, unchecked: to be looked at, and neither compared
    nor written."""
    one = _new(kind)
    _set(one, "__dict__", fields)
    return one
