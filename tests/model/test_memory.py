"""What a token may see, against loops; the rings of a session; and what stays in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from microturn.model.config import MemoryConfig
from microturn.model.memory import MEDIA, PINNED, TEXT, MemoryState, initial_memory, places_of, region_sizes, visible
from microturn.model.turns import SLOT_TEXT_IN, End, Kind, Source, Turns, input_tokens
from microturn.train.batch import Row
from tests.model.test_lanes import sequences, turns_of
from tests.parity.small import Streamer, random_row, small_network

memories = st.builds(
    MemoryConfig, window_turns=st.integers(1, 12), text_tokens=st.integers(1, 8), pinned_tokens=st.integers(1, 4)
)


def slow_region(kind: int, source: int) -> int:
    if kind in (Kind.NOW, Kind.PATCH):
        return MEDIA
    return PINNED if (kind, source) == (Kind.TEXT_IN, Source.INSTRUCTIONS) else TEXT


def slow_visible(turns: Turns, row: int, memory: MemoryConfig) -> list[list[bool]]:
    """For all pairs of a row's tokens that are in order: is the second seen from the first?"""
    columns = (turns.kind_BT, turns.source_BT, turns.turn_BT)
    found = [tuple(token) for token in torch.stack(columns, -1)[row][turns.valid_BT[row]].tolist()]
    regions = [slow_region(kind, source) for kind, source, _ in found]
    limit = {TEXT: memory.text_tokens, PINNED: memory.pinned_tokens}
    table = []
    for query, (_, _, now) in enumerate(found):
        seen = []
        for key, (_, _, then) in enumerate(found[: query + 1]):
            newer = regions[key + 1 : query + 1].count(regions[key])
            seen.append(now - then < memory.window_turns if regions[key] == MEDIA else newer < limit[regions[key]])
        table.append(seen)
    return table


@given(st.lists(sequences, min_size=1, max_size=3).filter(any), memories)
def test_visible_against_loops(rows: list[list[tuple[Kind, Source, int, int]]], memory: MemoryConfig) -> None:
    turns = turns_of(rows)
    places, count = places_of(turns, torch.zeros(len(rows), 3, dtype=torch.int64))
    mask = visible(places, count, places, memory)
    for row in range(len(rows)):
        for query, seen in enumerate(slow_visible(turns, row, memory)):
            assert mask[row, query, : query + 1].tolist() == seen
    assert not mask.transpose(1, 2)[~turns.valid_BT].any(), "nobody sees padding"


@given(sequences.filter(bool), st.integers(1, 23), memories)
def test_places_go_on_after_those_before(
    row: list[tuple[Kind, Source, int, int]], cut: int, memory: MemoryConfig
) -> None:
    """A sequence cut in two, with the counts handed over, has the places of the sequence in one piece."""
    turns = turns_of([row])
    cut = min(cut, len(row))
    parts = [
        Turns(**{name: value[:, some] if name.endswith("_BT") else value for name, value in vars(turns).items()})
        for some in (slice(0, cut), slice(cut, None))
    ]
    zero = torch.zeros(1, 3, dtype=torch.int64)
    whole, count = places_of(turns, zero)
    first, count_first = places_of(parts[0], zero)
    second, _ = places_of(parts[1], count_first[:, -1])
    assert torch.equal(torch.cat([first.ordinal_BT, second.ordinal_BT], 1), whole.ordinal_BT)
    assert torch.equal(count[:, cut - 1], count_first[:, -1])


SHORT = MemoryConfig(window_turns=4, text_tokens=12, pinned_tokens=3)
NUM_INSTRUCTIONS = 3


