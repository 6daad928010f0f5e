"""What all settings share: unknown keys are errors, and some settings say only how fast a run goes."""

import ast
import contextlib
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError

MOST = 100_000_000  # of whatever a setting counts: more of it fills any memory before it is noticed
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def unhashed(default: object, description: str) -> Any:
    """Declare a setting that changes how fast a run goes, or what is measured beside, and not what its records hold: it
    may change between starts."""
    return Field(default, description=description, json_schema_extra={"hashed": False})


def added(default: object) -> Any:
    """Declare a setting that came later: at its default it is left out of fingerprints, and older runs keep theirs."""
    return Field(default, json_schema_extra={"hashed": "unless default"})


def is_unhashed(field: FieldInfo) -> bool:
    """Whether a field is declared by `unhashed`."""
    return _hashed(field) is False


def is_added(field: FieldInfo) -> bool:
    """Whether a field is declared by `added`."""
    return _hashed(field) == "unless default"


def _hashed(field: FieldInfo) -> object:
    extra = field.json_schema_extra
    return extra.get("hashed") if isinstance(extra, dict) else None


class Settings(BaseModel):
    """Unknown keys are errors; the docstrings and descriptions reach the JSON Schema that editors read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*")
    @classmethod
    def _check_count(cls, value: object, info: ValidationInfo) -> object:
        if type(value) is int and value > MOST and info.field_name != "seed":
            raise PydanticKnownError("less_than_equal", {"le": MOST})
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler(schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for name, said in _attribute_docstrings(cls).items():
            if name in properties:
                properties[name].setdefault("description", said)
        return made


def _attribute_docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field of settings, those of base classes among them.

    Pydantic's own `use_attribute_docstrings` would read all sources again whenever the package is imported.
    """
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if issubclass(one, Settings):
            with contextlib.suppress(OSError, SyntaxError):  # a class that was typed in has no source
                found |= dict(_docstrings(ast.parse(textwrap.dedent(inspect.getsource(one)))))
    return found


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names in a class's source that have a type and, right below, a docstring."""
    for field, said in itertools.pairwise(tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else ()):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(said, ast.Expr):
            text = said.value.value if isinstance(said.value, ast.Constant) else None
            if isinstance(text, str):
                yield field.target.id, inspect.cleandoc(text)


def hashed_settings(settings: BaseModel) -> dict[str, Any]:
    """The settings that decide what is computed, for a fingerprint; those declared by `unhashed`, and by
    `added` as long as they are at their defaults, are left out."""
    result: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if is_unhashed(field) or (is_added(field) and value == field.default):
            continue
        result[name] = hashed_settings(value) if isinstance(value, BaseModel) else value
    return result
