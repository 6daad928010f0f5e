"""What runs inside the workers of a vLLM server that takes new weights while it lives, and says which it serves."""

import os
from typing import Any

from selfimprove.engines.vllm_worker import WeightsExtension

WEIGHTS = "SELFIMPROVE_WEIGHTS"  # the variable with the name of the weights that a server is started with


class ServedWeights(WeightsExtension):
    """The calls of `WeightsExtension` for a server, whose weights have a name: the hash of their tensors.

    A server that was started again has forgotten what it was given, and its name says so.
    """

    def serve_named(self, folder: str, name: str) -> dict[str, object]:
        """Load a checkpoint of the same shape; half-way through, no name is right."""
        self.served_name = ""
        self.serve_weights(folder)
        self.served_name, self.served_folder = name, folder
        return self.served_weights()

    def served_weights(self) -> dict[str, Any]:
        """The name of what is served, and the folder where it was not the first one."""
        name = getattr(self, "served_name", os.environ.get(WEIGHTS, ""))
        return {"weights": name, "folder": getattr(self, "served_folder", "")}
