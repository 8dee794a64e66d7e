"""The model as its users meet it: turns in, turns out, for several sessions (rows) at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from microturn.errors import InputError
from microturn.language.tokenizer import TextTokenizer
from microturn.media.mel import HISTORY_SAMPLES, MEL_BANDS, TURN_FRAMES, dmel_levels, log_mel
from microturn.model.eye import frame_to_patches
from microturn.model.network import Network
from microturn.model.outputs import ACTS
from microturn.model.state import MAX_WAITING_TOKENS, State, initial_state
from microturn.model.step import Given, Made, Weights, step
from microturn.model.turns import SOURCE_OF_TEXT
from microturn.model.vocoder import Vocoder
from microturn.turn import TURN_SAMPLES, TurnInput, TurnOutput

# Shapes: R rows.


def use_one_thread() -> None:
    """Compute on one core: a turn's operations are small, and beside busy processes threads wait for each other (p99 of
    a turn 158 to 212 ms with two, 46 with one; docs/log.md)."""
    torch.set_num_threads(1)


class Microturn:
    """Network, vocoder and tokenizer, in evaluation mode on one device."""

    def __init__(self, network: Network, vocoder: Vocoder, tokenizer: TextTokenizer) -> None:
        network.spell(tokenizer)
        self.weights = Weights(network.eval(), vocoder.eval())
        self.tokenizer = tokenizer
        self.config = network.config
        self.device = next(network.parameters()).device

    @property
    def network(self) -> Network:
        return self.weights.network

    def initial_state(self, num_rows: int, seeds: Sequence[int] | None = None) -> State:
        """Empty memory for ``num_rows`` sessions; ``seeds`` (default: 0 for every row) fix each row's noise."""
        chosen = [0] * num_rows if seeds is None else list(seeds)
        return initial_state(self.config, self.weights.vocoder, num_rows, chosen, self.device)

    def prepare(self) -> None:
        """Compile what a turn on this machine's CPU runs, so that no turn waits for it: some twenty seconds once, then
        it is read from disk."""
        silence = TurnInput(audio=np.zeros(TURN_SAMPLES, np.float32))
        _, state = self.step([silence], self.initial_state(1))
        with torch.inference_mode():
            given = self.network.flow.condition(state.lanes.model_RK, state.lanes.said_age(state.turn_R))
            self.network.flow.sample(given, state.mel_RFM, state.mel_RFM)

    def reset(self, state: State, rows: Sequence[int], seed: int = 0) -> State:
        """The memory with new sessions in ``rows``; the others are as they were."""
        fresh = self.initial_state(len(rows), [seed] * len(rows))
        return state.put(torch.tensor(list(rows)), fresh)

    def step(
        self, inputs: Sequence[TurnInput | None], state: State
    ) -> tuple[list[TurnOutput | InputError | None], State]:
        """One turn of every row: ``inputs`` holds R turn inputs; a row with ``None`` skips this step unchanged.

        Returns R outputs (``None`` for rows that skipped) and the memory after them. A row whose input is not
        acceptable (wrong shape, a NaN sample, an empty frame, more text than may wait) gets an ``InputError`` in place
        of an output and skips; the others go on. Raises ``InputError`` for another number of rows.
        """
        if len(inputs) != state.num_rows:
            raise InputError(f"{len(inputs)} inputs for a state of {state.num_rows} rows")
        errors: dict[int, InputError] = {}
        waiting = state.waiting_RW.clone(), state.waiting_source_RW.clone(), state.num_waiting_R.clone()
        for row, given in enumerate(inputs):
            if given is not None:
                try:
                    given.check(int(state.turn_R[row]))
                    self._wait(given, row, int(state.turn_R[row]), *waiting)
                except InputError as error:
                    errors[row] = error
        active = [given is not None and row not in errors for row, given in enumerate(inputs)]
        if any(active):
            next_state, made = step(self.weights, state, self._given(inputs, active, state, *waiting))
            outputs: list[TurnOutput | InputError | None] = [
                self._output(made, row, int(state.turn_R[row])) if goes_on else errors.get(row)
                for row, goes_on in enumerate(active)
            ]
            return outputs, next_state
        return [errors.get(row) for row in range(len(inputs))], state

    def _wait(self, given: TurnInput, row: int, turn: int, ids_RW: Tensor, sources_RW: Tensor, count_R: Tensor) -> None:
        """Put a row's new text behind what waits already."""
        ids: list[int] = []
        sources: list[int] = []
        for text in given.texts:
            ids += self.tokenizer.encode(text.text)
            sources += [int(SOURCE_OF_TEXT[text.source])] * (len(ids) - len(sources))
        first = int(count_R[row])
        if first + len(ids) > MAX_WAITING_TOKENS:
            raise InputError(
                f"turn {turn}: {len(ids)} tokens of text and {first} that wait, at most {MAX_WAITING_TOKENS} may wait"
            )
        ids_RW[row, first : first + len(ids)] = torch.tensor(ids, dtype=torch.int64)
        sources_RW[row, first : first + len(ids)] = torch.tensor(sources, dtype=torch.int64)
        count_R[row] = first + len(ids)

    def _given(
        self,
        inputs: Sequence[TurnInput | None],
        active: list[bool],
        state: State,
        ids_RW: Tensor,
        sources_RW: Tensor,
        count_R: Tensor,
    ) -> Given:
        num_rows = len(inputs)
        levels = np.zeros((num_rows, TURN_FRAMES, MEL_BANDS), np.uint8)
        history = np.zeros((num_rows, HISTORY_SAMPLES), np.float32)
        patches = torch.zeros_like(state.pictures.newest_RNPPC)
        arrived, shown = [False] * num_rows, [False] * num_rows
        for row, given in enumerate(inputs):
            if given is None or not active[row]:
                continue
            if given.audio is not None:
                arrived[row] = True
                levels[row] = dmel_levels(log_mel(given.audio, state.history_RS[row].numpy()))
                history[row] = given.audio[-HISTORY_SAMPLES:]
            if given.frame is not None:
                shown[row] = True
                patches[row] = torch.from_numpy(frame_to_patches(given.frame, self.config.patch_rows))
        return Given(
            active_R=torch.tensor(active),
            levels_RFM=torch.from_numpy(levels),
            history_RS=torch.from_numpy(history),
            arrived_R=torch.tensor(arrived),
            patches_RNPPC=patches,
            shown_R=torch.tensor(shown),
            waiting_RW=ids_RW,
            waiting_source_RW=sources_RW,
            num_waiting_R=count_R,
            rehearsed=tuple(self._rehearsed(given) for given in inputs),
        )

    def _rehearsed(self, given: TurnInput | None) -> tuple[list[int], bool] | None:
        if given is None or given.rehearsed is None:
            return None
        ids = [token for word in given.rehearsed.words for token in self.tokenizer.encode_word(word)]
        return ids, given.rehearsed.voice

    def _output(self, made: Made, row: int, turn: int) -> TurnOutput:
        act = made.acts[row]
        return TurnOutput(
            turn=turn,
            hear=self.tokenizer.decode(made.heard[row]),
            say=self.tokenizer.decode(made.said[row]),
            act=None if act is None else ACTS[act],
            speaking=made.speaking[row],
            audio=made.audio_RS[row].numpy().copy(),
        )
