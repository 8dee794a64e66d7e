"""Law 1: a whole session and its turns one by one give the same numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from microturn.model.config import MemoryConfig
from microturn.model.hearing import initial_hearing_state, turn_levels
from microturn.model.turns import Kind, Sound, Source
from tests.parity.small import as_turns, random_row, small_network, stream, whole_hidden

WITHIN: dict[str, Any] = {"atol": 1e-5, "rtol": 0.0}
MEMORIES = {
    "both edges": MemoryConfig(window_turns=5, text_tokens=8, pinned_tokens=2),
    "media alone": MemoryConfig(window_turns=9, text_tokens=500, pinned_tokens=500),
    "text alone": MemoryConfig(window_turns=100, text_tokens=20, pinned_tokens=3),
    "no edge": MemoryConfig(window_turns=100, text_tokens=500, pinned_tokens=100),
}


@pytest.mark.parametrize("compiled", [True, False], ids=["kernels", "torch"])
@pytest.mark.parametrize("num_experts", [1, 4])
@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES.keys())
def test_turns_one_by_one_give_what_whole_sessions_give(memory: MemoryConfig, num_experts: int, compiled: bool) -> None:
    """Rows of different length that skip at random, with gaps, pictures, and text of every source."""
    rng = np.random.default_rng(num_experts)
    network = small_network(memory, num_experts=num_experts)
    rows = [random_row(rng, num_turns) for num_turns in (28, 19, 7)]
    turns = as_turns(rows)
    assert {*turns.kind_BT[turns.valid_BT].tolist()} == {*Kind}
    assert {*turns.source_BT[turns.valid_BT].tolist()} == {*Source}
    whole = whole_hidden(network, turns)
    for row, streamed in enumerate(stream(network, rows, rng, compiled=compiled)):
        torch.testing.assert_close(streamed, whole[row, : len(streamed)], **WITHIN)


@pytest.mark.parametrize("memory", [MEMORIES["both edges"], MEMORIES["no edge"]], ids=["both edges", "no edge"])
def test_a_larger_network_streams_too(memory: MemoryConfig) -> None:
    """Size 3 shares key-value heads between its heads."""
    rng = np.random.default_rng(5)
    network = small_network(memory, size=3)
    rows = [random_row(rng, 20) for _ in range(2)]
    whole = whole_hidden(network, as_turns(rows))
    for row, streamed in enumerate(stream(network, rows)):
        torch.testing.assert_close(streamed, whole[row, : len(streamed)], **WITHIN)


def test_training_with_a_drawn_memory_is_streaming_with_that_memory() -> None:
    drawn = MemoryConfig(window_turns=4, text_tokens=10, pinned_tokens=2)
    row = random_row(np.random.default_rng(6), 24)
    whole = whole_hidden(small_network(), as_turns([row]), memory=drawn)
    torch.testing.assert_close(stream(small_network(drawn), [row])[0], whole[0], **WITHIN)


@pytest.mark.parametrize(
    "shorter",
    [
        MemoryConfig(window_turns=4, text_tokens=500, pinned_tokens=100),
        MemoryConfig(window_turns=100, text_tokens=6, pinned_tokens=100),
        MemoryConfig(window_turns=100, text_tokens=500, pinned_tokens=1),
    ],
    ids=["media", "text", "pinned"],
)
def test_each_edge_of_the_memory_is_really_there(shorter: MemoryConfig) -> None:
    """A memory with one region shorter gives the same numbers at first and others in the end."""
    row = random_row(np.random.default_rng(7), 30)
    long = whole_hidden(small_network(MEMORIES["no edge"]), as_turns([row]))[0]
    short = whole_hidden(small_network(shorter), as_turns([row]))[0]
    assert torch.equal(long[:3], short[:3])
    assert (long[-20:] - short[-20:]).abs().max() > 1e-3


def test_hearing_turn_by_turn_is_hearing_in_one_piece() -> None:
    """Sound, gaps longer than the window, and chunks of any number of turns."""
    rng = np.random.default_rng(8)
    hearing = small_network().hearing
    rows = [random_row(rng, 60) for _ in range(3)]
    rows[1].sound[10:40] = Sound.GAP
    turns = as_turns(rows)
    arrived = turns.sound_BU != Sound.GAP
    levels = turns.levels_BUFM * arrived[:, :, None, None]
    state = initial_hearing_state(hearing.config, len(rows))
    with torch.inference_mode():
        whole, probed, last = hearing(turn_levels(levels), arrived, state, 2)
        parts, first = [], 0
        while first < 60:
            several = slice(first, first + int(rng.integers(1, 5)))
            part, _, state = hearing(turn_levels(levels[:, several]), arrived[:, several], state)
            parts.append(part)
            first = several.stop
    assert probed is not None and probed.shape == whole.shape
    torch.testing.assert_close(torch.cat(parts, 1), whole, **WITHIN)
    for (name, one), (_, other) in zip(state.named(), last.named(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=name)


def test_sound_reaches_the_backbone() -> None:
    """The numbers of law 1 depend on what they ought to depend on."""
    network = small_network()
    row = random_row(np.random.default_rng(9), 12)
    assert row.levels is not None
    before = whole_hidden(network, as_turns([row]))[0]
    now = np.flatnonzero(row.tokens[:, 0] == Kind.NOW)
    turn = next(turn for turn in range(12) if row.sound[turn] != Sound.GAP)
    changed = row.levels.copy()
    changed[turn] = 15 - changed[turn]
    after = whole_hidden(network, as_turns([replace(row, levels=changed)]))[0]
    assert torch.equal(before[: now[turn]], after[: now[turn]])
    assert (before[now[turn]] - after[now[turn]]).abs().max() > 1e-3
