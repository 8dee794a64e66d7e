"""The layers of the backbone over the tokens of one turn (``backbone.Block``), and what they see in the rings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from microturn.model.kernels.basics import (
    NEVER,
    ONE,
    ZERO,
    Floats,
    Ints,
    added,
    exp,
    gated,
    kernel,
    product,
    room,
    scaled,
    softmax,
)

# Shapes: R rows, N tokens of all rows, D width, L layers, H heads, G key-value heads, E head dimension, C ring places.


class ReadingArrays(NamedTuple):
    """The parameters of the backbone's layers, one layer after the other."""

    attention_norm: Floats
    qkv: Floats
    query_norm: Floats
    key_norm: Floats
    out: Floats
    experts_norm: Floats
    router: Floats
    balance: Floats
    shared_gate_up: Floats
    shared_out: Floats
    gate_up: Floats
    down: Floats


class Ring(NamedTuple):
    """What the backbone remembers (``memory.MemoryState``), and how much of it is seen."""

    keys_RLGCE: Floats
    values_RLGCE: Floats
    region_C: Ints
    turn_RC: Ints
    ordinal_RC: Ints
    limit_3: Ints
    """Tokens of each region that are seen; turns, of media."""


class Angles(NamedTuple):
    """Cosines and sines of the backbone's rotations: by a key's age, by a token's slot."""

    age_cos: Floats
    age_sin: Floats
    slot_cos: Floats
    slot_sin: Floats


class Batch(NamedTuple):
    """One turn's tokens of all rows, one row after the other."""

    row_N: Ints
    region_N: Ints
    turn_N: Ints
    ordinal_N: Ints
    slot_N: Ints
    place_N: Ints
    """Where in the rings they go."""
    count_N3: Ints
    """Tokens of every region up to each token."""
    first_R: Ints
    """Where a row's tokens begin, and at last how many there are; (R + 1,)."""


@kernel
def _seen(batch: Batch, ring: Ring, row: int) -> tuple[Ints, Ints]:
    """Ring places that the first of a row's tokens sees, and how old what is there looks. (Each further token sees the
    same ones but for the oldest: ``_attend``.)"""
    first = batch.first_R[row]
    if first == batch.first_R[row + 1]:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.empty(ring.region_C.shape[0], np.int64)
    ages = np.empty(ring.region_C.shape[0], np.int64)
    count = 0
    for place in range(ring.region_C.shape[0]):
        ordinal, region = ring.ordinal_RC[row, place], ring.region_C[place]
        if ordinal == 0:
            continue
        age = batch.turn_N[first] - ring.turn_RC[row, place]
        newer = age if region == 0 else batch.count_N3[first, region] - ordinal
        if newer < ring.limit_3[region]:
            places[count] = place
            ages[count] = min(max(age, 0), ring.limit_3[0])
            count += 1
    return places[:count], ages[:count]


@kernel
def _attend(
    batch: Batch,
    ring: Ring,
    layer: int,
    row: int,
    places: Ints,
    ages: Ints,
    angles: Angles,
    queries_NHE: Floats,
    keys_NGE: Floats,
    values_NGE: Floats,
    attended_NHE: Floats,
) -> None:
    """What a row's new tokens see in the ring and in each other."""
    first, last = batch.first_R[row], batch.first_R[row + 1]
    tokens, past = last - first, len(places)
    heads, dim = queries_NHE.shape[1], queries_NHE.shape[2]
    groups = keys_NGE.shape[1]
    shared = heads // groups
    half = angles.age_cos.shape[1]
    scores = np.empty((tokens, shared, past + tokens), np.float32)
    turned = np.empty(dim, np.float32)
    for group in range(groups):
        for j in range(past):
            key = ring.keys_RLGCE[row, layer, group, places[j]]
            cos, sin = angles.age_cos[ages[j]], angles.age_sin[ages[j]]
            for i in range(half):
                turned[i] = key[i] * cos[i] + key[half + i] * sin[i]
                turned[half + i] = key[half + i] * cos[i] - key[i] * sin[i]
            turned[2 * half :] = key[2 * half :]
            region = ring.region_C[places[j]]
            ordinal = ring.ordinal_RC[row, places[j]]
            for token in range(tokens):
                gone = region != 0 and batch.count_N3[first + token, region] - ordinal >= ring.limit_3[region]
                for head in range(shared):
                    query = queries_NHE[first + token, group * shared + head]
                    score = ZERO
                    for i in range(dim):
                        score += query[i] * turned[i]
                    scores[token, head, j] = NEVER if gone else score
        for token in range(tokens):
            for other in range(tokens):
                region = batch.region_N[first + other]
                newer = batch.count_N3[first + token, region] - batch.ordinal_N[first + other]
                gone = other > token or (other != token and region != 0 and newer >= ring.limit_3[region])
                for head in range(shared):
                    query, key = queries_NHE[first + token, group * shared + head], keys_NGE[first + other, group]
                    score = ZERO
                    for i in range(dim):
                        score += query[i] * key[i]
                    scores[token, head, past + other] = NEVER if gone else score
            for head in range(shared):
                softmax(scores[token, head])
        for token in range(tokens):
            for head in range(shared):
                out = attended_NHE[first + token, group * shared + head]
                out[:] = ZERO
                for j in range(past):
                    value = ring.values_RLGCE[row, layer, group, places[j]]
                    for i in range(dim):
                        out[i] += scores[token, head, j] * value[i]
                for other in range(token + 1):
                    value = values_NGE[first + other, group]
                    for i in range(dim):
                        out[i] += scores[token, head, past + other] * value[i]


