"""The model as its users meet it: one turn in, one turn out, for several sessions (rows) at once.

``Microturn.step`` runs the loop of a turn: the inputs go through the backbone in one pass; output tokens are decoded
greedily under the turn's grammar until <listen> or <speak>; at <speak> the flow head makes 20 mel frames and the
vocoder their sound. All memory is in the ``State`` that is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.errors import InputError
from microturn.model import layout
from microturn.model.ear import with_context
from microturn.model.eye import frame_to_patches, with_before
from microturn.model.layout import Kind
from microturn.model.mel import (
    HISTORY_SAMPLES,
    HOP_SAMPLES,
    MEL_BANDS,
    TURN_FRAMES,
    LogMel,
    denormalise_mel,
    dmel_levels,
    log_mel,
)
from microturn.model.model import Network
from microturn.model.sequence import LastWords, SequenceBuilder, stack_rows
from microturn.model.state import MAX_FORWARD_TOKENS, BackboneState, initial_backbone_state
from microturn.model.tokens import ACTS, OutputVocabulary, TextTokenizer
from microturn.model.vocoder import DELAY_SAMPLES, FFT_SAMPLES, Vocoder, VocoderState
from microturn.turn import (
    MAX_HEAR_TOKENS,
    MAX_SAY_TOKENS,
    TURN_SAMPLES,
    Act,
    Pcm,
    TextIn,
    TextSource,
    TurnInput,
    TurnOutput,
)

# Shapes: R rows, O output ids, F mel frames of a turn, M mel bands, D width.

MAX_TEXT_IN_TOKENS = 512
"""Most tokens of typed text that one turn takes."""
FLUSH_TURNS = 1
"""Turns after speech in which the vocoder still sounds (its delay is shorter than a turn)."""
FLUSH_SAMPLES = DELAY_SAMPLES + FFT_SAMPLES - HOP_SAMPLES
"""What is left of speech in the turn after it: the vocoder's delay and its last overlap, 50 ms."""


@dataclass
class RowState:
    """What one session carries from turn to turn besides the backbone's memory."""

    generator: torch.Generator
    """Draws the flow head's noise: the same seed gives the same bits."""
    turn: int = 0
    end: int = layout.END_START
    last: LastWords = field(default_factory=LastWords)
    history: Pcm = field(default_factory=lambda: np.zeros(HISTORY_SAMPLES, np.float32))
    last_levels: NDArray[np.uint8] | None = None
    """Levels (20, 80) of the user's sound in the previous turn; None at the start and after a gap."""
    last_patches: NDArray[np.uint8] | None = None
    """Patches (P, 40, 40, 3) of the newest picture."""
    last_mel: LogMel | None = None
    """Normalised frames (20, 80) of the previous turn, if it spoke."""
    quiet_turns: int = FLUSH_TURNS + 1
    """Turns since the model last spoke."""


@dataclass
class State:
    """The memory of R sessions; made by ``Microturn.initial_state``, advanced by ``Microturn.step``."""

    backbone: BackboneState
    vocoder: VocoderState
    rows: list[RowState]


@dataclass
class _Decoded:
    """A row's output tokens as they are decoded."""

    hear: list[int] = field(default_factory=list)
    say: list[int] = field(default_factory=list)
    act: Act | None = None
    speaks: bool | None = None
    """None until the turn has ended."""
    stage: int = 0
    """0: hear, 1: say, 2: act, 3: only the end may follow."""


def use_one_thread() -> None:
    """Compute on one core: a turn's operations are small, and beside busy processes threads wait for each other (p99 of
    a turn 158 to 212 ms with two, 46 with one; docs/log.md)."""
    torch.set_num_threads(1)


