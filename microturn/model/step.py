"""One turn of a batch of sessions: ``step(weights, state, given) -> (state, made)``, a pure function.

The sound is heard first: the hearing stack writes this turn's words of the hear lane. They, the text and the picture
go through the backbone in one pass; what is to be said is decoded word by word until <listen> or <speak>; at <speak>
the flow head makes 20 mel frames and the vocoder their sound. A row's numbers do not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.media.mel import MEL_BANDS, TURN_FRAMES
from microturn.model.flow import SILENT_MEL
from microturn.model.hearing import NO_WORD, HearingState
from microturn.model.lanes import lanes
from microturn.model.likeness import PictureState, Seen, looked
from microturn.model.network import Network, last_of_turn
from microturn.model.outputs import OutputVocabulary
from microturn.model.state import FLUSH_TURNS, State
from microturn.model.turns import (
    MAX_TEXT_IN_TOKENS,
    MAX_TURN_TOKENS,
    End,
    Kind,
    Sound,
    Source,
    Token,
    Turns,
    act_token,
    input_tokens,
    no_levels,
    no_patches,
    padded,
    say_token,
)
from microturn.model.vocoder import DELAY_SAMPLES, FFT_SAMPLES, Vocoder, VocoderState
from microturn.turn import MAX_HEAR_TOKENS, MAX_SAY_TOKENS, TURN_SAMPLES

# Shapes: R rows, F mel frames, M mel bands, P patches of a picture, O outputs.

WIDTHS = (4, 8, 16, MAX_TURN_TOKENS)
"""Tokens of a pass are padded to one of these."""
FLUSH_SAMPLES = DELAY_SAMPLES + FFT_SAMPLES - TURN_SAMPLES // TURN_FRAMES
"""What is left of speech in the turn after it: the vocoder's delay and its last overlap, 50 ms."""


@dataclass(frozen=True)
class Weights:
    """Network and vocoder, in evaluation mode."""

    network: Network
    vocoder: Vocoder


@dataclass(frozen=True)
class Given:
    """What came in during one turn of R sessions; a row that is not active skips the turn unchanged."""

    active_R: Tensor
    levels_RFM: Tensor
    """uint8 dMel levels; silence where nothing arrived."""
    history_RS: Tensor
    """The last samples of that sound."""
    arrived_R: Tensor
    patches_RNPPC: Tensor
    """uint8 pictures."""
    shown_R: Tensor
    """Whether there is one."""
    waiting_RW: Tensor
    """Text tokens to be taken in: those that waited, and new ones."""
    waiting_source_RW: Tensor
    num_waiting_R: Tensor
    rehearsed: tuple[tuple[list[int], bool] | None, ...]
    """Words given in place of sound, and whether somebody speaks."""


@dataclass(frozen=True)
class Made:
    """What goes out in one turn of R sessions."""

    heard: list[list[int]]
    said: list[list[int]]
    acts: list[int | None]
    speaking: list[bool]
    audio_RS: Tensor


@torch.inference_mode()
def step(weights: Weights, state: State, given: Given) -> tuple[State, Made]:
    """One turn of every active row. ``state`` itself is not changed and stays good for another try."""
    network = weights.network
    active = given.active_R.tolist()
    hidden, hearing = _heard(network, given, state)
    heard, sound_R = _told(network, hidden, given, active)
    rows, taken = _input_rows(state, given, heard, active)
    seen, pictures = _looked(state, given)
    turns = _as_turns(rows, state, seen, sound_R)
    # Of a rehearsal nothing is known but its words, in training as here.
    is_rehearsed_R = torch.tensor([words is not None for words in given.rehearsed])
    heard_RD = last_of_turn(hidden).masked_fill(is_rehearsed_R.view(-1, 1, 1), 0.0)
    hidden_RD, working = _read(network, turns, state, heard_RD, None)
    said, acts, speaking, working = _decode(network, hidden_RD, working, active)
    mel_RFM, audio_RS, vocoder = _sound(weights, state, working, speaking, active)
    after = replace(
        working,
        turn_R=state.turn_R + 1,
        ended_R=torch.where(torch.tensor(speaking), End.SPEAK, End.LISTEN).to(state.ended_R),
        history_RS=given.history_RS,
        hearing=hearing,
        vocoder=vocoder,
        mel_RFM=mel_RFM,
        quiet_R=torch.where(torch.tensor(speaking), 0, state.quiet_R + 1),
        pictures=pictures,
        waiting_RW=_shifted(given.waiting_RW, taken),
        waiting_source_RW=_shifted(given.waiting_source_RW, taken),
        num_waiting_R=given.num_waiting_R - taken,
    )
    return _advanced(state, after, given.active_R), Made(heard, said, acts, speaking, audio_RS)


