"""A key-value cache that is allocated once, shared between the samples of a prompt, and shrinks as rows finish."""

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class BufferLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values [rows, heads, capacity, size] with a fill level, instead of a copy each step.

    It holds all positions, also for sliding-window layers: the mask that the model builds hides what is too old.
    """

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        def empty(like: torch.Tensor) -> torch.Tensor:
            rows, heads, _, size = like.shape
            return like.new_empty((rows, heads, self.capacity, size))

        self.keys, self.values = empty(key_states), empty(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows: torch.Tensor, capacity: int) -> "BufferLayer":
        """A copy that holds the given rows (repeated ones too) with room for `capacity` positions."""
        copy = BufferLayer(capacity)
        like = (len(rows), -1, -1, -1)
        copy.lazy_initialization(self.keys[:1].expand(like), self.values[:1].expand(like))
        copy.keys[:, :, : self.length] = self.keys[rows, :, : self.length]
        copy.values[:, :, : self.length] = self.values[rows, :, : self.length]
        copy.length = self.length
        return copy

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


def new_cache(layers: int, capacity: int) -> Cache:
    """An empty cache for a model with this many layers."""
    return Cache(layers=[BufferLayer(capacity) for _ in range(layers)])


def select_rows(cache: Cache, rows: torch.Tensor, capacity: int) -> Cache:
    """A cache of the given rows with room for `capacity` positions."""
    return Cache(layers=[layer.select(rows, capacity) for layer in cache.layers])
