"""Records to training rows: tokens by the grammar of the turn, and what is to be predicted where."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.model import layout
from microturn.model.ear import with_context
from microturn.model.eye import frame_to_patches, with_before
from microturn.model.layout import Kind
from microturn.model.letters import NUM_LETTERS
from microturn.model.mel import LEVELS, MEL_BANDS, TURN_FRAMES, LogMel, dmel_levels, normalise_mel
from microturn.model.sequence import Sequence, SequenceBuilder, stack_rows
from microturn.model.tokens import OutputVocabulary, TextTokenizer, spill
from microturn.scenario.corpus import Record, decode_frame, mel_from_bytes
from microturn.train.augment import AugmentConfig, augment_user, hesitant, misheard
from microturn.turn import MAX_HEAR_TOKENS, MAX_SAY_TOKENS, TextSource

# Shapes: P predictions, S speaking turns, F mel frames, M mel bands.

assert LEVELS == 16


@dataclass
class Row:
    """One record as tokens, with its targets."""

    tokens: SequenceBuilder
    predict_at: list[int] = field(default_factory=list)
    predict: list[int] = field(default_factory=list)
    hear_unknown: list[bool] = field(default_factory=list)
    speak_at: list[int] = field(default_factory=list)
    """Positions whose hidden state makes a turn's sound."""
    mel: list[LogMel] = field(default_factory=list)
    """Normalised frames (20, 80) of each such turn, and of the turn before it."""
    last_mel: list[LogMel] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """Rows of equal standing: tokens, predictions (flat positions in (rows, length)) and sounds."""

    sequence: Sequence
    predict_at_P: Tensor
    predict_P: Tensor
    hear_unknown_P: Tensor
    speak_at_S: Tensor
    mel_SFM: Tensor
    last_mel_SFM: Tensor
    family_P: Tensor
    """Index into the sorted family names, for the figures of the progress bar."""
    letter_names_L: Tensor
    """Which letter each letter is called, (26,): itself, but for ``train.spell``."""


