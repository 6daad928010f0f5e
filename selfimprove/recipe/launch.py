"""Which processes train: what an accelerate config file says, read before anything is started."""

from dataclasses import dataclass
from pathlib import Path

from selfimprove.errors import RecipeError
from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.yaml import read_document

SHARDED = ("FSDP", "DEEPSPEED")  # no process holds whole matrices


@dataclass(frozen=True)
class Launch:
    """A config file of `accelerate launch`, its `distributed_type`, and the number of processes."""

    config: Path
    kind: str
    processes: int

    @property
    def sharded(self) -> bool:
        return self.kind in SHARDED


def read_launch(name: str | None, processes: int | None) -> Launch:
    """The file of that name or path, with `processes` in place of its own; without a name the plainest that will do.

    Raises RecipeError where there is no such file, or it is not one that training here can be started with.
    """
    if name is None:
        name = "ddp" if (processes or 1) > 1 else "one-gpu"
    path = find_policy("accelerate", name)
    data = read_document(path).data
    kind = str(data.get("distributed_type", "NO")).strip("'")
    known = ("NO", "MULTI_GPU", "MULTI_CPU", *SHARDED)
    if kind not in known:
        raise RecipeError(f"{path}: distributed_type '{kind}' is not one of {', '.join(known)}")
    count = processes or data.get("num_processes", 1)
    if not isinstance(count, int) or count < 1:
        raise RecipeError(f"{path}: num_processes should be a number of processes, not {count!r}")
    if kind == "NO" and count > 1:
        raise RecipeError(f"{path}: is for one process and not for {count}; name 'ddp', 'fsdp' or 'zero3'")
    return Launch(path, kind, count)
