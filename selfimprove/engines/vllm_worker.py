"""What runs inside vLLM's workers, which may be other processes: new weights for a model that is already there.

vLLM takes the class by its name (`worker_extension_cls`) and mixes it into its worker; it needs nothing of vLLM to be
imported.
"""

from typing import Any


class WeightsExtension:
    """The calls that a worker answers beside its own; reached through `collective_rpc`."""

    reload_weights: Any  # the worker's own
    model_runner: Any

    def serve_weights(self, folder: str) -> None:
        """Load a checkpoint of the same shape from a folder; the caller clears the prefix cache afterwards."""
        self.reload_weights(weights_path=folder)
        self._repack_head()

    def _repack_head(self) -> None:
        """Pack the head's weights again, on a CPU.

        vLLM multiplies with a packed copy there. Its reload packs the layers that own weights; a head that is tied to
        the embedding owns none and would go on with the old copy (vLLM 0.32).
        """
        import torch
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
        from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

        with torch.inference_mode():
            for module in self.model_runner.get_model().modules():
                if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
                    dispatch_cpu_unquantized_gemm(module, remove_weight=False)
