"""What a record is.

Records are frozen, their ids are hashes of their content, and `parents` is the only place where
provenance is stored: from any record the way back to the problem is a walk over `parents`.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from selfimprove.settings import is_added, is_unhashed

ID_LENGTH = 20  # hex digits, 80 bits: a billion records collide with a chance under one in a million

Outcome = Literal["correct", "incorrect", "undecided"]
Origin = Literal["sampled", "rationalized", "revised"]
Role = Literal["policy", "reward", "judge"]
"""What a checkpoint is for. Only what a policy was trained on counts as trained."""
INT32 = "int32"  # marks integers that are stored in 32 bits
TokenIds = tuple[Annotated[int, Field(ge=0, lt=1 << 31), INT32], ...]
"""The tokens of a text, by their numbers in a model's vocabulary."""
KINDS: dict[str, type["Record"]] = {}
"""Every kind of record that is known, by name."""


def digest(*parts: object) -> str:
    """Hash JSON-able values into a hex id of `ID_LENGTH` digits."""
    return hash_text(json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def hash_text(text: str) -> str:
    """Hash a text into a hex id of `ID_LENGTH` digits."""
    return hash_bytes(text.encode())


def hash_bytes(data: bytes) -> str:
    """Hash bytes into a hex id of `ID_LENGTH` digits."""
    return hashlib.blake2b(data, digest_size=ID_LENGTH // 2).hexdigest()


def derive_seed(*parts: object) -> int:
    """Derive a 63-bit seed from values, so that a sample's draw depends on what it is and not on when it ran."""
    return int(digest(*parts)[:16], 16) >> 1


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 and so Parquet cannot hold, by U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


class Record(BaseModel):
    """One row of a run; equal content means equal id.

    A field that came later is declared by `added`: at its default it is left out of the id, so that older records keep
    theirs. One that says no more than the others do, in another form, is declared by `unhashed` and is never in the id.
    A kind of another package is registered by its class alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    kind: ClassVar[str]
    _added: ClassVar[tuple[str, ...]] = ()
    _unhashed: ClassVar[frozenset[str]] = frozenset()

    parents: tuple[str, ...] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]{0,60}", cls.kind):
            raise TypeError(f"'{cls.kind}' is no name of a kind of records: small letters, digits and _, up to 61")
        there = KINDS.setdefault(cls.kind, cls)
        if (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"two kinds of records are called '{cls.kind}': {there.__module__} and {cls.__module__}")
        KINDS[cls.kind] = cls
        cls._unhashed = frozenset(name for name, field in cls.model_fields.items() if is_unhashed(field))
        cls._added = tuple(name for name, field in cls.model_fields.items() if is_added(field))

    @cached_property
    def id(self) -> str:
        return hash_text(f"{self.kind}\0{self.model_dump_json(exclude=self._left_out())}")

    def _left_out(self) -> set[str] | None:
        if not self._added and not self._unhashed:
            return None
        fields = type(self).model_fields
        return {*self._unhashed, *(name for name in self._added if getattr(self, name) == fields[name].default)} or None


AnyRecord = TypeVar("AnyRecord", bound=Record)


def by_id(records: Iterable[AnyRecord]) -> dict[str, AnyRecord]:
    """Index records by their ids."""
    return {record.id: record for record in records}
