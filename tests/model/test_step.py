"""One turn: the grammar bounds it, words are chosen by what all of them together weigh, text goes in by parts."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from microturn.errors import InputError
from microturn.model.hearing import NO_WORD
from microturn.model.lanes import NONE
from microturn.model.memory import PINNED, TEXT
from microturn.model.microturn import Microturn
from microturn.model.outputs import SAY_WEIGHT, OutputVocabulary
from microturn.model.state import MAX_WAITING_TOKENS, State
from microturn.model.step import Given, Made, step
from microturn.model.turns import MAX_TEXT_IN_TOKENS
from microturn.turn import MAX_HEAR_TOKENS, MAX_SAY_TOKENS, TURN_SAMPLES, Act, TextIn, TextSource, TurnInput, TurnOutput
from tests.parity.small import SHORT_MEMORY, random_input, small_model

SILENCE = TurnInput(audio=np.zeros(TURN_SAMPLES, np.float32))


def typed(text: str, source: TextSource = TextSource.TYPED) -> TurnInput:
    return replace(SILENCE, texts=(TextIn(source, text),))


def bent(**biases: float) -> Microturn:
    """The small model with other biases of what it puts out: ``words``, ``acts``, ``listen``, ``speak``, ``hear``."""
    model = small_model(SHORT_MEMORY)
    network = deepcopy(model.network)
    with torch.no_grad():
        network.say.bias_V.add_(biases.get("words", 0.0))
        network.say.rest.bias[: len(Act)].add_(biases.get("acts", 0.0))
        network.say.rest.bias[-2] += biases.get("listen", 0.0)
        network.say.rest.bias[-1] += biases.get("speak", 0.0)
        network.hearing.words.bias[:-1] += biases.get("hear", 0.0)
    return Microturn(network, model.weights.vocoder, model.tokenizer)


def output_of(model: Microturn, given: TurnInput, state: State) -> tuple[TurnOutput, State]:
    outputs, after = model.step([given], state)
    assert isinstance(outputs[0], TurnOutput)
    return outputs[0], after


def test_the_grammar_bounds_the_most_eager_turn() -> None:
    """However much the network wants to write, say and ask for, a turn has so many tokens of each and ends."""
    model = bent(words=120.0, acts=60.0, hear=60.0)
    state = model.initial_state(1)
    for turn in range(1, 4):
        output, state = output_of(model, SILENCE, state)
        assert output.act in [*Act]
        tokens = int(state.memory.count_R3[0, TEXT])
        assert tokens == turn * (2 + MAX_SAY_TOKENS + 1), "two audio tokens hear, four words are said, one act"
    assert MAX_HEAR_TOKENS >= 2


def test_a_turn_with_nothing_to_it_is_one_token() -> None:
    model = bent(listen=60.0, hear=-60.0)
    output, state = output_of(model, SILENCE, model.initial_state(1))
    assert (output.hear, output.say, output.act, output.speaking) == ("", "", None, False)
    assert not output.audio.any()
    assert int(state.memory.count_R3.sum()) == 1


CHOICES = {
    "one word of many": ({"say": 0.6, "listen": 0.35, "speak": 0.05}, "say"),
    "silence is likelier than a word": ({"say": 0.4, "listen": 0.55, "speak": 0.05}, "listen"),
    "all else together is likelier than a word": ({"say": 0.45, "listen": 0.3, "speak": 0.25}, "listen"),
    "going on to speak": ({"say": 0.2, "listen": 0.3, "speak": 0.5}, "speak"),
}


@pytest.mark.parametrize(("shares", "expected"), CHOICES.values(), ids=CHOICES.keys())
def test_a_word_is_said_when_words_are_likelier_than_all_else(
    shares: dict[str, float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their share counts as a whole, also where no single word is the likeliest output. What training has learnt of
    words is three times their share."""
    model = small_model(SHORT_MEMORY)
    outputs = OutputVocabulary(model.tokenizer.vocab_size)
    probability = torch.full((outputs.size,), 1e-9)
    probability[outputs.listen], probability[outputs.speak] = shares["listen"], shares["speak"]
    probability[7:17] = shares["say"] * 0.09
    probability[7] = shares["say"] * 0.19
    probability[: outputs.act] *= SAY_WEIGHT
    end = torch.full((outputs.size,), -50.0)
    end[outputs.listen] = 50.0
    scores = iter([probability.log(), end])
    monkeypatch.setattr(model.network, "say_scores", lambda *_: next(scores).unsqueeze(0))
    output, _ = output_of(model, SILENCE, model.initial_state(1))
    assert (output.say, output.speaking) == {
        "say": (model.tokenizer.decode([7]), False),
        "listen": ("", False),
        "speak": ("", True),
    }[expected]


