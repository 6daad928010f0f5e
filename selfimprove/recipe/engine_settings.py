"""Who writes the text, and on which machines: none of these settings changes what a run is."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from selfimprove.recipe.catalog import Named
from selfimprove.settings import Settings, Share, unhashed

Size = Annotated[str, Field(pattern=r"^[0-9]+[KMG]$")]


class VllmSettings(Settings):
    """vLLM in this process."""

    memory: Share = unhashed(0.9, "the share of the GPU's memory that it takes (vLLM: gpu_memory_utilization)")
    cache: Size | None = unhashed(None, "the size of the key-value cache, such as 512M or 8G, instead of that share")
    max_length: PositiveInt | None = unhashed(
        None, "the longest prompt and completion together; by default the model's own limit"
    )
    gpus: PositiveInt = unhashed(1, "GPUs that one copy of the model is spread over (tensor parallel)")
    eager: bool | None = unhashed(None, "do not compile; by default it compiles on a GPU only")


class ServerSettings(Settings):
    """OpenAI-compatible servers: given by address, or started here."""

    urls: tuple[str, ...] = unhashed((), "addresses of servers, such as http://127.0.0.1:8000/v1")
    start: NonNegativeInt = unhashed(0, "start n vLLM servers on this machine, one per GPU, instead of 'urls'")
    model: str | None = unhashed(None, "the model's name on the servers; by default the first that they list")
    key: str | None = unhashed(None, "the environment variable that holds the servers' key; its value is never stored")
    concurrency: PositiveInt = unhashed(64, "requests at a time to each server")
    timeout: PositiveFloat = unhashed(600.0, "seconds that one request may take")
    patience: PositiveFloat = unhashed(600.0, "seconds to wait while no server answers at all")


class EngineSettings(Settings):
    """Who writes the text."""

    name: Annotated[str, Named("engine", ("transformers", "vllm", "server"))] = unhashed(
        "transformers", "transformers and vllm work in this process, server asks OpenAI-compatible servers"
    )
    batch_size: PositiveInt | Literal["auto"] = unhashed(
        64,
        "rows decoded together by transformers, and what a kill can cost; `auto` for as many as fit the free memory; "
        "vLLM decides by itself",
    )
    threads: PositiveInt | None = unhashed(None, "CPU threads of generation and training; by default torch decides")
    canary: bool = unhashed(
        True, "compare log-probabilities of a fixed text with transformers whenever vLLM or a server takes new weights"
    )
    token_logprobs: bool = unhashed(
        False, "keep how likely each sampled token was, a number for each, for the viewer to show by colour"
    )
    vllm: VllmSettings = VllmSettings()
    """Settings of the engine vllm."""
    server: ServerSettings = ServerSettings()
    """Settings of the engine server."""
    options: dict[str, JsonValue] = unhashed({}, "settings of an engine that an extension declares")


class Ray(Settings):
    """The cluster over which `--on ray` spreads a run."""

    address: str | None = unhashed(
        None,
        "`auto` or host:port of a running cluster; by default Ray is started on this machine and stopped afterwards",
    )
    workers: PositiveInt | None = unhashed(None, "processes that load the model; by default as many as fit")
    verifiers: PositiveInt | None = unhashed(
        None, "processes of stages without a model; by default as many as `workers`"
    )
    cpus: PositiveFloat = unhashed(1.0, "CPUs that a worker reserves")
    gpus: NonNegativeFloat | None = unhashed(
        None, "GPUs that a worker with a model reserves; by default 1 if there are any"
    )