def typing(num_turns: int) -> Row:
    """Instructions in the first turn, then 16 typed words a turn."""
    rng = np.random.default_rng(0)
    row = random_row(rng, num_turns)
    tokens = []
    for turn in range(num_turns):
        source, count = (Source.INSTRUCTIONS, NUM_INSTRUCTIONS) if turn == 0 else (Source.TYPED, 16)
        texts = [(source, int(word)) for word in rng.integers(0, 300, count)]
        tokens += [
            (*token[:3], turn, token[3]) for token in input_tokens(texts, 0, [], End.START if turn == 0 else End.LISTEN)
        ]
    return replace(row, tokens=np.array(tokens, np.int64), patches=[])


def test_instructions_stay_after_thousands_of_other_tokens() -> None:
    """They are seen to the end; all that is older than the newest text leaves no bit behind where it lay."""
    network = small_network(SHORT)
    num_turns = 150
    row = typing(num_turns)
    assert (row.tokens[:, 0] == Kind.TEXT_IN).sum() > 2_000
    streamer = Streamer(network, 1)
    for turn in range(num_turns - 1):
        streamer.step([row], [turn])
    memory, lanes, hearing = streamer.memory, streamer.lanes, streamer.hearing
    count = memory.count_R3[0]
    assert count[PINNED] == NUM_INSTRUCTIONS
    pinned = (memory.region_RC[0] == PINNED) & (memory.ordinal_RC[0] > 0)
    newest = (memory.region_RC[0] == TEXT) & (memory.ordinal_RC[0] > count[TEXT] - SHORT.text_tokens)
    media = (memory.region_RC[0] == MEDIA) & (memory.turn_RC[0] > num_turns - 1 - SHORT.window_turns)
    assert pinned.sum() == NUM_INSTRUCTIONS and newest.sum() == SHORT.text_tokens

    def last(places: torch.Tensor) -> torch.Tensor:
        """The last turn, with what is remembered at ``places`` changed."""
        streamer.memory, streamer.lanes, streamer.hearing = _disturbed(memory, places), lanes, hearing
        streamer.hidden = [[]]
        streamer.step([row], [num_turns - 1])
        return torch.stack(streamer.hidden[0])

    nothing = torch.zeros_like(pinned)
    usual = last(nothing)
    assert torch.equal(usual, last(~(pinned | newest | media))), "what is forgotten does not matter"
    for name, places in (("pinned", pinned), ("newest", newest), ("media", media)):
        assert (usual - last(places)).abs().max() > 1e-3, name


def _disturbed(memory: MemoryState, places_C: torch.Tensor) -> MemoryState:
    """The memory with other keys and values at some places."""

    def change(ring: torch.Tensor) -> torch.Tensor:
        ring = ring.clone()
        ring[..., places_C, :] = ring[..., places_C, :].flip(-1) + 1.0
        return ring

    return replace(memory, keys_RLGCE=change(memory.keys_RLGCE), values_RLGCE=change(memory.values_RLGCE))


def test_rings_hold_what_is_seen_and_one_turn_more() -> None:
    network = small_network(SHORT)
    media, text, pinned = region_sizes(network.config)
    assert media >= SHORT.window_turns * (1 + network.config.num_patches)
    assert text > SHORT.text_tokens and pinned > SHORT.pinned_tokens
    state = initial_memory(network.config, 2)
    assert state.turn_RC.shape == (2, media + text + pinned)
    assert not state.ordinal_RC.any(), "nothing is seen before anything was met"


def test_a_step_leaves_what_the_memory_before_it_can_see() -> None:
    """The rings are shared; a turn after which one goes back must have taken no place that is still seen."""
    network = small_network(SHORT)
    row = typing(12)
    streamer = Streamer(network, 1)
    for turn in range(10):
        streamer.step([row], [turn])
    kept = streamer.memory, streamer.lanes, streamer.hearing
    results = []
    for _ in range(2):
        streamer.memory, streamer.lanes, streamer.hearing = kept
        streamer.hidden = [[]]
        streamer.step([row], [10])
        results.append(torch.stack(streamer.hidden[0]))
    assert torch.equal(*results)
    assert SLOT_TEXT_IN + 15 in row.tokens[:, 4], "a turn with as much text as there can be"