def _advanced(before: State, after: State, active_R: Tensor) -> State:
    """``after`` in active rows. The rings' storage is one and the same, and skipping rows wrote nothing to it."""
    if bool(active_R.all()):
        return after
    small = dict(before.named())

    def choose(name: str, tensor: Tensor) -> Tensor:
        if tensor is small[name]:
            return tensor
        return torch.where(active_R.view(-1, *[1] * (tensor.ndim - 1)), tensor, small[name])

    return after.mapped(choose)


def _shifted(table_RW: Tensor, taken_R: Tensor) -> Tensor:
    """Without the first ``taken`` of each row."""
    index = (torch.arange(table_RW.shape[1]) + taken_R[:, None]).clamp(max=table_RW.shape[1] - 1)
    return table_RW.gather(1, index)


def _heard(network: Network, given: Given, state: State) -> tuple[Tensor, HearingState]:
    """The hearing stack's states of the turn (R, 2, D), and what it remembers now; nothing of rows that skip."""
    if bool(given.active_R.all()):
        hidden, _, hearing = network.hearing(given.levels_RFM, given.arrived_R[:, None], state.hearing)
        return hidden, hearing
    index = given.active_R.nonzero().squeeze(1)
    heard, _, after = network.hearing(
        given.levels_RFM[index], given.arrived_R[index, None], state.hearing.select(index)
    )
    hidden = heard.new_zeros(len(given.active_R), *heard.shape[1:])
    return hidden.index_copy(0, index, heard), state.hearing.put(index, after)


def _evened(rows: Sequence[int]) -> Tensor:
    """Row numbers, the last one twice if they are odd: an even number of rows takes one path through the vocoder's
    transforms, whatever the number."""
    return torch.tensor([*rows, *rows[len(rows) - len(rows) % 2 :]])


def _hear(network: Network, hidden_RTD: Tensor, active: list[bool]) -> list[list[int]]:
    """Words of the hear lane by row, none for rows that skip."""
    return [
        [word for word in words if word != NO_WORD and goes_on][:MAX_HEAR_TOKENS]
        for words, goes_on in zip(network.hearing.written(hidden_RTD).tolist(), active, strict=True)
    ]


def _told(network: Network, hidden_RTD: Tensor, given: Given, active: list[bool]) -> tuple[list[list[int]], Tensor]:
    """Words of the hear lane and ``Sound`` of every row: as heard, or as given in a rehearsal."""
    heard = _hear(network, hidden_RTD, active)
    voice_R = network.hearing.voice(hidden_RTD[:, -1]).squeeze(-1) > 0.0
    sound_R = torch.where(given.arrived_R, torch.where(voice_R, Sound.VOICE, Sound.QUIET), Sound.GAP)
    for row, words in enumerate(given.rehearsed):
        if words is not None:
            heard[row] = words[0][:MAX_HEAR_TOKENS]
            sound_R[row] = int(Sound.VOICE if words[1] else Sound.QUIET)
    return heard, sound_R


