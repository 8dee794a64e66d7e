"""Small models of random weights for the laws, and made-up sessions for them, as rows of training and as inputs.

Nothing in the weights is zero, and the models hear words, say some, and speak and listen in turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from microturn.errors import InputError
from microturn.language.tokenizer import default_tokenizer
from microturn.media.mel import MEL_BANDS, TURN_FRAMES
from microturn.model.config import MemoryConfig, ModelConfig
from microturn.model.hearing import initial_hearing_state, turn_levels
from microturn.model.lanes import initial_lane_state, lanes
from microturn.model.memory import initial_memory
from microturn.model.microturn import Microturn, use_one_thread
from microturn.model.network import Network, last_of_turn
from microturn.model.state import State, initial_state
from microturn.model.turns import (
    LIKENESS_SIZE,
    PATCH_SHAPE,
    End,
    Kind,
    Sound,
    Source,
    Token,
    Turns,
    act_token,
    input_tokens,
    say_token,
)
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.session.session import Session
from microturn.train.batch import Patch, Row, collate
from microturn.turn import TURN_SAMPLES, Act, TextIn, TextSource, TurnInput, TurnOutput

# Shapes: B rows, T tokens, U turns, D width, F mel frames, M mel bands.

SMALL_VOCODER = VocoderConfig(width=32, num_blocks=2, harmonic_cepstra=40, noise_cepstra=20, pitch_width=16)
NUM_WORDS = 300
"""Text tokens of networks that need no tokenizer."""
SHORT_MEMORY = MemoryConfig(window_turns=5, text_tokens=12, pinned_tokens=3)
"""Sessions of ten turns meet all of its edges."""
TEXT_SOURCES = (Source.TYPED, Source.INSTRUCTIONS, Source.JOB, Source.TOOL)


def small_network(
    memory: MemoryConfig | None = None, *, size: int = 1, num_experts: int = 4, vocab_size: int = NUM_WORDS
) -> Network:
    """A network of random weights, in evaluation mode. Matrices that start at zero would hide what goes through them:
    they are random too. The laws are those of one thread, as every command uses it."""
    use_one_thread()
    torch.manual_seed(7)
    network = Network(ModelConfig.of_size(size, vocab_size=vocab_size, num_experts=num_experts, memory=memory)).eval()
    for parameter in network.parameters():
        if parameter.ndim >= 2 and not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return network


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # whichever test asks first
def small_model(memory: MemoryConfig | None = SHORT_MEMORY, *, size: int = 1) -> Microturn:
    """A model that writes what it hears, says words, speaks and listens in turn; acts are rarer."""
    tokenizer = default_tokenizer()
    network = small_network(memory, size=size, vocab_size=tokenizer.vocab_size)
    nn.init.normal_(network.hearing.words.weight[-1], std=0.3)
    nn.init.normal_(network.say.rest.weight, std=1.0)
    nn.init.normal_(network.say.pointers_PD, std=0.5)
    torch.manual_seed(1)
    model = Microturn(network, Vocoder(SMALL_VOCODER), tokenizer)
    for _ in range(2):
        _balance(model)
    return model


def fresh_state(memory: MemoryConfig, *, size: int = 1, rows: int = 1) -> State:
    """The memory of sessions in which nothing has happened, without the model that would go on with them."""
    config = ModelConfig.of_size(size, vocab_size=NUM_WORDS, memory=memory)
    return initial_state(config, Vocoder(SMALL_VOCODER), rows, [0] * rows, torch.device("cpu"))


def open_session(memory: MemoryConfig | None = SHORT_MEMORY, *, seed: int = 0) -> Session:
    return Session.open(small_model(memory), seed=seed)


@torch.no_grad()
def _balance(model: Microturn) -> None:
    """Move the biases of what decides to the middle of what it meets in sessions of noise."""
    network, outputs = model.network, model.network.say.outputs
    heard: list[Tensor] = []
    met: list[tuple[Tensor, ...]] = []
    hooks = [
        network.hearing.words.register_forward_pre_hook(lambda _, given: heard.append(given[0].flatten(0, -2))),
        network.say.register_forward_pre_hook(lambda _, given: met.append(given)),
    ]
    rngs = [np.random.default_rng(seed) for seed in range(4)]
    state = model.initial_state(len(rngs))
    for _ in range(16):
        state = model.step([random_input(rng) for rng in rngs], state)[1]
    for hook in hooks:
        hook.remove()
    scores = network.hearing.words(torch.cat(heard))
    network.hearing.words.bias[-1].add_((scores[:, :-1].logsumexp(1) - scores[:, -1]).median())
    hidden_ND, letter_NK, read_N = (torch.cat([given[part] for given in met]) for part in (0, 2, 3))
    scores = outputs.unweighted(network.say(hidden_ND, network.table_VD, letter_NK, read_N))
    rest = scores[:, outputs.act :]
    network.say.rest.bias.add_((scores[:, : outputs.act].logsumexp(1, keepdim=True) - rest).median(0).values)
    network.say.rest.bias.sub_(math.log(2.0))  # <listen> and <speak> together are as likely as all words
    network.say.rest.bias[: len(Act)] -= 3.0


def random_input(rng: np.random.Generator) -> TurnInput:
    """A turn of anything that may come in: noise or nothing, a picture of any size, text of any source."""
    source = list(TextSource)[int(rng.integers(len(TextSource)))]
    return TurnInput(
        audio=rng.normal(0, 0.1, TURN_SAMPLES).astype(np.float32) if rng.random() < 0.8 else None,
        frame=rng.integers(0, 256, (60, 90, 3)).astype(np.uint8) if rng.random() < 0.3 else None,
        texts=(TextIn(source, "say red and blue"),) if rng.random() < 0.2 else (),
    )


def random_row(rng: np.random.Generator, num_turns: int, *, vocab_size: int = NUM_WORDS) -> Row:
    """A session of anything that can happen in one: gaps, pictures, text of every source, words, acts."""

    def words(most: int) -> list[int]:
        return [int(word) for word in rng.integers(0, vocab_size, int(rng.integers(0, most + 1)))]

    ended = End.START
    tokens: list[tuple[int, ...]] = []
    row = Row(sound=rng.choice([*Sound], num_turns, p=[0.2, 0.4, 0.4]).astype(np.int64))
    for turn in range(num_turns):
        texts = [(TEXT_SOURCES[int(rng.integers(4))], word) for word in words(5)] if rng.random() < 0.3 else []
        shown = 4 if rng.random() < 0.3 else 0
        first = len(tokens) + len(texts)
        pixels = rng.integers(0, 256, (shown, *PATCH_SHAPE)).astype(np.uint8)
        likeness = rng.normal(size=(shown, LIKENESS_SIZE)).astype(np.float32)
        row.patches += [Patch(first + place, pixels[place], likeness[place]) for place in range(shown)]
        turn_tokens: list[Token] = input_tokens(texts, shown, words(2), ended)
        turn_tokens += [say_token(word, place) for place, word in enumerate(words(2) if rng.random() < 0.5 else [])]
        turn_tokens += [act_token(int(rng.integers(len(Act))))] if rng.random() < 0.1 else []
        tokens += [(*token[:3], turn, token[3]) for token in turn_tokens]
        ended = End.SPEAK if rng.random() < 0.5 else End.LISTEN
    row.tokens = np.array(tokens, np.int64)
    row.levels = rng.integers(0, 16, (num_turns, TURN_FRAMES, MEL_BANDS)).astype(np.uint8)
    row.levels[row.sound == Sound.GAP] = 0
    return row


def as_turns(rows: Sequence[Row]) -> Turns:
    """Rows as training has them."""
    return collate("law", rows, max(len(row.tokens) for row in rows), max(row.num_turns for row in rows)).turns


def part_of(turns: Turns, some: slice) -> Turns:
    """Some of the tokens of all rows."""
    cut = {name: value[:, some] for name, value in vars(turns).items() if name.endswith("_BT")}
    return Turns(**{**vars(turns), **cut})


@torch.no_grad()
def whole_hidden(network: Network, turns: Turns, memory: MemoryConfig | None = None) -> Tensor:
    """The backbone's states (B, T, D) of whole sessions, sound and all, the way that training computes them."""
    rows, words = len(turns.kind_BT), network.config.backbone.lane_words
    silent = initial_hearing_state(network.config.hearing, rows)
    heard = network.hearing(turn_levels(turns.levels_BUFM), turns.sound_BU != Sound.GAP, silent)[0]
    known, _ = lanes(turns, initial_lane_state(rows, words))
    return network.backbone.whole(network.embedder(turns, known, last_of_turn(heard)), turns, memory)