class Microturn:
    """Network, vocoder and tokenizer, in evaluation mode on one device."""

    def __init__(self, network: Network, vocoder: Vocoder, tokenizer: TextTokenizer) -> None:
        self.network = network.eval()
        self.vocoder = vocoder.eval()
        self.tokenizer = tokenizer
        self.config = network.config
        self.device = next(network.parameters()).device
        self._outputs = OutputVocabulary(tokenizer.vocab_size)
        self._sources = {source: index for index, source in enumerate(TextSource)}
        self._fresh_vocoder: VocoderState | None = None
        self._allowed_SO = self._grammar().to(self.device)

    def initial_state(self, num_rows: int, seeds: Rows[int] | None = None) -> State:
        """Empty memory for ``num_rows`` sessions; ``seeds`` (default: 0 for every row) fix each row's noise."""
        dtype = self.network.embedder.text.weight.dtype
        seeds = [0] * num_rows if seeds is None else seeds
        return State(
            initial_backbone_state(self.config, num_rows, self.device, dtype),
            self.vocoder.initial_state(num_rows),
            [RowState(torch.Generator().manual_seed(seed)) for seed in seeds],
        )

    def reset_row(self, state: State, row: int, seed: int = 0) -> None:
        """Forget the session in ``row``; the others are untouched."""
        state.backbone.reset([row])
        self._reset_vocoder(state, [row])
        state.rows[row] = RowState(torch.Generator().manual_seed(seed))

    @torch.inference_mode()
    def step(self, inputs: Rows[TurnInput | None], state: State) -> list[TurnOutput | None]:
        """One turn of every row: ``inputs`` holds R turn inputs; a row with ``None`` skips this step unchanged.

        Returns R outputs (``None`` for rows that skipped) and advances ``state`` in place. Raises ``InputError`` for an
        input that is not acceptable (wrong shape, a NaN sample, an empty frame, too much text), with nothing changed.
        """
        if len(inputs) != len(state.rows):
            raise InputError(f"{len(inputs)} inputs for a state of {len(state.rows)} rows")
        for row, given in zip(state.rows, inputs, strict=True):
            if given is not None:
                given.check(row.turn)
                self._text_ids(given.texts, row.turn)
        active = [index for index, given in enumerate(inputs) if given is not None]
        if not active:
            return [None] * len(inputs)
        hidden_RD = self._take_in(inputs, state)
        decoded, hidden_RD = self._decode(hidden_RD, active, state)
        audio = self._sound(hidden_RD, decoded, active, state)
        return [
            self._finish(decoded[index], audio[index], row) if index in decoded else None
            for index, row in enumerate(state.rows)
        ]

    def _text_ids(self, texts: tuple[TextIn, ...], turn: int) -> list[int]:
        ids = [
            self._sources[text.source] * self.tokenizer.vocab_size + index
            for text in texts
            for index in self.tokenizer.encode(text.text)
        ]
        if len(ids) > MAX_TEXT_IN_TOKENS:
            raise InputError(f"turn {turn}: {len(ids)} tokens of text, at most {MAX_TEXT_IN_TOKENS} fit in a turn")
        return ids

    def _take_in(self, inputs: Rows[TurnInput | None], state: State) -> Tensor:
        """Run all rows' input tokens; returns each row's hidden state at its last one, (R, D)."""
        builders = [self._input_tokens(given, row) for given, row in zip(inputs, state.rows, strict=True)]
        parts = _parts(builders)
        for part in parts:
            hidden_RTD = self._forward(part, state)
        last = torch.tensor([max(0, len(builder) - 1) for builder in parts[-1]], device=self.device)
        return hidden_RTD[torch.arange(len(builders), device=self.device), last]

    def _input_tokens(self, given: TurnInput | None, row: RowState) -> SequenceBuilder:
        builder = SequenceBuilder(row.last)
        if given is None:
            return builder
        audio: NDArray[np.uint8] | None = None
        if given.audio is None:
            row.history = np.zeros(HISTORY_SAMPLES, np.float32)
            row.last_levels = None
        else:
            levels = dmel_levels(log_mel(given.audio, row.history))
            audio = with_context(row.last_levels, levels)
            row.history = given.audio[-HISTORY_SAMPLES:].copy()
            row.last_levels = levels
        own = None if row.last_mel is None else dmel_levels(denormalise_mel(row.last_mel))
        patches: NDArray[np.uint8] | None = None
        if given.frame is not None:
            shown = frame_to_patches(given.frame, self.config.patch_rows)
            patches = with_before(row.last_patches, shown)
            row.last_patches = shown
        builder.add_inputs(row.turn, row.end, own, self._text_ids(given.texts, row.turn), patches, audio)
        row.last = builder.last
        return builder

    def _forward(self, builders: list[SequenceBuilder], state: State) -> Tensor:
        hidden: Tensor = self.network(stack_rows(builders, self.device), None, state.backbone)
        return hidden

    def _decode(self, hidden_RD: Tensor, active: list[int], state: State) -> tuple[dict[int, _Decoded], Tensor]:
        """Output tokens of the active rows, and each row's hidden state where its turn's end was predicted."""
        decoded = {index: _Decoded() for index in active}
        while True:
            waiting = [index for index in active if decoded[index].speaks is None]
            if not waiting:
                return decoded, hidden_RD
            scores_WO = self.network.lane_scores(hidden_RD[waiting])
            stages = torch.tensor([self._stage(decoded[index]) for index in waiting], device=self.device)
            scores_WO = scores_WO.masked_fill(~self._allowed_SO[stages], float("-inf"))
            builders = [SequenceBuilder(row.last) for row in state.rows]
            for index, output in zip(waiting, self._choose(scores_WO).tolist(), strict=True):
                self._take_output(decoded[index], output, builders[index], state.rows[index].turn)
                state.rows[index].last = builders[index].last
            if any(len(builder) for builder in builders):
                ran = torch.tensor([len(builder) > 0 for builder in builders], device=self.device).unsqueeze(1)
                hidden_RD = torch.where(ran, self._forward(builders, state)[:, 0], hidden_RD)

    def _choose(self, scores_WO: Tensor) -> Tensor:
        """The output of every row, (W,): lane by lane, a word if one is likelier than none, and then the likeliest one.

        The likeliest of all outputs would be silence whenever it is sure that something is to be written or said but
        not which word.
        """
        outputs = self._outputs
        lanes = (slice(0, outputs.say), slice(outputs.say, outputs.act), slice(outputs.act, outputs.listen))
        probability_WO = outputs.unweighted(scores_WO).softmax(-1)
        chosen_W = outputs.listen + probability_WO[:, outputs.listen :].argmax(-1)
        for lane in reversed(lanes):
            word_W = lane.start + probability_WO[:, lane].argmax(-1)
            is_word_W = probability_WO[:, lane].sum(-1) > probability_WO[:, lane.stop :].sum(-1)
            chosen_W = torch.where(is_word_W, word_W, chosen_W)
        return chosen_W

    def _stage(self, decoded: _Decoded) -> int:
        stage = decoded.stage
        if stage == 0 and len(decoded.hear) == MAX_HEAR_TOKENS:
            stage = 1
        if stage <= 1 and len(decoded.say) == MAX_SAY_TOKENS:
            stage = 2
        return stage

    def _grammar(self) -> Tensor:
        """Which output ids may come in which stage, (4, O)."""
        outputs = self._outputs
        allowed = torch.ones(4, outputs.size, dtype=torch.bool)
        allowed[1:, : outputs.say] = False
        allowed[2:, outputs.say : outputs.act] = False
        allowed[3:, outputs.act : outputs.listen] = False
        return allowed

    def _take_output(self, decoded: _Decoded, output: int, builder: SequenceBuilder, turn: int) -> None:
        """Note one output id; the next token of the row, if the turn goes on, is added to ``builder``."""
        outputs = self._outputs
        if output < outputs.say:
            builder.add(Kind.HEAR, turn, layout.SLOT_HEAR + len(decoded.hear), output)
            decoded.hear.append(output)
        elif output < outputs.act:
            token = output - outputs.say
            builder.add(Kind.SAY, turn, layout.SLOT_SAY + len(decoded.say), token)
            decoded.say.append(token)
            decoded.stage = 1
        elif output < outputs.listen:
            builder.add(Kind.ACT, turn, layout.SLOT_ACT, output - outputs.act)
            decoded.act = ACTS[output - outputs.act]
            decoded.stage = 3
        else:
            decoded.speaks = output == outputs.speak

    def _sound(
        self, hidden_RD: Tensor, decoded: dict[int, _Decoded], active: list[int], state: State
    ) -> dict[int, Pcm]:
        """The turn's sound of every active row; speaking rows go through flow head and vocoder."""
        speaking = [index for index in active if decoded[index].speaks]
        if speaking:
            shape = (TURN_FRAMES, MEL_BANDS)
            noise = torch.stack([torch.randn(shape, generator=state.rows[index].generator) for index in speaking])
            last = [state.rows[index].last_mel for index in speaking]
            last_mel = torch.from_numpy(np.stack([_SILENT_MEL if mel is None else mel for mel in last]))
            rows = [state.rows[index] for index in speaking]
            said_S = torch.tensor([row.last.said for row in rows], device=self.device)
            age_S = torch.tensor([row.last.age(row.turn) for row in rows], device=self.device)
            given_SC = self.network.voice(hidden_RD[speaking], said_S, age_S)
            mel_SFM = self.network.flow.sample(given_SC, last_mel.to(self.device), noise.to(self.device))
            mels = dict(zip(speaking, mel_SFM.float().clamp(-2.0, 2.0).cpu().numpy(), strict=True))
        else:
            mels = {}
        sounding = []
        for index in active:
            row = state.rows[index]
            row.last_mel = mels.get(index)
            row.quiet_turns = 0 if index in mels else row.quiet_turns + 1
            if row.quiet_turns <= FLUSH_TURNS:
                sounding.append(index)
        audio = {index: np.zeros(TURN_SAMPLES, np.float32) for index in active}
        if sounding:
            frames = np.stack([mels.get(index, _SILENT_MEL) for index in range(len(state.rows))])
            before = state.vocoder
            wave, state.vocoder = self.vocoder.step(torch.from_numpy(frames).to(self.device), before)
            for index in sounding:
                audio[index] = wave[index].clamp(-1.0, 1.0).cpu().numpy()
                if index not in mels:
                    audio[index][FLUSH_SAMPLES:] = 0.0
            self._reset_vocoder(state, [index for index in active if index not in mels])
            skipped = [index for index in range(len(state.rows)) if index not in active]
            state.vocoder = state.vocoder.reset(self._row_mask(skipped, state), before)
        return audio

    def _reset_vocoder(self, state: State, rows: list[int]) -> None:
        if self._fresh_vocoder is None or self._fresh_vocoder.phase_B.shape[0] != len(state.rows):
            self._fresh_vocoder = self.vocoder.initial_state(len(state.rows))
        state.vocoder = state.vocoder.reset(self._row_mask(rows, state), self._fresh_vocoder)

    def _row_mask(self, rows: list[int], state: State) -> Tensor:
        mask = torch.zeros(len(state.rows), dtype=torch.bool, device=self.device)
        mask[rows] = True
        return mask

    def _finish(self, decoded: _Decoded, audio: Pcm, row: RowState) -> TurnOutput:
        output = TurnOutput(
            turn=row.turn,
            hear=self.tokenizer.decode(decoded.hear),
            say=self.tokenizer.decode(decoded.say),
            act=decoded.act,
            speaking=bool(decoded.speaks),
            audio=audio,
        )
        row.turn += 1
        row.end = layout.END_SPEAK if decoded.speaks else layout.END_LISTEN
        return output


_SILENT_MEL = np.full((TURN_FRAMES, MEL_BANDS), -2.0, np.float32)


def _parts(builders: list[SequenceBuilder]) -> list[list[SequenceBuilder]]:
    """Cut rows that are longer than one forward pass may be, counted from their ends, so that the newest sound is whole
    and in the last part; short rows are empty in the earlier parts."""
    num_parts = max(1, -(-max(len(builder) for builder in builders) // MAX_FORWARD_TOKENS))
    parts: list[list[SequenceBuilder]] = []
    for after in range(num_parts - 1, -1, -1):
        stops = [max(0, len(builder) - after * MAX_FORWARD_TOKENS) for builder in builders]
        parts.append(
            [
                builder.part(max(0, stop - MAX_FORWARD_TOKENS), stop)
                for builder, stop in zip(builders, stops, strict=True)
            ]
        )
    return parts
