"""Sessions as training rows: a scenario's tokens by the grammar of the turn, and what is to be said where."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from microturn.errors import InputError
from microturn.language.tokenizer import TextTokenizer
from microturn.language.wordings import instructions
from microturn.media.mel import MEL_BANDS, TURN_FRAMES, dmel_levels, log_mel, normalise_mel
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.eye import frame_to_patches
from microturn.model.flow import SILENT_MEL
from microturn.model.hearing import NO_WORD, VOICE_LAG_MS, Hearing, initial_hearing_state, turn_levels
from microturn.model.likeness import initial_picture_state, looked
from microturn.model.network import last_of_turn
from microturn.model.outputs import ACTS, SAY_WEIGHT, OutputVocabulary
from microturn.model.spelling import ALPHABET, LATIN_LETTERS
from microturn.model.turns import (
    MAX_TEXT_IN_TOKENS,
    SOURCE_OF_TEXT,
    End,
    Kind,
    Sound,
    Source,
    Token,
    act_token,
    input_tokens,
    say_token,
)
from microturn.scenario.practice import DONE, SPELLING, WATCHING, make_scenario
from microturn.scenario.scenario import Scenario
from microturn.train.augment import AugmentConfig, augment_frames, augment_user, hesitant, instructed, misheard
from microturn.train.batch import Head, MelTargets, Patch, Row, Targets
from microturn.train.tasks import Draw, Materials, RowSource
from microturn.turn import MAX_SAY_TOKENS, TURN_MS, TURN_SAMPLES
from microturn.voices.assistant import assistant_voice

# Shapes: T tokens, U turns, S speaking turns, F mel frames, M bands.

T = TypeVar("T")
MAX_GAP_TURNS = 60
"""Longest stretch of turns without sound in a rehearsal: a muted microphone, a lost connection."""
FLOW_EVERY = 4
"""The velocity is told on one speaking turn of so many, the guess on all of them."""
LAST_NOISE = 0.1
"""Standard deviation of the noise on the frames before, which the model makes itself later (normalised units)."""


@dataclass(frozen=True, kw_only=True)
class SessionRows:
    """Sessions of families (``scenario.practice``): the words that are heard are given as they ought to be written, or
    are those that the hearing stack writes of the user's sound."""

    shares: dict[str, float]
    """By family: how often it is drawn."""
    hears: bool = False

    @property
    def says(self) -> bool:
        """Whether the model says words in any of them."""
        return bool(self.shares.keys() - {WATCHING})

    def open(self, materials: Materials) -> Draw:
        """Raises ``VoiceError`` without the assistant's voice, from which the times of its words come; drawing raises
        ``InputError`` where the hearing stack is to hear and there is none."""
        hearing = materials.hearing if self.hears else None
        if self.says:
            assistant_voice()
        packer = Packer(materials.tokenizer, materials.patch_rows, materials.augment)
        families = list(self.shares)
        shares = np.array([self.shares[family] for family in families])
        shares = shares / shares.sum()

        def draw(rng: np.random.Generator, uses: int) -> list[Row]:
            if self.hears and hearing is None:
                raise InputError("sessions with the user's sound need a hearing stack")
            family = families[int(rng.choice(len(families), p=shares))]
            scenario = make_scenario(family, int(rng.integers(1 << 40)), materials.split, materials.data)
            return [packer.row(scenario, rng, hearing) for _ in range(uses)]

        return draw

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        return {family: replace(self, shares={family: 1.0}) for family in self.shares}