class Streamer:
    """Takes sessions turn by turn, as ``step`` does: what comes in together, then what goes out one by one.

    ``hidden[row]`` gathers the backbone's state of each of the row's tokens. Compiled kernels compute them, or PyTorch,
    as on other devices.
    """

    def __init__(self, network: Network, num_rows: int, *, compiled: bool = True) -> None:
        self.network, self.compiled = network, compiled
        self.hearing = initial_hearing_state(network.config.hearing, num_rows)
        self.lanes = initial_lane_state(num_rows, network.config.backbone.lane_words)
        self.memory = initial_memory(network.config, num_rows)
        self.hidden: list[list[Tensor]] = [[] for _ in range(num_rows)]

    def step(
        self, rows: Sequence[Row], units: Sequence[int], *, skip: Sequence[bool] | None = None, late: int = 0
    ) -> None:
        """Turn ``units[row]`` of every row that does not skip, ``late`` turns later than the row says."""
        with torch.no_grad(), torch.inference_mode(self.compiled):
            self._step(rows, units, skip, late)

    def _step(self, rows: Sequence[Row], units: Sequence[int], skip: Sequence[bool] | None, late: int) -> None:
        goes_on = [True] * len(rows) if skip is None else [not skips for skips in skip]
        now = [_of_unit(row, unit if goes else None) for row, unit, goes in zip(rows, units, goes_on, strict=True)]
        start_B = torch.tensor(list(units)) + late
        turns = as_turns(now)
        heard, _, hearing = self.network.hearing(
            turn_levels(turns.levels_BUFM), turns.sound_BU != Sound.GAP, self.hearing
        )
        self.hearing = self.hearing.where(torch.tensor(goes_on), hearing)
        come_in = [int((row.tokens[:, 0] < Kind.SAY).sum()) for row in now]
        self._pass(
            [_part(row, 0, count) for row, count in zip(now, come_in, strict=True)], start_B, last_of_turn(heard)
        )
        for place in range(max(len(row.tokens) - count for row, count in zip(now, come_in, strict=True))):
            parts = [_part(row, count + place, count + place + 1) for row, count in zip(now, come_in, strict=True)]
            self._pass(parts, start_B, None)

    def _pass(self, parts: list[Row], start_B: Tensor, heard_BUD: Tensor | None) -> None:
        turns = replace(collate("law", parts, max(4, *(len(part.tokens) for part in parts)), 1).turns, start_B=start_B)
        known, self.lanes = lanes(turns, self.lanes)
        hidden, self.memory = self.network.backbone.turn(
            self.network.embedder(turns, known, heard_BUD), turns, self.memory
        )
        for row, part in enumerate(parts):
            self.hidden[row] += hidden[row, : len(part.tokens)].unbind()