def _input_rows(
    state: State, given: Given, heard: list[list[int]], active: list[bool]
) -> tuple[list[list[Token]], Tensor]:
    """The tokens of every row, none for rows that skip; and how many waiting text tokens each takes."""
    taken = given.num_waiting_R.clamp(max=MAX_TEXT_IN_TOKENS) * given.active_R
    rows: list[list[Token]] = []
    for row, goes_on in enumerate(active):
        if not goes_on:
            rows.append([])
            continue
        count = int(taken[row])
        sources = [Source(source) for source in given.waiting_source_RW[row, :count].tolist()]
        texts = list(zip(sources, given.waiting_RW[row, :count].tolist(), strict=True))
        num_patches = given.patches_RNPPC.shape[1] if bool(given.shown_R[row]) else 0
        rows.append(input_tokens(texts, num_patches, heard[row], End(int(state.ended_R[row]))))
    return rows, taken


def _as_turns(rows: list[list[Token]], state: State, seen: Seen | None, sound_R: Tensor) -> Turns:
    """One turn's tokens of R rows as tensors, with the pictures that some of them are shown."""
    longest = max(len(row) for row in rows)
    width = next(width for width in WIDTHS if width >= longest)
    arrays = [np.array([(*token[:3], 0, token[3]) for token in row], np.int64).reshape(-1, 5) for row in rows]
    tokens, valid = padded(arrays, width)
    kind, source, payload, unit, slot = tokens.unbind(-1)
    patches, likeness, patch_at = no_patches() if seen is None else _patches(rows, seen, width)
    return Turns(
        start_B=state.turn_R,
        kind_BT=kind,
        source_BT=source,
        payload_BT=payload,
        unit_BT=unit,
        slot_BT=slot,
        valid_BT=valid,
        sound_BU=sound_R[:, None],
        levels_BUFM=no_levels(len(rows)),
        patch_NPPC=patches,
        likeness_NL=likeness,
        patch_at_N=patch_at,
    )


def _looked(state: State, given: Given) -> tuple[Seen | None, PictureState]:
    """What the rows that are shown something see, if there are any, and the pictures remembered then."""
    index = given.shown_R.nonzero().squeeze(1)
    if not len(index):
        return None, state.pictures
    seen, after = looked(state.pictures.select(index), given.patches_RNPPC[index], state.turn_R[index])
    return seen, state.pictures.put(index, after)


