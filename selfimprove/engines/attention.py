"""Attention for decoding: what rows of a batch begin with is held once, and keys and values are never repeated.

It is registered with transformers (`AttentionInterface`), and a model's own code calls it. The heads that share a
key-value head are computed as rows of one product (grouped queries: Ainslie et al. 2023). A row attends to what it
shares with others and to its own keys apart, and the two are joined by the logarithms of their sums, which is exact
(Juravsky et al. 2024, Hydragen, section 3.1; Dao et al. 2022, FlashAttention, section 3.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.utils import logging

from selfimprove.engines.cache import new_cache

NAME = "shared_prefix"
TOGETHER = 256  # tokens whose queries are computed at a time, on the places up to the last of them
MAX_SCORES = 1 << 25  # held at once where no kernel computes them in blocks
ALTERING = ("s_aux", "position_bias", "head_mask", "cache")  # arguments of other kinds of attention
TOLERANCE = 1e-3  # of the largest logit; half precision rounds at each step
HALF_TOLERANCE = 0.05


class UnsupportedAttentionError(Exception):
    """A model asks for a kind of attention that is not computed here."""


@dataclass(frozen=True)
class Span:
    """Rows `start` to `stop` of a batch begin with the one row of `prefix`, which holds `length` positions."""

    start: int
    stop: int
    length: int
    prefix: Cache


@dataclass
class Sharing:
    """What a call of the model is told about its batch; `positions` [rows, tokens] are those of the queries."""

    spans: Sequence[Span] = ()
    positions: torch.Tensor | None = None
    biases: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)  # equal in many layers


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sharing: Sharing | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **given: object,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: queries [rows, heads, tokens, size], keys [rows, fewer heads, places, size].

    Without `sharing` it is transformers' own. Raises UnsupportedAttentionError.
    """
    if sharing is None:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
            sliding_window=sliding_window, softcap=softcap, **given,
        )  # fmt: skip
        return found
    if any(given.get(name) is not None for name in ALTERING):
        raise UnsupportedAttentionError("an attention with sinks or biases")
    rows, heads, tokens, size = query.shape
    groups = heads // key.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    out, total = _attend_own(query, key, value, attention_mask, sharing, scale, softcap)
    asked = query.reshape(rows, key.shape[1], groups * tokens, size) if sharing.spans else query
    for span in sharing.spans:
        some = slice(span.start, span.stop)
        joined = _attend_prefix(module, asked[some], span, sharing, groups, scale, sliding_window, softcap)
        if joined is not None:
            share = torch.sigmoid(joined[1] - total[some])[..., None].to(out.dtype)
            out[some] = torch.lerp(out[some], joined[0], share)
    out = out.view(rows, key.shape[1], groups, tokens, value.shape[-1]).permute(0, 3, 1, 2, 4)
    return out.reshape(rows, tokens, heads, value.shape[-1]), None