@dataclass(frozen=True)
class Packer:
    """Turns scenarios into rows for one tokenizer and picture size; with ``augment`` they are changed at random."""

    tokenizer: TextTokenizer
    patch_rows: int
    augment: AugmentConfig | None

    def row(self, scenario: Scenario, rng: np.random.Generator, hearing: Hearing | None = None) -> Row:
        """One scenario: words to say and ends of turns are told, or phases. ``hearing`` writes what is heard."""
        scenario = self._changed(scenario, rng)
        if hearing is None:
            row = Row(sound=sounds(scenario, rng, vary=self.augment is not None))
            heard = self._rehearsed(scenario, rng)
        else:
            levels = self._levels(scenario, rng)
            heard, told = listened(hearing, levels, scenario.gaps)
            row = Row(sound=told, levels=levels)
        typed = self._instructed(self._typed(scenario), scenario, rng)
        if self.augment is not None and scenario.family == SPELLING:
            row.renamed = int(rng.integers(LATIN_LETTERS))
        row.targets = self._add_tokens(scenario, row, rng, heard, typed)
        return row

    def spoken_row(self, scenario: Scenario, rng: np.random.Generator) -> Row:
        """One scenario of which the model's sound is told: frames after each speaking turn's last token."""
        scenario = self._changed(scenario, rng)
        row = Row(sound=sounds(scenario, rng, vary=False))
        self._add_tokens(scenario, row, rng, self._rehearsed(scenario, rng), self._typed(scenario))
        row.mel = self._mel_targets(scenario, row.tokens[:, 3], rng)
        return row

    def _changed(self, scenario: Scenario, rng: np.random.Generator) -> Scenario:
        if self.augment is None:
            return scenario
        return replace(scenario, said=hesitant(scenario.said, scenario.num_turns, rng, self.augment))

    def _rehearsed(self, scenario: Scenario, rng: np.random.Generator) -> list[list[int]]:
        """The words of every turn that ought to be heard."""
        heard = scenario.hear_labels()
        if self.augment is not None:
            heard = misheard(heard, rng, self.augment)
        return spread(self._ids(heard), AUDIO_TOKENS, scenario.num_turns)

    def _levels(self, scenario: Scenario, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The user's sound (U, 20, 80), changed at random."""
        sound = scenario.user.reshape(scenario.num_turns, TURN_SAMPLES).copy()
        sound[sorted(scenario.gaps)] = 0.0
        mel = log_mel(sound.flatten()).reshape(scenario.num_turns, TURN_FRAMES, MEL_BANDS)
        levels: NDArray[np.uint8] = dmel_levels(mel if self.augment is None else augment_user(mel, rng, self.augment))
        levels[sorted(scenario.gaps)] = 0
        return levels

    def _add_tokens(
        self,
        scenario: Scenario,
        row: Row,
        rng: np.random.Generator,
        hear: list[list[int]],
        typed: Mapping[int, list[tuple[Source, int]]],
    ) -> dict[Head, Targets]:
        """Put all tokens and pictures into ``row``; returns what is to be told.

        A word that is said is told at the token before it, an act too, and the turn's end at the turn's last token.
        Where there are phases nothing is said: such pictures are only watched.
        """
        frames, speaking = scenario.frames, scenario.speaking()
        if self.augment is not None and frames:
            frames = augment_frames(frames, seen_in_time(scenario), rng, self.augment)
        words = {
            turn: [renamed_letter(word, row.renamed) for word in said] for turn, said in scenario.say_labels().items()
        }
        say = spread(self._ids(words), MAX_SAY_TOKENS, scenario.num_turns)
        texts = spread(typed, MAX_TEXT_IN_TOKENS, scenario.num_turns)
        acts = {turn: ACTS.index(act) for turn, act in scenario.act_labels().items()}
        outputs = OutputVocabulary(self.tokenizer.vocab_size)
        tokens: list[tuple[int, ...]] = []
        phases: list[tuple[int, int, float]] = []
        said: list[tuple[int, int, float]] = []
        ended = End.START
        pictures = initial_picture_state(self.patch_rows**2, rows=1)
        for turn in range(scenario.num_turns):
            patches = None if turn not in frames else frame_to_patches(frames[turn], self.patch_rows)
            came_in = input_tokens(texts[turn], 0 if patches is None else len(patches), hear[turn], ended)
            if patches is not None:
                seen, pictures = looked(pictures, torch.from_numpy(patches)[None], torch.tensor([turn]))
                at = [len(tokens) + place for place, token in enumerate(came_in) if token[0] == Kind.PATCH]
                for place, pixels in zip(at, seen.patches_RNPPC[0].numpy(), strict=True):
                    row.patches.append(Patch(place, pixels, seen.likeness_RL[0].numpy()))
            tokens += [_placed(token, turn) for token in came_in]
            if scenario.phases:
                if turn in scenario.phases:
                    phases.append((len(tokens) - 1, scenario.phases[turn], 1.0))
                continue
            for place, word in enumerate(say[turn]):
                said.append((len(tokens) - 1, word, SAY_WEIGHT))
                tokens.append(_placed(say_token(word, place), turn))
            if turn in acts:
                said.append((len(tokens) - 1, outputs.act + acts[turn], 1.0))
                tokens.append(_placed(act_token(acts[turn]), turn))
            said.append((len(tokens) - 1, outputs.speak if speaking[turn] else outputs.listen, 1.0))
            ended = End.SPEAK if speaking[turn] else End.LISTEN
        row.tokens = np.array(tokens, np.int64).reshape(-1, 5)
        return {Head.PHASES: Targets.of(phases)} if scenario.phases else {Head.SAY: Targets.of(said)}

    def _typed(self, scenario: Scenario) -> dict[int, list[tuple[Source, int]]]:
        """Source and text token of all texts, by the turn they come in."""
        return {
            turn: [(SOURCE_OF_TEXT[text.source], token) for text in texts for token in self.tokenizer.encode(text.text)]
            for turn, texts in scenario.texts.items()
        }

    def _instructed(
        self, typed: dict[int, list[tuple[Source, int]]], scenario: Scenario, rng: np.random.Generator
    ) -> dict[int, list[tuple[Source, int]]]:
        """``typed``, now and then with instructions among them, which change nothing that is asked."""
        if self.augment is None or scenario.phases or rng.random() >= self.augment.instructed_probability:
            return typed
        turn = 0 if rng.random() < self.augment.instructed_first_share else int(rng.integers(scenario.num_turns))
        written = [(Source.INSTRUCTIONS, token) for token in self.tokenizer.encode(instructions(rng))]
        return instructed(typed, written, turn, MAX_TEXT_IN_TOKENS)

    def _ids(self, words: Mapping[int, Iterable[str]]) -> dict[int, list[int]]:
        return {
            turn: [token for word in said for token in self.tokenizer.encode_word(word)] for turn, said in words.items()
        }

    def _mel_targets(self, scenario: Scenario, turn_T: NDArray[np.int64], rng: np.random.Generator) -> MelTargets:
        """The frames of speaking turns; ``turn_T`` is the turn of every token."""
        mel_UFM = normalise_mel(log_mel(scenario.model_pcm())).reshape(-1, TURN_FRAMES, MEL_BANDS)
        speaking_U = np.array(scenario.speaking())
        mel_UFM[~speaking_U] = SILENT_MEL
        last_UFM = np.concatenate([np.full((1, TURN_FRAMES, MEL_BANDS), SILENT_MEL, np.float32), mel_UFM[:-1]])
        if self.augment is not None:
            last_UFM = last_UFM + _noise(rng, last_UFM.shape, LAST_NOISE)
        turn_S = np.flatnonzero(speaking_U)
        flow_V = np.arange(int(rng.integers(FLOW_EVERY)), len(turn_S), FLOW_EVERY)
        last_token_U = np.searchsorted(turn_T, np.arange(len(speaking_U)), side="right") - 1
        return MelTargets(
            at_S=torch.from_numpy(last_token_U[turn_S]),
            mel_SFM=torch.from_numpy(mel_UFM[turn_S]),
            last_mel_SFM=torch.from_numpy(last_UFM[turn_S]),
            flow_V=torch.from_numpy(flow_V),
            noise_VFM=torch.from_numpy(_noise(rng, (len(flow_V), TURN_FRAMES, MEL_BANDS))),
            time_V=torch.from_numpy(rng.random(len(flow_V), dtype=np.float32)),
        )


def renamed_letter(word: str, by: int) -> str:
    """A letter ``by`` places on in the alphabet; words are as they are."""
    place = ALPHABET.find(word)
    return ALPHABET[(place + by) % LATIN_LETTERS] if len(word) == 1 and 0 <= place < LATIN_LETTERS else word


def seen_in_time(scenario: Scenario) -> set[int]:
    """The turns whose picture may be what is told then: the end of a repetition, or where the model begins to speak.

    Without it the model would learn to tell what it has not seen.
    """
    ends = {turn for turn, phase in scenario.phases.items() if phase == DONE}
    return ends | {utterance.turn for utterance in scenario.said}


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> NDArray[np.float32]:
    noise: NDArray[np.float32] = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
    return noise


def _placed(token: Token, turn: int) -> tuple[int, ...]:
    kind, source, payload, slot = token
    return (int(kind), int(source), int(payload), turn, slot)


def spread(items: Mapping[int, Sequence[T]], limit: int, num_turns: int) -> list[list[T]]:
    """Items by turn, at most ``limit`` a turn: what does not fit goes on in the next turn."""
    turns: list[list[T]] = []
    waiting: list[T] = []
    for turn in range(num_turns):
        waiting += items.get(turn, ())
        turns.append(waiting[:limit])
        waiting = waiting[limit:]
    return turns


@torch.no_grad()
def listened(
    hearing: Hearing, levels: NDArray[np.uint8], gaps: Collection[int]
) -> tuple[list[list[int]], NDArray[np.int64]]:
    """What the hearing stack makes of a session's sound (U, 20, 80): words and ``Sound`` of every turn."""
    arrived = np.ones(len(levels), bool)
    arrived[list(gaps)] = False
    frames, state = turn_levels(torch.from_numpy(levels)[None]), initial_hearing_state(hearing.config, 1)
    hidden_TD = hearing(frames, torch.from_numpy(arrived)[None], state)[0][0]
    written = hearing.written(hidden_TD).view(-1, AUDIO_TOKENS).tolist()
    is_voice = hearing.voice(last_of_turn(hidden_TD[None])[0]).squeeze(-1).numpy() > 0.0
    told = np.where(arrived, np.where(is_voice, int(Sound.VOICE), int(Sound.QUIET)), int(Sound.GAP))
    return [[word for word in words if word != NO_WORD] for words in written], told


def sounds(scenario: Scenario, rng: np.random.Generator, *, vary: bool) -> NDArray[np.int64]:
    """``Sound`` of every turn, (U,), as the hearing stack would tell it: does somebody speak near the turn's end?

    With ``vary`` some of it is told wrong, and now and then nothing arrives for a while where nothing is said.
    """
    told = np.full(scenario.num_turns, int(Sound.QUIET), np.int64)
    moment_ms = (np.arange(scenario.num_turns) + 1) * TURN_MS - VOICE_LAG_MS
    busy = np.zeros(scenario.num_turns, bool)
    for word in scenario.heard:
        told[(moment_ms >= word.start_ms) & (moment_ms < word.end_ms)] = int(Sound.VOICE)
        busy[int(word.start_ms // TURN_MS) : int(word.end_ms // TURN_MS) + 2] = True
    told[sorted(scenario.gaps)] = int(Sound.GAP)
    if vary:
        wrong = rng.random(scenario.num_turns) < 0.02
        told = np.where(wrong & (told != Sound.GAP), int(Sound.QUIET) + int(Sound.VOICE) - told, told)
        if rng.random() < 0.2:
            first = int(rng.integers(scenario.num_turns))
            last = min(scenario.num_turns, first + int(rng.integers(1, MAX_GAP_TURNS)))
            told[first:last][~busy[first:last]] = int(Sound.GAP)
    return told
