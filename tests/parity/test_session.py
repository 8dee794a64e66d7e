"""A session as it was held, scored again in one piece the way that training does: every choice and every frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from microturn.media.mel import TURN_FRAMES, dmel_levels, log_mel
from microturn.model import microturn as microturn_module
from microturn.model.eye import frame_to_patches
from microturn.model.flow import SILENT_MEL
from microturn.model.hearing import NO_WORD, initial_hearing_state
from microturn.model.lanes import initial_lane_state, lanes
from microturn.model.likeness import initial_picture_state, looked
from microturn.model.microturn import Microturn
from microturn.model.outputs import SAY_WEIGHT
from microturn.model.state import State
from microturn.model.step import Given, Made, Weights
from microturn.model.step import step as step_of_rows
from microturn.model.turns import (
    MAX_TEXT_IN_TOKENS,
    SOURCE_OF_TEXT,
    End,
    Kind,
    Sound,
    Token,
    Turns,
    act_token,
    input_tokens,
    say_token,
)
from microturn.train.batch import Patch, Row
from microturn.train.sessions import spread
from microturn.turn import MAX_SAY_TOKENS, TURN_SAMPLES, TurnInput
from tests.parity.small import SHORT_MEMORY, as_turns, random_input, small_model, whole_hidden

NUM_TURNS = 45
SEED = 3


@dataclass
class Held:
    """What came in, what went out, and the model's frames of every turn."""

    inputs: list[TurnInput] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    mel: list[Tensor] = field(default_factory=list)


@pytest.fixture(scope="module")
def held() -> Held:
    """A session of everything, across the edges of its memory."""
    model, found, step = small_model(SHORT_MEMORY), Held(), step_of_rows

    def recorded(weights: Weights, state: State, given: Given) -> tuple[State, Made]:
        state, made = step(weights, state, given)
        found.made.append(made)
        return state, made

    rng = np.random.default_rng(7)
    state = model.initial_state(1, [SEED])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(microturn_module, "step", recorded)
        for _ in range(NUM_TURNS):
            found.inputs.append(random_input(rng))
            _, state = model.step(found.inputs[-1:], state)
            found.mel.append(state.mel_RFM[0].clone())
    return found


def as_row(held: Held, model: Microturn) -> Row:
    """The session as a row of training."""
    texts = {
        turn: [
            (SOURCE_OF_TEXT[text.source], token) for text in given.texts for token in model.tokenizer.encode(text.text)
        ]
        for turn, given in enumerate(held.inputs)
    }
    taken = spread(texts, MAX_TEXT_IN_TOKENS, NUM_TURNS)
    silence = np.zeros(TURN_SAMPLES, np.float32)
    sound = np.concatenate([silence if given.audio is None else given.audio for given in held.inputs])
    levels = dmel_levels(log_mel(sound)).reshape(NUM_TURNS, TURN_FRAMES, -1)
    arrived = np.array([given.audio is not None for given in held.inputs])
    levels[~arrived] = 0
    row = Row(sound=np.where(arrived, int(Sound.QUIET), int(Sound.GAP)), levels=levels)
    tokens: list[tuple[int, ...]] = []
    pictures, ended = initial_picture_state(4, rows=1), End.START
    for turn, (given, made) in enumerate(zip(held.inputs, held.made, strict=True)):
        patches = None if given.frame is None else frame_to_patches(given.frame, 2)
        turn_tokens: list[Token] = input_tokens(taken[turn], 0 if patches is None else 4, made.heard[0], ended)
        turn_tokens += [say_token(word, place) for place, word in enumerate(made.said[0])]
        turn_tokens += [act_token(made.acts[0])] if made.acts[0] is not None else []
        if patches is not None:
            seen, pictures = looked(pictures, torch.from_numpy(patches)[None], torch.tensor([turn]))
            at = [len(tokens) + place for place, token in enumerate(turn_tokens) if token[0] == Kind.PATCH]
            for place, pixels in zip(at, seen.patches_RNPPC[0].numpy(), strict=True):
                row.patches.append(Patch(place, pixels, seen.likeness_RL[0].numpy()))
        tokens += [(*token[:3], turn, token[3]) for token in turn_tokens]
        ended = End.SPEAK if made.speaking[0] else End.LISTEN
    row.tokens = np.array(tokens, np.int64)
    hidden, _, _ = hear(model, row)
    voice = model.network.hearing.voice(hidden[0, 1::2]).squeeze(-1) > 0.0
    row.sound = np.where(arrived & voice.numpy(), int(Sound.VOICE), row.sound)
    return row


