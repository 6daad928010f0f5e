"""The given model as the first checkpoint."""

from collections.abc import Iterator, Sequence

from selfimprove.records import OF_BASE, Checkpoint
from selfimprove.stages.base import SHOWN, Desk, NoSettings, Stage


def find_base(_: Sequence[object], desk: Desk[NoSettings]) -> Iterator[Checkpoint]:
    """The model that the recipe names, with the hash of its weights; of an adapter with the model under it."""
    from selfimprove.engines.model_files import read_base
    from selfimprove.engines.model_folders import resolve_folder
    from selfimprove.engines.tensors import hash_weights

    path = str(desk.model.path)
    folder = resolve_folder(path)
    under = read_base(folder)
    if under is not None:
        desk.note(OF_BASE, hash_weights(resolve_folder(under)))
    yield Checkpoint(path=path, method="base", weights=hash_weights(folder), base=under)


BASE = Stage(
    name="base",
    version=1,
    settings=NoSettings,
    writes=Checkpoint,
    reads=lambda round: [round.problems],
    run=find_base,
    uses=SHOWN,
    when="first",
    optional=False,
    starts=True,
    trains="policy",
)
