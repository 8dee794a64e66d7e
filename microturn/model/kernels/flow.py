"""The Euler steps of the flow head (``flow.FlowHead``)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from microturn.model.kernels.basics import ONE, ZERO, Floats, gelu, kernel, linear, softmax

# Shapes: S speaking turns, P Euler steps, N tokens of all turns, T tokens of one, F mel frames or flow width, M bands,
# I inputs.


class FlowArrays(NamedTuple):
    """Weights and biases of the flow head's blocks, one block after the other."""

    modulate: Floats
    modulate_bias: Floats
    qkv: Floats
    qkv_bias: Floats
    out: Floats
    out_bias: Floats
    up: Floats
    up_bias: Floats
    down: Floats
    down_bias: Floats


@kernel
def _layer_normed(x: Floats, scale: Floats, shift: Floats, y: Floats) -> None:
    """LayerNorm of one vector, then ``(1 + scale)`` times it and ``shift``."""
    width = np.float32(x.shape[0])
    mean, variance = ZERO, ZERO
    for i in range(x.shape[0]):
        mean += x[i]
    mean /= width
    for i in range(x.shape[0]):
        variance += (x[i] - mean) * (x[i] - mean)
    factor = ONE / np.sqrt(variance / width + np.float32(1e-5))
    for i in range(x.shape[0]):
        y[i] = (x[i] - mean) * factor * (ONE + scale[i]) + shift[i]


@kernel
def _flow_attend(qkv_TI: Floats, heads: int, attended_TF: Floats) -> None:
    """Attention of all tokens of one turn to each other."""
    tokens, width = qkv_TI.shape[0], qkv_TI.shape[1] // 3
    dim = width // heads
    scores = np.empty(tokens, np.float32)
    for head in range(heads):
        for token in range(tokens):
            q = qkv_TI[token, head * dim : (head + 1) * dim]
            for other in range(tokens):
                k = qkv_TI[other, width + head * dim : width + (head + 1) * dim]
                score = ZERO
                for i in range(dim):
                    score += q[i] * k[i]
                scores[other] = score * np.float32(dim**-0.5)
            softmax(scores)
            out = attended_TF[token, head * dim : (head + 1) * dim]
            out[:] = ZERO
            for other in range(tokens):
                v = qkv_TI[other, 2 * width + head * dim : 2 * width + (head + 1) * dim]
                for i in range(dim):
                    out[i] += scores[other] * v[i]


@kernel
def _flow_block(x_NF: Floats, condition_SF: Floats, tokens: int, heads: int, w: FlowArrays, index: int) -> None:
    width = x_NF.shape[1]
    change = linear(condition_SF, w.modulate[index], w.modulate_bias[index])
    normed = np.empty_like(x_NF)
    for n in range(x_NF.shape[0]):
        by = change[n // tokens]
        _layer_normed(x_NF[n], by[width : 2 * width], by[:width], normed[n])
    qkv = linear(normed, w.qkv[index], w.qkv_bias[index])
    attended = np.empty_like(x_NF)
    for turn in range(condition_SF.shape[0]):
        _flow_attend(qkv[turn * tokens : (turn + 1) * tokens], heads, attended[turn * tokens : (turn + 1) * tokens])
    result = linear(attended, w.out[index], w.out_bias[index])
    for n in range(x_NF.shape[0]):
        by = change[n // tokens]
        for i in range(width):
            x_NF[n, i] += (ONE + by[2 * width + i]) * result[n, i]
        _layer_normed(x_NF[n], by[4 * width : 5 * width], by[3 * width : 4 * width], normed[n])
    inner = linear(normed, w.up[index], w.up_bias[index])
    for n in range(inner.shape[0]):
        for i in range(inner.shape[1]):
            inner[n, i] = gelu(inner[n, i])
    result = linear(inner, w.down[index], w.down_bias[index])
    for n in range(x_NF.shape[0]):
        by = change[n // tokens]
        for i in range(width):
            x_NF[n, i] += (ONE + by[5 * width + i]) * result[n, i]


@kernel
def flow(
    noisy_SFM: Floats,
    coarse_SFM: Floats,
    features_NF: Floats,
    before_NF: Floats,
    condition_PSF: Floats,
    heads: int,
    least_left: float,
    noisy_in: Floats,
    noisy_in_bias: Floats,
    out: Floats,
    out_bias: Floats,
    w: FlowArrays,
) -> Floats:
    """Euler steps (P) from noise to frames. ``features`` of the new tokens (place included) and ``before``, the
    embedded tokens of the last turn, are the same in all of them."""
    steps, turns, width = condition_PSF.shape
    tokens = features_NF.shape[0] // turns
    values = noisy_SFM.size // (turns * tokens)
    frames = noisy_SFM.copy().reshape(turns * tokens, values)
    coarse = coarse_SFM.reshape(turns * tokens, values)
    given = np.empty((turns * tokens, 2 * values), np.float32)
    given[:, values:] = coarse
    x = np.empty((turns, 2 * tokens, width), np.float32)
    new = np.empty((turns * tokens, width), np.float32)
    none = np.zeros(width, np.float32)
    for step in range(steps):
        given[:, :values] = frames
        now = linear(given, noisy_in, noisy_in_bias)
        for turn in range(turns):
            for token in range(tokens):
                x[turn, token] = before_NF[turn * tokens + token]
                x[turn, tokens + token] = now[turn * tokens + token] + features_NF[turn * tokens + token]
        flat = x.reshape(turns * 2 * tokens, width)
        for index in range(len(w.qkv)):
            _flow_block(flat, condition_PSF[step], 2 * tokens, heads, w, index)
        for turn in range(turns):
            for token in range(tokens):
                _layer_normed(x[turn, tokens + token], none, none, new[turn * tokens + token])
        change = linear(new, out, out_bias)
        left = np.float32(max(1.0 - step / steps, least_left) * steps)
        for n in range(turns * tokens):
            for i in range(values):
                frames[n, i] += (coarse[n, i] + change[n, i] - frames[n, i]) / left
    return frames.reshape(noisy_SFM.shape)