@torch.inference_mode()
def hear(model: Microturn, row: Row) -> tuple[Tensor, Tensor | None, object]:
    assert row.levels is not None
    hearing = model.network.hearing
    arrived = torch.from_numpy(row.sound != Sound.GAP)[None]
    state = initial_hearing_state(hearing.config, 1)
    heard: tuple[Tensor, Tensor | None, object] = hearing(
        torch.from_numpy(row.levels).flatten(0, 1)[None], arrived, state
    )
    return heard


def test_the_session_has_everything_in_it(held: Held) -> None:
    assert {made.speaking[0] for made in held.made} == {True, False}
    assert sum(len(made.heard[0]) for made in held.made) > 5
    assert sum(len(made.said[0]) for made in held.made) > 3
    assert any(made.acts[0] is not None for made in held.made)


@torch.inference_mode()
def test_the_same_words_are_heard_in_one_piece(held: Held) -> None:
    model = small_model(SHORT_MEMORY)
    hidden, _, _ = hear(model, as_row(held, model))
    written = model.network.hearing.written(hidden)[0].view(NUM_TURNS, -1).tolist()
    assert [[word for word in turn if word != NO_WORD] for turn in written] == [made.heard[0] for made in held.made]


@torch.inference_mode()
def test_every_choice_is_the_one_that_training_would_expect(held: Held) -> None:
    """A word is said if all words together are likelier than the rest, which training has counted three times."""
    model = small_model(SHORT_MEMORY)
    outputs = model.network.say.outputs
    turns = as_turns([as_row(held, model)])
    known, _ = lanes(turns, initial_lane_state(1, model.config.backbone.lane_words))
    hidden = whole_hidden(model.network, turns)[0]
    scores = model.network.say_scores(hidden, known.after(torch.arange(len(hidden)))).double()
    for turn, made in enumerate(held.made):
        chosen = [*made.said[0], *([] if made.acts[0] is None else [outputs.act + made.acts[0]])]
        chosen.append(outputs.speak if made.speaking[0] else outputs.listen)
        places = _places(turns, turn)[-len(chosen) :]
        acted = False
        for number, (place, output) in enumerate(zip(places, chosen, strict=True)):
            odds = scores[place].exp()
            odds[: outputs.act] *= 0.0 if acted or number == MAX_SAY_TOKENS else 1.0 / SAY_WEIGHT
            odds[outputs.act : outputs.listen] *= 0.0 if acted else 1.0
            words, rest = odds[: outputs.act], odds[outputs.act :]
            expected = int(words.argmax()) if words.sum() > rest.sum() else outputs.act + int(rest.argmax())
            assert output == expected, (turn, number)
            acted = outputs.act <= output < outputs.listen


@torch.inference_mode()
def test_every_frame_is_the_one_that_training_would_make(held: Held) -> None:
    model = small_model(SHORT_MEMORY)
    turns = as_turns([as_row(held, model)])
    known, _ = lanes(turns, initial_lane_state(1, model.config.backbone.lane_words))
    silent = torch.full_like(held.mel[0], SILENT_MEL)
    checked = 0
    for turn, made in enumerate(held.made):
        if not made.speaking[0]:
            assert torch.equal(held.mel[turn], silent)
            continue
        last = _places(turns, turn)[-1]
        given = model.network.flow.condition(known.model_BTK[:, last], known.age_BTK[:, last])
        noise = np.random.default_rng((SEED, turn)).standard_normal(silent.shape, dtype=np.float32)
        before = held.mel[turn - 1] if turn else silent
        made_mel = model.network.flow.sample(given, before[None], torch.from_numpy(noise)[None])[0].clamp(-2.0, 2.0)
        torch.testing.assert_close(held.mel[turn], made_mel, atol=1e-5, rtol=0.0)
        checked += 1
    assert checked > 5


def _places(turns: Turns, turn: int) -> list[int]:
    """Places of a turn's tokens in the first row, from NOW on."""
    now_or_out = (turns.kind_BT[0] == Kind.NOW) | (turns.kind_BT[0] >= Kind.SAY)
    return torch.nonzero(now_or_out & turns.valid_BT[0] & (turns.turn_BT[0] == turn)).flatten().tolist()