def _of_unit(row: Row, unit: int | None) -> Row:
    """One turn of a row as a row of its own; without tokens if ``unit`` is ``None``."""
    if unit is None:
        return replace(_of_unit(row, 0), tokens=np.zeros((0, 5), np.int64), patches=[])
    assert row.levels is not None
    places = np.flatnonzero(row.tokens[:, 3] == unit)
    one = slice(unit, unit + 1)
    part = _part(row, int(places[0]), int(places[-1]) + 1)
    return replace(part, sound=row.sound[one], levels=row.levels[one])


def _part(row: Row, first: int, last: int) -> Row:
    """Some of the tokens of a row, all of one turn."""
    tokens = row.tokens[first:last].copy()
    tokens[:, 3] = 0
    shown = [patch._replace(at=patch.at - first) for patch in row.patches if first <= patch.at < last]
    return replace(
        row,
        tokens=tokens,
        patches=shown,
    )


def stream(
    network: Network, rows: Sequence[Row], rng: np.random.Generator | None = None, *, compiled: bool = True
) -> list[Tensor]:
    """States (T, D) of every row's tokens, turn by turn; with ``rng`` rows skip at random."""
    streamer = Streamer(network, len(rows), compiled=compiled)
    units = [0] * len(rows)
    while any(unit < row.num_turns for unit, row in zip(units, rows, strict=True)):
        skip = [
            unit == row.num_turns or (rng is not None and rng.random() < 0.3)
            for unit, row in zip(units, rows, strict=True)
        ]
        streamer.step(rows, [min(unit, row.num_turns - 1) for unit, row in zip(units, rows, strict=True)], skip=skip)
        units = [unit + (not skips) for unit, skips in zip(units, skip, strict=True)]
    return [torch.stack(hidden) for hidden in streamer.hidden]


def same(one: TurnOutput | InputError | None, other: TurnOutput | InputError | None) -> bool:
    """Whether two outputs agree in every word and every bit of the sound."""
    assert isinstance(one, TurnOutput) and isinstance(other, TurnOutput)
    words = [(output.turn, output.hear, output.say, output.act, output.speaking) for output in (one, other)]
    return words[0] == words[1] and np.array_equal(one.audio, other.audio)


def assert_same_memory(one: bytes, other: bytes) -> None:
    """Two exported sessions agree in every bit."""
    tensors = [load(data) for data in (one, other)]
    assert tensors[0].keys() == tensors[1].keys()
    for name, first in tensors[0].items():
        assert torch.equal(first, tensors[1][name]), name