def _attend_own(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    sharing: Sharing,
    scale: float,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The queries of all rows on their own keys: where nothing is padded, not on those that none of a part can see."""
    rows, heads, tokens, size = query.shape
    fewer, after = key.shape[1], key.shape[2] - tokens
    step = TOGETHER if mask is None else tokens
    parts = []
    for start in range(0, tokens, step):
        some = query[:, :, start : start + step]
        seen = after + start + some.shape[2]
        part = key[:, :, :seen], value[:, :, :seen]
        bias = None if mask is None and tokens == 1 else _make_bias(sharing, mask, some, part[0])
        asked = some.reshape(rows, fewer, heads // fewer * some.shape[2], size)
        parts.append(_attend_part(asked, *part, bias, scale, softcap))
    if len(parts) == 1:
        return parts[0]
    outs = [out.view(rows, fewer, heads // fewer, -1, value.shape[-1]) for out, _ in parts]
    totals = [total.reshape(rows, fewer, heads // fewer, -1) for _, total in parts]
    return torch.cat(outs, dim=3).flatten(2, 3), torch.cat(totals, dim=3).flatten(2, 3)


def _attend_prefix(
    module: torch.nn.Module,
    asked: torch.Tensor,
    span: Span,
    sharing: Sharing,
    groups: int,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The queries of all rows of a span on what they share; None where a sliding window has left it behind."""
    layer: Any = span.prefix.layers[module.layer_idx]
    rows, heads, each, size = asked.shape
    first, bias = 0, None
    if window is not None:
        assert sharing.positions is not None
        at = sharing.positions[span.start : span.stop]
        first = max(0, int(at.min()) - window + 1)
        if first >= span.length:
            return None
        if int(at.max()) >= window:  # [rows, tokens, places], in the order of the queries
            seen = torch.arange(first, span.length, device=at.device) > at[..., None] - window
            seen = seen[:, None].expand(rows, groups, *seen.shape[1:]).reshape(1, 1, rows * each, -1)
            bias = _fill(seen, asked.dtype)
    key = layer.keys[:, :, first : span.length]
    value = layer.values[:, :, first : span.length]
    together = asked.transpose(0, 1).reshape(1, heads, rows * each, size)
    out, total = _attend_part(together, key, value, bias, scale, softcap)
    out = out.view(heads, rows, each, value.shape[-1]).transpose(0, 1)
    return out, total.view(heads, rows, each).transpose(0, 1)


def _fill(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores: finite, so that a row that sees nothing, as padding does, is no NaN."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def _make_bias(sharing: Sharing, mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """A mask [rows, 1, tokens, places] for the queries of a group one after the other, made once for all layers.

    Without a mask the tokens are the last of the places, and each sees those before it.
    """
    made = (0 if mask is None else mask.data_ptr(), key.shape[2])
    if made not in sharing.biases:
        if mask is None:
            tokens, places = query.shape[2], key.shape[2]
            mask = torch.ones((1, 1, tokens, places), dtype=torch.bool, device=key.device).tril(places - tokens)
        if mask.dtype != torch.bool:
            raise UnsupportedAttentionError("a mask of numbers")
        sharing.biases[made] = _fill(mask, query.dtype).repeat(1, 1, query.shape[1] // key.shape[1], 1)
    return sharing.biases[made]


def _attend_part(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over some keys, and the logarithm of its sum of exponentials [rows, heads, queries]."""
    if query.device.type == "cpu" and softcap is None and query.shape[-1] == value.shape[-1]:
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=bias, scale=scale
        )
        return found[0], found[1]
    step = max(1, MAX_SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    parts = []
    for start in range(0, query.shape[2], step):
        scores = torch.matmul(query[:, :, start : start + step] * scale, key.transpose(-1, -2)).float()
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        if bias is not None:
            scores = scores + bias[:, :, start : start + step]
        total = scores.logsumexp(-1)
        weights = scores.sub_(total[..., None]).exp_().to(value.dtype)
        parts.append((torch.matmul(weights, value), total))
    if len(parts) == 1:
        return parts[0]
    return torch.cat([one for one, _ in parts], dim=2), torch.cat([one for _, one in parts], dim=2)


def use_shared_attention(model: Any) -> str | None:
    """Have a model compute its attention by `attend`, and try it; gives why it cannot, with the model as it was.

    Tokens after a shared beginning must have the logits that the model's own definition ("eager") gives them. In half
    precision they may have those of its "sdpa" instead: where "eager" rounds more than "sdpa", the two can differ by
    more than the tolerance, as in Gemma 3 270M.
    """
    own = model.config._attn_implementation
    text = model.config.get_text_config()
    if own != "sdpa":
        return f"its attention is '{own}'"
    kinds = set(getattr(text, "layer_types", None) or ())
    if strange := sorted(kinds - {"full_attention", "sliding_attention"}):
        return f"its layers are '{strange[0]}'"
    if getattr(text, "attention_chunk_size", None):
        return "its attention is cut into chunks"
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        reason = _try_attention(model)
    except (UnsupportedAttentionError, RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = f"it cannot be tried: {type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"
    finally:
        logging.set_verbosity(level)
    if reason is not None:
        model.set_attn_implementation(own)
    return reason


def _try_attention(model: Any) -> str | None:
    half, text = 6, model.config.get_text_config()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, text.vocab_size, (2, 2 * half), generator=generator)
    ids[:, :half] = ids[0, :half]
    ids = ids.to(model.device)
    exact = model.dtype == torch.float32
    definitions = []
    for name in ("eager",) if exact else ("eager", "sdpa"):
        model.set_attn_implementation(name)
        definitions.append(model(input_ids=ids, use_cache=False).logits[:, half:].float())
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        return "its attention is its own"
    layers = text.num_hidden_layers
    prefix = new_cache(layers, half)
    model(input_ids=ids[:1, :half], past_key_values=prefix, use_cache=True, sharing=Sharing())
    positions = torch.arange(half, 2 * half, device=ids.device).expand(2, half)
    found = model(
        input_ids=ids[:, half:],
        position_ids=positions,
        past_key_values=new_cache(layers, half),
        use_cache=True,
        sharing=Sharing([Span(0, 2, half, prefix)], positions),
    ).logits.float()
    finite = [one for one in definitions if one.isfinite().all()] or definitions  # float16 may overflow in one alone
    difference = min(float((found - one).abs().max() / one.abs().max().clamp(min=1e-6)) for one in finite)
    tolerance = TOLERANCE if exact else HALF_TOLERANCE
    return None if difference <= tolerance else f"its logits differ by {difference:.2g} of the largest"
