"""Laws 1, 2 and 4: a whole session and its turns one by one give the same numbers, and a turn's cost is bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from microturn.model import layout
from microturn.model.config import MemoryConfig, ModelConfig
from microturn.model.layout import Kind
from microturn.model.model import Network
from microturn.model.sequence import LastWords, SequenceBuilder, stack_rows
from microturn.model.state import BackboneState, initial_backbone_state

CPU = torch.device("cpu")
VOCAB = 300


@dataclass
class Turn:
    """The tokens of one turn: those that come in together and those that are decoded one by one."""

    inputs: SequenceBuilder
    outputs: list[tuple[Kind, int, int]]


def random_turns(rng: np.random.Generator, num_turns: int) -> list[Turn]:
    """Turns with gaps, own voice, typed text, pictures and words at random."""
    turns = []
    end = layout.END_START
    last = LastWords()
    for turn in range(num_turns):
        builder = SequenceBuilder(last)
        builder.add_inputs(
            turn,
            end,
            rng.integers(0, 16, (20, 80)).astype(np.uint8) if rng.random() < 0.4 else None,
            rng.integers(0, 4 * VOCAB, int(rng.integers(0, 4)) if rng.random() < 0.3 else 0).tolist(),
            rng.integers(0, 256, (4, 40, 40, 6)).astype(np.uint8) if rng.random() < 0.3 else None,
            rng.integers(0, 16, (30, 80)).astype(np.uint8) if rng.random() < 0.8 else None,
        )
        heard, said = (int(rng.integers(0, 3)) if rng.random() < 0.5 else 0 for _ in range(2))
        outputs = [(Kind.HEAR, layout.SLOT_HEAR + i, int(rng.integers(VOCAB))) for i in range(heard)]
        outputs += [(Kind.SAY, layout.SLOT_SAY + i, int(rng.integers(VOCAB))) for i in range(said)]
        turns.append(Turn(builder, outputs))
        last = builder.last
        after = SequenceBuilder(builder.last)
        for kind, slot, payload in outputs:
            after.add(kind, turn, slot, payload)
        last = after.last
        end = int(rng.integers(0, 2))
    return turns


def whole_row(turns: list[Turn]) -> SequenceBuilder:
    row = SequenceBuilder()
    for number, turn in enumerate(turns):
        for name in ("kinds", "turns", "slots", "payloads", "heard", "said", "reply", "age", "audio", "own", "patches"):
            getattr(row, name).extend(getattr(turn.inputs, name))
        row.last = turn.inputs.last
        for kind, slot, payload in turn.outputs:
            row.add(kind, number, slot, payload)
    return row


def small_network(size: int, window_turns: int, text_tokens: int, num_experts: int = 4) -> Network:
    torch.manual_seed(0)
    memory = MemoryConfig(window_turns=window_turns, text_tokens=text_tokens)
    network = Network(ModelConfig.of_size(size, vocab_size=VOCAB, num_experts=num_experts, memory=memory)).eval()
    for parameter in network.parameters():
        if not parameter.any() and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)  # starts at zero, which would hide what it reads
    return network


class Streamer:
    """Feeds rows of turns into a state, forward pass by forward pass, and keeps each token's hidden state."""

    def __init__(self, network: Network, num_rows: int) -> None:
        self.network = network
        self.state: BackboneState = initial_backbone_state(network.config, num_rows, CPU, torch.float32)
        self.hidden: list[list[Tensor]] = [[] for _ in range(num_rows)]
        self.last = [LastWords() for _ in range(num_rows)]

    def step(self, turns: list[Turn | None], numbers: list[int]) -> None:
        """One turn of each row; rows with ``None`` skip."""
        self._forward([SequenceBuilder() if turn is None else turn.inputs for turn in turns])
        for index in range(max(len(turn.outputs) if turn else 0 for turn in turns)):
            builders = []
            for row, (turn, number) in enumerate(zip(turns, numbers, strict=True)):
                builder = SequenceBuilder(self.last[row])
                if turn is not None and index < len(turn.outputs):
                    kind, slot, payload = turn.outputs[index]
                    builder.add(kind, number, slot, payload)
                builders.append(builder)
            self._forward(builders)

    def _forward(self, builders: list[SequenceBuilder]) -> None:
        if not any(len(builder) for builder in builders):
            return
        with torch.inference_mode():
            hidden = self.network(stack_rows(builders, CPU), None, self.state)
        for row, builder in enumerate(builders):
            self.hidden[row].extend(hidden[row, : len(builder)])
            self.last[row] = builder.last if len(builder) else self.last[row]


