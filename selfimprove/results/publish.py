"""A checkpoint for others: weights, tokenizer and a card, and the rows that it was trained on with a card of theirs."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.shareable import find_licence, write_adapter, write_whole
from selfimprove.errors import ModelError, SelfImproveError, StoreError
from selfimprove.records import Checkpoint
from selfimprove.results.card_facts import Facts, read_facts
from selfimprove.results.cards import data_card, model_card
from selfimprove.results.traces import export_rows
from selfimprove.running.find_model import find_checkpoint
from selfimprove.store import RunFolder
from selfimprove.store.parts import named_errors
from selfimprove.store.query import Query
from selfimprove.store.weights import locate_weights

MODEL, DATA = "model", "data"
HUB_NAME = r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?"


@dataclass(frozen=True)
class Wish:
    """What is to be published, and how."""

    target: str
    """A run, or a round of one."""
    to: Path
    runs: Path
    adapter: bool = False
    base: str | None = None
    """The name under which others find the base model."""
    licence: str | None = None
    control: str | None = None
    data: bool = True
    upload: str | None = None
    """The hub's name for it, `owner/name`."""
    public: bool = False


def publish(wish: Wish) -> list[str]:
    """Write the folder, and put it on the hub where that is asked for; what was done, a line each.

    Raises SelfImproveError before anything is written where it cannot be done.
    """
    if not wish.to.name or (wish.to.exists() and (not wish.to.is_dir() or any(wish.to.iterdir()))):
        raise StoreError(f"{wish.to}: is there already; name a folder that is not")
    if wish.base is not None and not re.fullmatch(HUB_NAME, wish.base):
        raise SelfImproveError(f"--base {wish.base[:200]}: a name on the hub is 'owner/name'")
    if wish.upload:
        check_reachable(wish.upload)
    folder, checkpoint = _find(wish.target, wish.runs)
    weights = locate_weights(folder, checkpoint.path)
    base = None if checkpoint.base is None else str(locate_weights(folder, checkpoint.base))
    facts = _read(wish, folder, checkpoint)
    name = (wish.upload or facts.name).rpartition("/")[2]
    making = wish.to.with_name(f".{wish.to.name}.making")
    with named_errors(wish.to):
        shutil.rmtree(making, ignore_errors=True)
        (making / MODEL).mkdir(parents=True)
        try:
            if wish.adapter:
                write_adapter(weights, _resolvable(facts), making / MODEL)
            else:
                write_whole(weights, base, facts.recipe.model.dtype, making / MODEL)
            card = model_card(facts, adapter=wish.adapter, title=name)
            (making / MODEL / "README.md").write_text(card, encoding="utf-8")
            files = _write_data(folder, facts, making / DATA, f"{name}-data") if wish.data else {}
            if wish.to.exists():
                wish.to.rmdir()
            making.rename(wish.to)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return [*_describe(wish, facts, files), *(upload(wish.upload, wish.to, wish.public) if wish.upload else ())]


def _find(target: str, runs: Path) -> tuple[RunFolder, Checkpoint]:
    found = find_checkpoint(target, runs)
    if found is None:
        raise SelfImproveError(f"{target}: no run in {runs}/, nor a round of one such as mine/round-02")
    return found


def _read(wish: Wish, folder: RunFolder, checkpoint: Checkpoint) -> Facts:
    control = None
    if wish.control:
        other = _find(wish.control, wish.runs)
        control = read_facts(*other)
    path = folder.recipe().model.path
    licence = wish.licence
    if licence is None and path:
        try:
            licence = find_licence(resolve_folder(path))
        except ModelError:  # the base is not at hand any more; its licence is then not known
            licence = None
    return read_facts(folder, checkpoint, base=wish.base, licence=licence, control=control)


def _resolvable(facts: Facts) -> str:
    """The base's name on the hub; raises ModelError where others could not find it."""
    if "/" not in facts.base:
        raise ModelError(
            f"--adapter: its base is the local folder '{facts.base}', which nobody else can load; name it as it is "
            "called on the hub (--base owner/name), or leave --adapter out for merged weights"
        )
    return facts.base


def _write_data(folder: RunFolder, facts: Facts, out: Path, title: str) -> dict[str, int]:
    """The trained rows, each kind in a file, and their card; nothing where nothing was trained."""
    kinds = dict.fromkeys(one["kind"] for one in facts.rows)
    if not kinds:
        return {}
    out.mkdir()
    query = Query(folder)
    files = {f"{kind}.parquet": export_rows(query, out / f"{kind}.parquet", kind, None) for kind in kinds}
    (out / "README.md").write_text(data_card(facts, files, title=title), encoding="utf-8")
    return files


def _describe(wish: Wish, facts: Facts, files: dict[str, int]) -> list[str]:
    what = "an adapter" if wish.adapter else "whole weights"
    lines = [f"{wish.to / MODEL}: {what}, tokenizer, generation configuration and the model's card"]
    if files:
        rows = ", ".join(f"{count:,} rows in {name}" for name, count in files.items())
        lines.append(f"{wish.to / DATA}: {rows}, with a card")
    if not facts.licence and not facts.built:
        lines.append("the licence of the base model is not known: look it up, and say it by --license")
    return lines


# --- the hub -----------------------------------------------------------------------------------------------------


def check_reachable(name: str) -> None:
    """Raise SelfImproveError where nothing can be put on the hub from here."""
    from huggingface_hub import constants

    if "/" not in name or not re.fullmatch(HUB_NAME, name):
        raise SelfImproveError(f"--upload {name[:200]}: a name on the hub is 'owner/name'")
    if constants.is_offline_mode():
        raise SelfImproveError(
            f"--upload {name}: HF_HUB_OFFLINE is set; unset it, or leave --upload out and put the folder there later"
        )


def upload(name: str, folder: Path, public: bool) -> list[str]:
    """Put the model and its data on the hub, by default for oneself alone; raises SelfImproveError."""
    from huggingface_hub import HfApi

    api = HfApi()
    lines = []
    for kind, part, repo in (("model", MODEL, name), ("dataset", DATA, f"{name}-data")):
        if not (folder / part).is_dir():
            continue
        try:
            api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
            address = api.upload_folder(repo_id=repo, repo_type=kind, folder_path=folder / part)
        except Exception as error:  # the hub's client raises dozens of types for "not reachable" and "not allowed"
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise SelfImproveError(f"--upload {repo}: {reason}; the folder {folder} is complete") from None
        lines.append(f"{repo}: {address}")
    return lines
