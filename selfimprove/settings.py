"""What all settings share: unknown keys are errors, and some settings say only how fast a run goes."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def unhashed(default: Any, description: str) -> Any:
    """Declare a setting that changes how fast a run goes, or what is measured beside, and not what its records hold: it
    may change between starts."""
    return Field(default, description=description, json_schema_extra={"hashed": False})


def added(default: Any) -> Any:
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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


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