class Packer:
    """Turns records into rows for one tokenizer and picture size."""

    def __init__(self, tokenizer: TextTokenizer, patch_rows: int, augment: AugmentConfig | None) -> None:
        self._tokenizer = tokenizer
        self._outputs = OutputVocabulary(tokenizer.vocab_size)
        self._patch_rows = patch_rows
        self._augment = augment
        self._sources = {source.value: index for index, source in enumerate(TextSource)}

    def row(self, record: Record, rng: np.random.Generator) -> Row:
        """One record as tokens. Where every turn is a gap there is nothing to hear: the words heard are given."""
        if self._augment is not None:
            record = hesitant(record, rng, self._augment)
        spoken = dict(zip(record.speaking, mel_from_bytes(record.model_mel), strict=True))
        gaps = set(record.gaps)
        deaf = len(gaps) == record.num_turns
        heard = misheard(record.hear, rng, self._augment) if deaf and self._augment is not None else record.hear
        hear = spill(heard, self._tokenizer, MAX_HEAR_TOKENS, record.num_turns)
        say = spill(record.say, self._tokenizer, MAX_SAY_TOKENS, record.num_turns)
        user_levels = {} if deaf else self._user_levels(record, rng)
        unlabelled = set(record.unlabelled)
        row = Row(SequenceBuilder())
        end, last = layout.END_START, None
        shown: NDArray[np.uint8] | None = None
        for turn in range(record.num_turns):
            patches = self._patches(record.frames.get(turn))
            row.tokens.add_inputs(
                turn,
                end,
                None if last is None else self._own_levels(last, rng),
                [index for source, text in record.texts.get(turn, ()) for index in self._text_ids(source, text)],
                None if patches is None else with_before(shown, patches),
                None
                if turn in gaps
                else with_context(None if turn - 1 in gaps | {-1} else user_levels[turn - 1], user_levels[turn]),
            )
            shown = shown if patches is None else patches
            self._add_outputs(row, turn, hear[turn], say[turn], turn in spoken, turn in unlabelled, deaf)
            if turn in spoken:
                row.speak_at.append(len(row.tokens) - 1)
                row.mel.append(normalise_mel(spoken[turn]))
                row.last_mel.append(normalise_mel(last) if last is not None else _SILENT)
            end = layout.END_SPEAK if turn in spoken else layout.END_LISTEN
            last = spoken.get(turn)
        return row

    def _user_levels(self, record: Record, rng: np.random.Generator) -> dict[int, NDArray[np.uint8]]:
        """Levels (20, 80) of the user's sound by turn."""
        user = mel_from_bytes(record.user_mel)
        if self._augment is not None:
            user = augment_user(user, rng, self._augment)
        return dict(enumerate(dmel_levels(user)))

    def _add_outputs(
        self, row: Row, turn: int, hear: list[int], say: list[int], speaks: bool, unknown: bool, deaf: bool
    ) -> None:
        """Output tokens of a turn; every one is predicted at the token before it (words heard not by a deaf row)."""
        outputs = self._outputs
        wanted = [(Kind.HEAR, layout.SLOT_HEAR + i, token, token) for i, token in enumerate(hear)]
        wanted += [(Kind.SAY, layout.SLOT_SAY + i, token, outputs.say + token) for i, token in enumerate(say)]
        for kind, slot, payload, output in wanted:
            if not (deaf and kind == Kind.HEAR):
                self._predict(row, output, unknown or deaf)
            row.tokens.add(kind, turn, slot, payload)
        self._predict(row, outputs.speak if speaks else outputs.listen, unknown or deaf)

    def _predict(self, row: Row, output: int, unknown: bool) -> None:
        row.predict_at.append(len(row.tokens) - 1)
        row.predict.append(output)
        row.hear_unknown.append(unknown and output >= self._outputs.say)

    def _text_ids(self, source: str, text: str) -> list[int]:
        offset = self._sources[source] * self._tokenizer.vocab_size
        return [offset + index for index in self._tokenizer.encode(text)]

    def _patches(self, frame: bytes | None) -> NDArray[np.uint8] | None:
        return None if frame is None else frame_to_patches(decode_frame(frame), self._patch_rows)

    def _own_levels(self, mel: LogMel, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Own voice with a little noise, as the flow head's frames will differ from the true ones."""
        if self._augment is None:
            return dmel_levels(mel)
        return dmel_levels(mel + rng.normal(0, rng.uniform(0, 0.6), mel.shape).astype(np.float32))


_SILENT = np.full((TURN_FRAMES, MEL_BANDS), -2.0, np.float32)


def collate(rows: list[Row], families: list[int], device: torch.device) -> Batch:
    """Rows to one batch on ``device``."""
    sequence = stack_rows([row.tokens for row in rows], device)
    length = sequence.kind_BT.shape[1]

    def flat(name: str) -> Tensor:
        parts = [np.asarray(getattr(row, name), np.int64) + index * length for index, row in enumerate(rows)]
        return torch.from_numpy(np.concatenate(parts)).to(device)

    def join(name: str, dtype: type) -> Tensor:
        return torch.from_numpy(np.concatenate([np.asarray(getattr(row, name), dtype) for row in rows])).to(device)

    def mels(name: str) -> Tensor:
        parts = [mel for row in rows for mel in getattr(row, name)]
        array = np.stack(parts) if parts else np.zeros((0, TURN_FRAMES, MEL_BANDS), np.float32)
        return torch.from_numpy(array).to(device)

    counts = np.repeat(np.asarray(families, np.int64), [len(row.predict) for row in rows])
    return Batch(
        sequence=sequence,
        predict_at_P=flat("predict_at"),
        predict_P=join("predict", np.int64),
        hear_unknown_P=join("hear_unknown", np.bool_),
        speak_at_S=flat("speak_at"),
        mel_SFM=mels("mel"),
        last_mel_SFM=mels("last_mel"),
        family_P=torch.from_numpy(counts).to(device),
        letter_names_L=torch.arange(NUM_LETTERS, device=device),
    )
