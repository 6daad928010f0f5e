"""The order in which a round's rationales are decided on, and where it can be cut."""

from collections.abc import Iterable, Mapping
from itertools import pairwise, starmap
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selfimprove.records import Rationale, Record
from selfimprove.store.columns import first_items
from selfimprove.store.join import Judged
from selfimprove.store.rows import Places, Rows

AnyRecord = TypeVar("AnyRecord", bound=Record)
Ordinals: TypeAlias = Places
"""Places in the order, and not in the files."""


class Order:
    """A round's rationales, those written with a hint after all others, by columns alone.

    What is decided on one of them may follow from earlier ones of the same kin: of its own problem, which several
    stages may write for, and of problems that are asked in the same words.
    """

    def __init__(self, rationales: Rows[Rationale], kin: Mapping[str, int]) -> None:
        """`kin` is by problem: a number that problems asked in the same words share."""
        import pyarrow.compute as pc  # takes a while, and few rounds are cut

        asked: list[pa.Array] = []
        hinted: list[pa.Array] = []
        for batch in rationales.batches(["parents", "origin"]):
            asked.append(first_items(batch.column(0)))
            hinted.append(pc.equal(batch.column(1), "rationalized"))
        coded = pa.chunked_array(asked, pa.string()).combine_chunks().dictionary_encode()
        last = pa.chunked_array(hinted, pa.bool_()).to_numpy()
        self._names = coded.dictionary
        numbers = [kin.get(name, hash(name)) for name in self._names.to_pylist()]  # who reads it misses the problem
        kin_of = np.unique(np.array(numbers, np.int64), return_inverse=True)[1]
        self.problem_of: npt.NDArray[np.int32] = coded.indices.to_numpy()
        """By place: the number of the problem."""
        self._places: Places = np.concatenate([np.flatnonzero(~last), np.flatnonzero(last)])
        self._kin = kin_of[self.problem_of][self._places]
        self.unhinted = int(len(last) - last.sum())
        """So many come before those with a hint."""

    def cut(self, size: int) -> list[range]:
        """Ordinals in parts of about `size`, neighbours of the same problem in one where there is room, and a last part
        for what was written with a hint, which may be empty. Every process cuts alike."""
        count = max(1, round(self.unhinted / size))
        borders = np.flatnonzero(np.diff(self.problem_of[self._places[: self.unhinted]])) + 1
        ends = []
        for wanted in (self.unhinted * at // count for at in range(1, count)):
            at = int(np.searchsorted(borders, wanted))
            near = int(borders[at]) if at < len(borders) else self.unhinted
            ends.append(near if near < wanted + size / 2 else wanted)
        cuts = [*dict.fromkeys((0, *ends, self.unhinted))]
        return [*starmap(range, pairwise(cuts)), range(self.unhinted, len(self._places))]

    def with_kin(self, part: range) -> Ordinals:
        """A part after all earlier rationales from which something follows for it."""
        mine = np.zeros(int(self._kin.max(initial=0)) + 1, bool)
        mine[self._kin[part.start : part.stop]] = True
        earlier = np.flatnonzero(mine[self._kin[: part.start]])
        return np.concatenate([earlier, np.arange(part.start, part.stop)])

    def places(self, ordinals: Ordinals) -> Places:
        """Where these lie, in the order of the files."""
        return np.sort(self._places[ordinals])

    def problems(self, places: Places) -> set[str]:
        """The problems of the rationales at these places."""
        return {*self._names.take(pa.array(np.unique(self.problem_of[places]))).to_pylist()}

    def count_right(self, judged: Judged) -> dict[str, tuple[int, int]]:
        """The right samples and the decided ones of each problem, of those that were sampled without a hint."""
        import pyarrow.compute as pc

        sampled = [pc.equal(one.column(0), "sampled") for one in judged.rationales.batches(["origin"])]
        sampled_ = pa.chunked_array(sampled, pa.bool_())
        outcomes = judged.outcomes()

        def count(which: Any) -> list[int]:
            chosen = self.problem_of[pc.fill_null(pc.and_(sampled_, which), False).to_numpy()]
            found: list[int] = np.bincount(chosen, minlength=len(self._names)).tolist()
            return found

        right, decided = count(pc.equal(outcomes, "correct")), count(pc.not_equal(outcomes, "undecided"))
        rows = zip(self._names.to_pylist(), right, decided, strict=True)
        return {name: (one, all_) for name, one, all_ in rows if all_}


class ByValue(Generic[AnyRecord]):
    """Rows that are found by the value of a column; of the others no more is kept than a hash."""

    def __init__(self, rows: Rows[AnyRecord], column: str) -> None:
        self._rows = rows
        self._hashes = np.fromiter(map(hash, rows.values(column)), np.int64, len(rows))

    def find(self, values: Iterable[str]) -> Rows[AnyRecord]:
        """The rows with one of these values, and as good as none besides."""
        wanted = np.array([*{hash(one) for one in values}], np.int64)
        return self._rows.at(np.flatnonzero(np.isin(self._hashes, wanted)))
