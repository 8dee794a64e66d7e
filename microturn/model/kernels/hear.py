"""The ear and the layers of the hearing stack over one turn (``hearing.HearingLayer``)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from microturn.model.kernels.basics import (
    ZERO,
    Floats,
    Ints,
    added,
    gated,
    gelu,
    kernel,
    product,
    room,
    scaled,
    silu,
    softmax,
)

# Shapes: R rows, N tokens of all rows, I inputs, O outputs, D width, L layers, H heads, E head dimension, W remembered
# tokens, K kernel, C channels, F frames, M bands.


@kernel
def convolved(
    x_BCFM: Floats, weight_OI: Floats, bias_O: Floats, sides: tuple[int, int], strides: tuple[int, int], margin: int
) -> Floats:
    """GELU of a convolution over frames and bands, zeros beside the bands: a product of all patches."""
    rows, channels, frames, bands = x_BCFM.shape
    steps, places = (frames - sides[0]) // strides[0] + 1, (bands + 2 * margin - sides[1]) // strides[1] + 1
    y = np.empty((rows, weight_OI.shape[0], steps, places), np.float32)
    patches = room(steps * places, weight_OI.shape[1])
    result = np.empty((patches.shape[0], weight_OI.shape[0]), np.float32)
    for row in range(rows):
        for step in range(steps):
            for place in range(places):
                patch = patches[step * places + place]
                i = 0
                for channel in range(channels):
                    for frame in range(step * strides[0], step * strides[0] + sides[0]):
                        first = place * strides[1] - margin
                        for band in range(first, first + sides[1]):
                            patch[i] = x_BCFM[row, channel, frame, band] if 0 <= band < bands else ZERO
                            i += 1
        product(patches, weight_OI, result)
        for step in range(steps):
            for place in range(places):
                for o in range(weight_OI.shape[0]):
                    y[row, o, step, place] = gelu(result[step * places + place, o] + bias_O[o])
    return y


class HearingArrays(NamedTuple):
    """The parameters of the hearing layers, one layer after the other."""

    attention_norm: Floats
    qkv: Floats
    query_norm: Floats
    key_norm: Floats
    attended: Floats
    mix_norm: Floats
    mix: Floats
    mixed: Floats
    feed_norm: Floats
    gate_up: Floats
    out: Floats


@kernel
def _hear_attend(
    qkv: Floats, keys_WHE: Floats, values_WHE: Floats, known: int, query: int, cos_WE: Floats, sin_WE: Floats, y: Floats
) -> None:
    """What the ``query``-th of the new tokens (qkv: those up to it) sees of the past and of the new ones, by heads."""
    past, heads, dim = keys_WHE.shape
    half = dim // 2
    first = max(past - known, query)
    scores = np.empty(past + query + 1 - first, np.float32)
    for head in range(heads):
        q = qkv[query, head * dim : (head + 1) * dim]
        for place in range(first, past + query + 1):
            if place < past:
                k = keys_WHE[place, head]
            else:
                k = qkv[place - past, (heads + head) * dim : (heads + head + 1) * dim]
            cos, sin = cos_WE[past + query - place], sin_WE[past + query - place]
            score = ZERO
            for i in range(half):
                score += (q[i] * cos[i] - q[half + i] * sin[i]) * k[i]
                score += (q[half + i] * cos[i] + q[i] * sin[i]) * k[half + i]
            scores[place - first] = score * np.float32(dim**-0.5)
        softmax(scores)
        out = y[head * dim : (head + 1) * dim]
        out[:] = ZERO
        for place in range(first, past + query + 1):
            if place < past:
                v = values_WHE[place, head]
            else:
                v = qkv[place - past, (2 * heads + head) * dim : (2 * heads + head + 1) * dim]
            for i in range(dim):
                out[i] += scores[place - first] * v[i]


@kernel
def hear(
    x_ND: Floats,
    w: HearingArrays,
    norm: Floats,
    keys_RLWHE: Floats,
    values_RLWHE: Floats,
    mixed_RLKD: Floats,
    count_R: Ints,
    cos_WE: Floats,
    sin_WE: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:
    """All layers of the hearing stack over one turn's tokens of R rows; normed states, and what is remembered now."""
    rows, _, past, heads, dim = keys_RLWHE.shape
    tokens = x_ND.shape[0] // rows
    width, inside = x_ND.shape[1], heads * dim
    x = room(rows * tokens, width)
    x[: rows * tokens] = x_ND
    normed = np.zeros_like(x)
    attended = room(rows * tokens, inside)
    qkv = np.empty((x.shape[0], 3 * inside), np.float32)
    keys, values, mixed = np.empty_like(keys_RLWHE), np.empty_like(values_RLWHE), np.empty_like(mixed_RLKD)
    kernel_past = mixed_RLKD.shape[2]
    inputs = np.empty((kernel_past + tokens, width), np.float32)
    for index in range(len(w.qkv)):
        for n in range(rows * tokens):
            scaled(x[n], w.attention_norm[index], normed[n])
        product(normed, w.qkv[index], qkv)
        for row in range(rows):
            own = qkv[row * tokens : (row + 1) * tokens]
            for token in range(tokens):
                for head in range(heads):
                    q = own[token, head * dim : (head + 1) * dim]
                    scaled(q, w.query_norm[index], q)
                    k = own[token, (heads + head) * dim : (heads + head + 1) * dim]
                    scaled(k, w.key_norm[index], k)
                _hear_attend(
                    own, keys_RLWHE[row, index], values_RLWHE[row, index], count_R[row], token, cos_WE, sin_WE,
                    attended[row * tokens + token],
                )  # fmt: skip
            keys[row, index, : past - tokens] = keys_RLWHE[row, index, tokens:]
            values[row, index, : past - tokens] = values_RLWHE[row, index, tokens:]
            for token in range(tokens):
                keys[row, index, past - tokens + token] = own[token, inside : 2 * inside].copy().reshape(heads, dim)
                values[row, index, past - tokens + token] = own[token, 2 * inside :].copy().reshape(heads, dim)
        added(x, attended, w.attended[index])
        for row in range(rows):
            inputs[:kernel_past] = mixed_RLKD[row, index]
            for token in range(tokens):
                scaled(x[row * tokens + token], w.mix_norm[index], inputs[kernel_past + token])
            for token in range(tokens):
                for i in range(width):
                    total = ZERO
                    for place in range(kernel_past + 1):
                        total += inputs[token + place, i] * w.mix[index, place, i]
                    normed[row * tokens + token, i] = silu(total)
            mixed[row, index] = inputs[tokens:]
        added(x, normed, w.mixed[index])
        for n in range(rows * tokens):
            scaled(x[n], w.feed_norm[index], normed[n])
        added(x, gated(normed, w.gate_up[index]), w.out[index])
    for n in range(rows * tokens):
        scaled(x[n], norm, normed[n])
    return normed[: rows * tokens], keys, values, mixed