@pytest.mark.parametrize(("none", "expected"), [(0.45, 3), (0.55, NO_WORD)])
def test_a_word_is_heard_when_some_word_is_likelier_than_none(none: float, expected: int) -> None:
    hearing = deepcopy(small_model(SHORT_MEMORY).network.hearing)
    probability = torch.full((hearing.words.out_features,), 1e-9)
    probability[3:13] = (1 - none) * 0.09
    probability[3] = (1 - none) * 0.19
    probability[-1] = none
    with torch.no_grad():
        hearing.words.weight.zero_()
        hearing.words.bias.copy_(probability.log())
        assert hearing.written(torch.zeros(1, 2, hearing.config.width)).tolist() == [[expected] * 2]


def test_long_text_goes_in_by_parts_and_none_of_it_is_lost() -> None:
    model = bent(listen=60.0, hear=-60.0)
    state = model.initial_state(1)
    text = "red and blue " * 15
    ids = model.tokenizer.encode(text)
    _, state = output_of(model, typed(text), state)
    _, state = output_of(model, typed("one two", TextSource.JOB), state)
    taken = 2 * MAX_TEXT_IN_TOKENS
    assert int(state.num_waiting_R[0]) == len(ids) + 2 - taken
    waiting = state.waiting_RW[0, : int(state.num_waiting_R[0])].tolist()
    assert waiting == [*ids[taken:], *model.tokenizer.encode("one two")]
    assert state.lanes.user_RK[0, :3].tolist() == ids[taken - 3 : taken][::-1]
    while int(state.num_waiting_R[0]):
        _, state = output_of(model, SILENCE, state)
    assert int(state.memory.count_R3[0, TEXT]) == len(ids) + 2
    assert state.lanes.user_RK[0, :3].tolist() == ids[-3:][::-1], "a job's words are not the user's"


@pytest.mark.parametrize("source", [TextSource.JOB, TextSource.TOOL, TextSource.INSTRUCTIONS])
def test_what_others_write_is_not_the_users_last_word(source: TextSource) -> None:
    model = bent(listen=60.0, hear=-60.0)
    _, state = output_of(model, typed("red", source), model.initial_state(1))
    assert (state.lanes.user_RK == NONE).all()
    region = PINNED if source == TextSource.INSTRUCTIONS else TEXT
    assert int(state.memory.count_R3[0, region]) == 1


def test_more_text_than_may_wait_is_refused_whole() -> None:
    """Also when what waits already takes the place; and what came with it is not taken in by halves."""
    model = bent(listen=60.0, hear=-60.0)
    _, state = output_of(model, typed("red " * (MAX_WAITING_TOKENS - 100)), model.initial_state(1))
    count = int(state.num_waiting_R[0])
    outputs, after = model.step([typed("blue " * 300)], state)
    assert isinstance(outputs[0], InputError)
    assert f"300 tokens of text and {count} that wait" in str(outputs[0])
    assert int(after.num_waiting_R[0]) == count and int(after.turn_R[0]) == 1
    _, after = output_of(model, typed("blue " * (MAX_WAITING_TOKENS - count)), after)
    assert int(after.num_waiting_R[0]) == MAX_WAITING_TOKENS - MAX_TEXT_IN_TOKENS


def test_the_voice_rings_out_in_the_turn_after_it_and_no_longer() -> None:
    model = bent(speak=60.0)
    _, state = output_of(model, SILENCE, model.initial_state(1))
    quiet = bent(listen=60.0)
    second, state = output_of(quiet, SILENCE, state)
    third, state = output_of(quiet, SILENCE, state)
    assert second.audio[:800].any() and not second.audio[800:].any()
    assert not third.audio.any()


def test_step_is_a_pure_function_of_state_and_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken twice from the same state it gives the same, and all that the state can see is as it was."""
    model = small_model(SHORT_MEMORY)
    calls: list[tuple[State, Given, Made]] = []

    def recorded(weights: object, state: State, given: Given) -> tuple[State, Made]:
        after, made = step(model.weights, state, given)
        calls.append((state, given, made))
        return after, made

    monkeypatch.setattr("microturn.model.microturn.step", recorded)
    rngs = [np.random.default_rng(seed) for seed in range(3)]
    state = model.initial_state(3, [1, 2, 3])
    for _ in range(6):
        before = {
            name: tensor.clone() for name, tensor in state.named() if not name.startswith(("memory.keys", "memory.val"))
        }
        _, after = model.step([random_input(rng) for rng in rngs], state)
        _, given, made = calls[-1]
        _, again = step(model.weights, state, given)
        assert (made.heard, made.said, made.acts, made.speaking) == (
            again.heard,
            again.said,
            again.acts,
            again.speaking,
        )
        assert torch.equal(made.audio_RS, again.audio_RS)
        assert all(torch.equal(_named(state, name), tensor) for name, tensor in before.items())
        state = after


def _named(state: State, name: str) -> Tensor:
    return dict(state.named())[name]