def _patches(rows: list[list[Token]], seen: Seen, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Patches of the rows that are shown something, in their order; their likeness, and where their tokens lie."""
    at = [
        row * width + place
        for row, tokens in enumerate(rows)
        for place, token in enumerate(tokens)
        if token[0] == Kind.PATCH
    ]
    count = seen.patches_RNPPC.shape[1]
    return seen.patches_RNPPC.flatten(0, 1), seen.likeness_RL.repeat_interleave(count, 0), torch.tensor(at)


def _read(
    network: Network, turns: Turns, state: State, heard_RD: Tensor | None, hidden_RD: Tensor | None
) -> tuple[Tensor, State]:
    """The backbone's state at each row's last token (``hidden_RD`` for rows without any), and the memory with it."""
    known, lane_state = lanes(turns, state.lanes)
    x = network.embedder(turns, known, heard_RD)
    hidden_RTD, memory = network.backbone.turn(x, turns, state.memory)
    count_R = turns.valid_BT.sum(1)
    last = (count_R - 1).clamp(min=0)[:, None, None].expand(-1, -1, hidden_RTD.shape[-1])
    newest_RD = hidden_RTD.gather(1, last).squeeze(1)
    if hidden_RD is not None:
        newest_RD = torch.where((count_R > 0)[:, None], newest_RD, hidden_RD)
    return newest_RD, replace(state, lanes=lane_state, memory=memory)


def _decode(
    network: Network, hidden_RD: Tensor, state: State, active: list[bool]
) -> tuple[list[list[int]], list[int | None], list[bool], State]:
    """Words to say, acts and ends of all rows."""
    outputs = OutputVocabulary(network.config.vocab_size)
    said: list[list[int]] = [[] for _ in active]
    acts: list[int | None] = [None] * len(active)
    ends: list[bool | None] = [None if goes_on else False for goes_on in active]
    while None in ends:
        chosen = _choose(outputs, network.say_scores(hidden_RD, state.lanes), said, acts).tolist()
        rows: list[list[Token]] = [[] for _ in active]
        for row, output in enumerate(chosen):
            if ends[row] is not None:
                continue
            if output < outputs.act:
                rows[row] = [say_token(output, len(said[row]))]
                said[row].append(output)
            elif output < outputs.listen:
                acts[row] = output - outputs.act
                rows[row] = [act_token(output - outputs.act)]
            else:
                ends[row] = output == outputs.speak
        if any(rows):
            turns = _as_turns(rows, state, None, torch.full_like(state.turn_R, Sound.QUIET))
            hidden_RD, state = _read(network, turns, state, None, hidden_RD)
    return said, acts, [bool(end) for end in ends], state


def _choose(outputs: OutputVocabulary, scores_RO: Tensor, said: list[list[int]], acts: list[int | None]) -> Tensor:
    """The output of every row: a word if some word is likelier than all else, then the likeliest of the rest.

    The likeliest of all outputs would be silence whenever it is sure that something is to be said but not what.
    """
    scores_RO = outputs.unweighted(scores_RO.float())
    for row, (words, act) in enumerate(zip(said, acts, strict=True)):
        if act is not None or len(words) == MAX_SAY_TOKENS:
            scores_RO[row, : outputs.act] = float("-inf")
        if act is not None:
            scores_RO[row, outputs.act : outputs.listen] = float("-inf")
    probability_RO = scores_RO.softmax(-1)
    word_R = probability_RO[:, : outputs.act].argmax(-1)
    rest_R = outputs.act + probability_RO[:, outputs.act :].argmax(-1)
    return torch.where(probability_RO[:, : outputs.act].sum(-1) > 0.5, word_R, rest_R)


def _sound(
    weights: Weights, before: State, state: State, speaking: list[bool], active: list[bool]
) -> tuple[Tensor, Tensor, VocoderState]:
    """Mel frames and samples of the turn, and the vocoder's memory: speaking rows go through flow head and vocoder."""
    network, vocoder = weights.network, weights.vocoder
    num_rows = len(speaking)
    mel_RFM = torch.full((num_rows, TURN_FRAMES, MEL_BANDS), SILENT_MEL)
    chosen = [row for row in range(num_rows) if speaking[row]]
    if chosen:
        index = torch.tensor(chosen)
        noise = torch.stack([_noise(int(before.seed_R[row]), int(before.turn_R[row])) for row in chosen])
        condition = network.flow.condition(state.lanes.model_RK[index], state.lanes.said_age(before.turn_R)[index])
        mel_RFM[index] = network.flow.sample(condition, before.mel_RFM[index], noise).float().clamp(-2.0, 2.0)
    audio_RS = torch.zeros(num_rows, TURN_SAMPLES)
    quiet_turns = before.quiet_R.tolist()
    sounding = [row for row in range(num_rows) if speaking[row] or (active[row] and quiet_turns[row] < FLUSH_TURNS)]
    if not sounding:
        return mel_RFM, audio_RS, before.vocoder
    index = _evened(sounding)
    wave, after = vocoder.step(mel_RFM[index], before.vocoder.select(index))
    count = len(sounding)
    audio_RS[index[:count]] = wave[:count].clamp(-1.0, 1.0)
    is_speaking = torch.tensor(speaking)
    audio_RS[:, FLUSH_SAMPLES:] *= is_speaking[:, None]
    advanced = before.vocoder.put(index[:count], after.mapped(lambda _, tensor: tensor[:count]))
    return mel_RFM, audio_RS, vocoder.initial_state(num_rows).where(is_speaking, advanced)


def _noise(seed: int, turn: int) -> Tensor:
    """The noise that a turn's sound is made from: the same for the same session and turn."""
    values: NDArray[np.float32] = np.random.default_rng((seed, turn)).standard_normal(
        (TURN_FRAMES, MEL_BANDS), dtype=np.float32
    )
    return torch.from_numpy(values)