@kernel
def _turned_by_slot(x_E: Floats, start: int, cos: Floats, sin: Floats) -> None:
    half = cos.shape[0]
    for i in range(start, start + half):
        low, high = x_E[i], x_E[half + i]
        x_E[i] = low * cos[i - start] - high * sin[i - start]
        x_E[half + i] = high * cos[i - start] + low * sin[i - start]


@kernel
def _experts(x_ND: Floats, normed_ND: Floats, tokens: int, w: ReadingArrays, index: int, top_k: int) -> None:
    """Add the shared expert and the best ``top_k`` others to ``x`` (``moe.MixtureOfExperts``)."""
    experts = w.router.shape[1]
    added(x_ND, gated(normed_ND, w.shared_gate_up[index]), w.shared_out[index])
    affinity = np.empty((normed_ND.shape[0], experts), np.float32)
    product(normed_ND, w.router[index], affinity)
    gate = np.zeros((tokens, experts), np.float32)
    for n in range(tokens):
        total = ZERO
        for x in range(experts):
            affinity[n, x] = ONE / (ONE + exp(-affinity[n, x]))
        for _ in range(top_k):
            best, most = 0, NEVER
            for x in range(experts):
                if gate[n, x] == ZERO and affinity[n, x] + w.balance[index, x] > most:
                    best, most = x, affinity[n, x] + w.balance[index, x]
            gate[n, best] = affinity[n, best]
            total += affinity[n, best]
        for x in range(experts):
            if experts == 1:
                gate[n, x] = ONE
            elif top_k > 1:
                gate[n, x] /= total
    for x in range(experts):
        chosen = np.nonzero(gate[:, x])[0]
        if len(chosen) == 0:
            continue
        mine = room(len(chosen), x_ND.shape[1])
        for place in range(len(chosen)):
            mine[place] = normed_ND[chosen[place]]
        y = np.zeros_like(mine)
        added(y, gated(mine, w.gate_up[index, x]), w.down[index, x])
        for place in range(len(chosen)):
            for i in range(x_ND.shape[1]):
                x_ND[chosen[place], i] += gate[chosen[place], x] * y[place, i]


@kernel
def read(
    x_ND: Floats,
    batch: Batch,
    w: ReadingArrays,
    norm: Floats,
    ring: Ring,
    angles: Angles,
    top_k: int,
) -> Floats:
    """All layers of the backbone over one turn's tokens, normed. Their keys and values go into the rings, where what
    is there so far does not see them."""
    tokens = x_ND.shape[0]
    x = room(tokens, x_ND.shape[1])
    x[:tokens] = x_ND
    normed = np.zeros_like(x)
    groups, dim = ring.keys_RLGCE.shape[2], ring.keys_RLGCE.shape[4]
    heads = w.out.shape[2] // dim
    attended = room(tokens, heads * dim)
    qkv = np.empty((x.shape[0], (heads + 2 * groups) * dim), np.float32)
    rows = len(batch.first_R) - 1
    seen = [_seen(batch, ring, row) for row in range(rows)]
    slot_from = 2 * angles.age_cos.shape[1]
    for index in range(len(w.qkv)):
        for n in range(tokens):
            scaled(x[n], w.attention_norm[index], normed[n])
        product(normed, w.qkv[index], qkv)
        parts = qkv.reshape(qkv.shape[0], heads + 2 * groups, dim)
        for n in range(tokens):
            cos, sin = angles.slot_cos[batch.slot_N[n]], angles.slot_sin[batch.slot_N[n]]
            for part in range(heads + groups):
                scaled(parts[n, part], w.query_norm[index] if part < heads else w.key_norm[index], parts[n, part])
                _turned_by_slot(parts[n, part], slot_from, cos, sin)
        queries, keys, values = parts[:, :heads], parts[:, heads : heads + groups], parts[:, heads + groups :]
        by_head = attended.reshape(attended.shape[0], heads, dim)
        for row in range(rows):
            _attend(batch, ring, index, row, seen[row][0], seen[row][1], angles, queries, keys, values, by_head)
        for n in range(tokens):
            ring.keys_RLGCE[batch.row_N[n], index, :, batch.place_N[n]] = keys[n]
            ring.values_RLGCE[batch.row_N[n], index, :, batch.place_N[n]] = values[n]
        added(x, attended, w.out[index])
        for n in range(tokens):
            scaled(x[n], w.experts_norm[index], normed[n])
        _experts(x, normed, tokens, w, index, top_k)
    for n in range(tokens):
        scaled(x[n], norm, normed[n])
    return normed[:tokens]
