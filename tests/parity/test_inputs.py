"""What training takes in is what streaming takes in: tokens, sources, slots, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from microturn.bench.systems import turn_input
from microturn.language.tokenizer import default_tokenizer
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.hearing import NO_WORD
from microturn.model.memory import MemoryState
from microturn.model.microturn import Microturn
from microturn.model.turns import LIKENESS_TURNS, MAX_TEXT_IN_TOKENS, Kind, Source, Turns
from microturn.model.vocoder import Vocoder
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario, Utterance
from microturn.train.batch import Row
from microturn.train.sessions import Packer
from microturn.turn import TURN_MS, TURN_SAMPLES, TextIn, TextSource
from microturn.voices.speech import Speech, Word
from tests.parity.small import SMALL_VOCODER, small_network

NUM_TURNS = 30


def made_up() -> Scenario:
    """Long texts of every source, on top of each other, words heard and said, gaps, pictures with pauses between."""
    rng = np.random.default_rng(0)
    spoken = ("well", "unknowable", "red", "is", "blue")
    heard = [Word(text, 500.0 * at, 500.0 * at + 300.0) for at, text in enumerate(spoken)]
    words = (Word("tango", 0.0, 250.0), Word("three", 300.0, 550.0))
    speech = Speech(rng.normal(0, 0.1, 3 * TURN_SAMPLES).astype(np.float32), words)
    return Scenario(
        family="say",
        num_turns=NUM_TURNS,
        user=rng.normal(0, 0.1, NUM_TURNS * TURN_SAMPLES).astype(np.float32),
        heard=heard,
        said=[Utterance(4, speech), Utterance(12, speech)],
        frames={turn: rng.integers(0, 256, (50, 90, 3)).astype(np.uint8) for turn in (2, 3, 9, 20)},
        texts={
            0: (TextIn(TextSource.INSTRUCTIONS, "always be short and never say blue " * 6),),
            1: (
                TextIn(TextSource.TYPED, "what is the weather like"),
                TextIn(TextSource.JOB, "it is going to rain " * 5),
            ),
            9: (TextIn(TextSource.TOOL, "one two three"),),
        },
        gaps=frozenset({5, 6, 13}),
    )


def with_lost_pictures() -> Scenario:
    """A video longer than pictures are compared over, of which every third picture and ten in a row did not arrive."""
    scenario = generate("count", 7, "train", assistant=False)
    turns = sorted(scenario.frames)
    lost = {*turns[1::3], *turns[20:30]}
    assert len(turns) > LIKENESS_TURNS
    return replace(scenario, frames={turn: scenario.frames[turn] for turn in turns if turn not in lost})


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "made up": made_up,
    "lost pictures": with_lost_pictures,
    **{name: partial(generate, name, 3, "train", assistant=False) for name in ("count", "time")},
}


class Player:
    """Streams a row's session: the network hears, says and sounds as the row has it. Keeps all turns that it reads."""

    def __init__(self, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
        tokenizer = default_tokenizer()
        network = small_network(vocab_size=tokenizer.vocab_size)
        torch.manual_seed(0)
        self.model = Microturn(network, Vocoder(SMALL_VOCODER), tokenizer)
        self.row, self.turn, self.read = row, 0, list[Turns]()
        self._to_say = list[int]()
        turn = network.backbone.turn

        def reading(x_RQD: Tensor, turns: Turns, state: MemoryState) -> tuple[Tensor, MemoryState]:
            self.read.append(turns)
            return turn(x_RQD, turns, state)

        monkeypatch.setattr(network.hearing, "written", self._written)
        monkeypatch.setattr(network, "say_scores", self._say_scores)
        monkeypatch.setattr(network.backbone, "turn", reading)

    def _payloads(self, kind: Kind) -> list[int]:
        tokens = self.row.tokens
        return [int(word) for word in tokens[(tokens[:, 3] == self.turn) & (tokens[:, 0] == kind), 2]]

    def _written(self, hidden_BTD: Tensor) -> Tensor:
        words = self._payloads(Kind.HEAR)
        return torch.tensor([words + [NO_WORD] * (AUDIO_TOKENS - len(words))])

    def _say_scores(self, hidden_ND: Tensor, *_: Tensor) -> Tensor:
        outputs = self.model.network.say.outputs
        scores = torch.full((len(hidden_ND), outputs.size), -50.0)
        scores[:, self._to_say.pop(0)] = 50.0
        return scores

    def play(self, scenario: Scenario) -> None:
        outputs = self.model.network.say.outputs
        speaking = scenario.speaking()
        state = self.model.initial_state(1)
        for self.turn in range(scenario.num_turns):
            self._to_say = [*self._payloads(Kind.SAY), outputs.speak if speaking[self.turn] else outputs.listen]
            _, state = self.model.step([turn_input(scenario, self.turn)], state)


@pytest.mark.parametrize("name", SCENARIOS)
def test_streaming_takes_in_what_training_takes_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = SCENARIOS[name]()
    row = Packer(default_tokenizer(), 2, None).row(scenario, np.random.default_rng(0))
    player = Player(row, monkeypatch)
    player.play(scenario)
    streamed = np.concatenate([_tokens(turns) for turns in player.read])
    assert streamed.tolist() == row.tokens.tolist()
    patches = torch.cat([turns.patch_NPPC for turns in player.read])
    assert len(patches) == len(row.patches) > 0 or name == "time"
    likeness = torch.cat([turns.likeness_NL for turns in player.read])
    for pixels, alike, patch in zip(patches.numpy(), likeness.numpy(), row.patches, strict=True):
        assert np.array_equal(pixels, patch.pixels) and np.array_equal(alike, patch.likeness)


def _tokens(turns: Turns) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Tokens of one row as training has them, (T, 5): kind, source, payload, turn, slot."""
    columns = (turns.kind_BT, turns.source_BT, turns.payload_BT, turns.turn_BT, turns.slot_BT)
    return torch.stack(columns, -1)[turns.valid_BT].numpy()


def test_long_text_keeps_its_order_and_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of at most 16 tokens, every one with a slot of its own, nothing lost and nothing twice."""
    scenario = made_up()
    player = Player(Packer(default_tokenizer(), 2, None).row(scenario, np.random.default_rng(0)), monkeypatch)
    player.play(scenario)
    tokens = np.concatenate([_tokens(turns) for turns in player.read])
    text = tokens[tokens[:, 0] == Kind.TEXT_IN]
    sources = {
        TextSource.INSTRUCTIONS: Source.INSTRUCTIONS,
        TextSource.TYPED: Source.TYPED,
        TextSource.JOB: Source.JOB,
        TextSource.TOOL: Source.TOOL,
    }
    expected = [
        (sources[given.source], token)
        for turn in sorted(scenario.texts)
        for given in scenario.texts[turn]
        for token in default_tokenizer().encode(given.text)
    ]
    assert [tuple(pair) for pair in text[:, 1:3].tolist()] == expected
    turns, counts = np.unique(text[:, 3], return_counts=True)
    assert counts.max() == MAX_TEXT_IN_TOKENS and len(turns) >= 5
    assert len(np.unique(text[:, 3:], axis=0)) == len(text), "no two tokens of a turn have one slot"
    assert (np.diff(text[:, 3] * 100 + text[:, 4]) > 0).all(), "slots and turns count up"


def test_what_is_heard_is_written_in_the_turn_that_the_labels_name() -> None:
    """The times of the hear lane's labels and of sound agree: law 1 for what is taught."""
    scenario = made_up()
    row = Packer(default_tokenizer(), 2, None).row(scenario, np.random.default_rng(0))
    heard = row.tokens[row.tokens[:, 0] == Kind.HEAR]
    decoded = default_tokenizer().decode(heard[:, 2].tolist())
    assert decoded.split() == [word.text for word in scenario.heard]
    first = {token[3] for token in heard.tolist()}
    assert {int((word.end_ms + 200) // TURN_MS) for word in scenario.heard} <= first