def whole_hidden(network: Network, rows: list[list[Turn]]) -> Tensor:
    with torch.inference_mode():
        hidden: Tensor = network(stack_rows([whole_row(turns) for turns in rows], CPU))
    return hidden


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("num_experts", [1, 4])
@pytest.mark.parametrize(("window_turns", "text_tokens"), [(5, 8), (9, 40), (100, 500)])
def test_streamed_equals_whole(size: int, num_experts: int, window_turns: int, text_tokens: int) -> None:
    """Rows that skip steps, with gaps, across both edges of the memory."""
    rng = np.random.default_rng(size)
    network = small_network(size, window_turns, text_tokens, num_experts)
    rows = [random_turns(rng, 24) for _ in range(3)]
    whole = whole_hidden(network, rows)
    streamer = Streamer(network, len(rows))
    done = [0, 0, 0]
    while min(done) < 24:
        go = [done[row] < 24 and rng.random() < 0.7 for row in range(3)]
        streamer.step([rows[row][done[row]] if go[row] else None for row in range(3)], done)
        done = [number + go[row] for row, number in enumerate(done)]
    for row in range(3):
        streamed = torch.stack(streamer.hidden[row])
        torch.testing.assert_close(streamed, whole[row, : len(streamed)], atol=2e-5, rtol=1e-4)


def test_reset_row_is_a_fresh_session() -> None:
    """Resetting a row gives what a new session gives, and leaves its neighbour alone."""
    rng = np.random.default_rng(3)
    network = small_network(1, 6, 10)
    before, fresh, neighbour = random_turns(rng, 12), random_turns(rng, 12), random_turns(rng, 24)
    streamer = Streamer(network, 2)
    for number in range(12):
        streamer.step([before[number], neighbour[number]], [number, number])
    streamer.state.reset([0])
    streamer.hidden[0].clear()
    streamer.last[0] = LastWords()
    for number in range(12):
        streamer.step([fresh[number], neighbour[12 + number]], [number, 12 + number])
    whole = whole_hidden(network, [fresh, neighbour])
    for row in range(2):
        streamed = torch.stack(streamer.hidden[row])
        torch.testing.assert_close(streamed, whole[row, : len(streamed)], atol=2e-5, rtol=1e-4)


def test_later_turns_change_nothing_earlier() -> None:
    """Law 2, causality: another ending leaves the earlier hidden states bit for bit."""
    rng = np.random.default_rng(4)
    network = small_network(1, 6, 10)
    start, one, other = random_turns(rng, 10), random_turns(rng, 5), random_turns(rng, 5)

    def shifted(turns: list[Turn]) -> list[Turn]:
        for turn in turns:
            turn.inputs.turns = [10 + number for number in turn.inputs.turns]
        return turns

    length = len(whole_row(start))
    first = whole_hidden(network, [start + shifted(one)])[0, :length]
    second = whole_hidden(network, [start + shifted(other)])[0, :length]
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-6)


def test_window_matters() -> None:
    """The same session with a shorter memory gives other numbers: the edge is really there."""
    turns = random_turns(np.random.default_rng(5), 20)
    long, short = small_network(1, 50, 500), small_network(1, 4, 500)
    short.load_state_dict(long.state_dict())
    one, other = whole_hidden(long, [turns]), whole_hidden(short, [turns])
    early = sum(len(turn.inputs) + len(turn.outputs) for turn in turns[:4])
    torch.testing.assert_close(one[0, :early], other[0, :early], atol=1e-5, rtol=1e-4)
    assert (one[0, early:] - other[0, early:]).abs().max() > 0.05


def test_hour_old_text_is_text_of_the_window_age() -> None:
    """Law 4: what is remembered does not depend on how long ago beyond the window it was (but for rounding)."""
    network = small_network(1, 4, 500)
    rng = np.random.default_rng(6)
    first = random_turns(rng, 1)[0]
    first.outputs = [(Kind.HEAR, layout.SLOT_HEAR, 5), (Kind.SAY, layout.SLOT_SAY, 7)]
    later = random_turns(rng, 1)[0]
    results = []
    for number in (10, 18_000):
        streamer = Streamer(network, 1)
        streamer.step([first], [0])
        shifted = SequenceBuilder()
        for name in ("kinds", "slots", "payloads", "heard", "said", "reply", "age", "audio", "own", "patches"):
            setattr(shifted, name, getattr(later.inputs, name))
        shifted.turns = [number] * len(later.inputs)
        streamer.step([Turn(shifted, [])], [number])
        results.append(torch.stack(streamer.hidden[0][-len(later.inputs) :]))
    torch.testing.assert_close(results[0], results[1], atol=2e-5, rtol=1e-4)


def test_memory_is_constant() -> None:
    """Law 4: the state's size after many turns is that of the first."""
    network = small_network(1, 6, 10)
    rng = np.random.default_rng(7)
    streamer = Streamer(network, 1)
    size = streamer.state.num_bytes()
    shapes = [key.shape for key in streamer.state.keys]
    for number, turn in enumerate(random_turns(rng, 200)):
        streamer.step([turn], [number])
    assert streamer.state.num_bytes() == size
    assert [key.shape for key in streamer.state.keys] == shapes
