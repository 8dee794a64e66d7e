"""Batches from a corpus: length-bucketed, shuffled by seed, packed in worker processes, the same after a resume.

There are four kinds: whole sessions, speech to hear (``train.listen``), repetitions to follow (``train.watch``) and
words to spell (``train.spell``).
Which kind a step gets is a matter of its number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from microturn.errors import CorpusError
from microturn.model.layout import AUDIO_TOKENS
from microturn.model.tokens import OutputVocabulary, TextTokenizer
from microturn.scenario.corpus import Record, read_shards
from microturn.scenario.listening import FAMILY as LISTENING
from microturn.scenario.spelling import FAMILY as SPELLING
from microturn.scenario.watching import FAMILY as WATCHING
from microturn.train.augment import AugmentConfig
from microturn.train.listen import ListeningBatch, can_be_spelt, collate_listening, listening_row
from microturn.train.pack import Batch, Packer, collate
from microturn.train.spell import draw_names, letter_tokens, renamed
from microturn.train.watch import WatchingBatch, can_be_watched, collate_watching, watching_row


class StepKind(Enum):
    """What one optimiser step learns from."""

    SESSIONS = "sessions"
    LISTENING = "listening"
    WATCHING = "watching"
    SPELLING = "spelling"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How batches are made."""

    batch_tokens: int = 6000
    """Tokens of a batch, padding included, at most (a longer single row still makes a batch)."""
    pool_records: int = 768
    """Records sorted by length together; batches are cut from them and shuffled."""
    seed: int = 0
    num_workers: int = 1
    family_shares: dict[str, float] = field(default_factory=dict)
    """How often a record of a family is drawn in an epoch, relative to once (families not named: 1)."""
    listening_steps: int = 0
    """The first steps, which only listen."""
    listening_every: int = 0
    """After them, one step of so many listens (0: none)."""
    watching_every: int = 0
    """One step of so many watches (0: none), in the place of any other."""
    spelling_every: int = 0
    """One step of so many spells (0: none), in the place of a session's."""

    def kind_of(self, step: int) -> StepKind:
        """What this step's batch is."""
        if self.watching_every and step % self.watching_every == self.watching_every - 1:
            return StepKind.WATCHING
        if step < self.listening_steps or (self.listening_every and step % self.listening_every == 0):
            return StepKind.LISTENING
        if self.spelling_every and (step - 1) % self.spelling_every == 0:
            return StepKind.SPELLING
        return StepKind.SESSIONS


def estimate_tokens(record: Record, num_patches: int) -> int:
    """About how many tokens a record's row has (exact but for words of several tokens)."""
    words = sum(len(words) for labels in (record.hear, record.say) for words in labels.values())
    texts = sum(len(text.split()) for turn in record.texts.values() for _, text in turn)
    audio = AUDIO_TOKENS * (record.num_turns - len(record.gaps)) + len(record.gaps)
    return record.num_turns + audio + len(record.speaking) + num_patches * len(record.frames) + words + texts


AnyBatch = Batch | ListeningBatch | WatchingBatch


class Batches(IterableDataset[AnyBatch]):
    """An endless stream of batches from step ``first_step`` on; step *n*'s batch depends only on seed and *n*.

    Raises ``CorpusError`` when there is no record for one of the kinds of step that ``config`` asks for.
    """

    def __init__(
        self,
        records: list[Record],
        tokenizer: TextTokenizer,
        patch_rows: int,
        config: DataConfig,
        augment: AugmentConfig | None,
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self._records = records
        self._packer = Packer(tokenizer, patch_rows, augment)
        self._tokenizer = tokenizer
        self._augment = augment
        self._config = config
        self._first_step = first_step
        self._sizes = [estimate_tokens(record, patch_rows**2) for record in records]
        self._patch_rows = patch_rows
        self._sessions = [i for i, record in enumerate(records) if record.family not in (LISTENING, WATCHING)]
        self._speech = [index for index, record in enumerate(records) if can_be_spelt(record)]
        self._videos = [index for index, record in enumerate(records) if can_be_watched(record)]
        self._spelling = [index for index, record in enumerate(records) if record.family == SPELLING]
        self._letters_L = letter_tokens(tokenizer)
        if not self._sessions:
            raise CorpusError(f"{len(records)} records: none of them is a session to train on")
        if (config.listening_steps or config.listening_every) and not self._speech:
            raise CorpusError(f"{len(records)} records: none of them has speech whose words are known, to listen to")
        if config.watching_every and not self._videos:
            raise CorpusError(f"{len(records)} records: none of them has repetitions to watch")
        if config.spelling_every and not self._spelling:
            raise CorpusError(f"{len(records)} records: none of them has words to spell")
        self.families = sorted({records[index].family for index in self._sessions})

    def _session_epoch(self, epoch: int) -> Iterator[list[int]]:
        """Records (their indices) of each batch of an epoch of sessions."""
        rng = np.random.default_rng((self._config.seed, 2, epoch))
        shares = np.array([self._config.family_shares.get(self._records[i].family, 1.0) for i in self._sessions])
        copies = np.floor(shares + rng.random(len(shares))).astype(int)
        drawn = [int(index) for index in rng.permutation(np.repeat(self._sessions, copies))]
        return self._cut(drawn, [self._sizes[index] for index in drawn], rng)

    def _listening_epoch(self, epoch: int) -> Iterator[list[int]]:
        """Records of each batch of an epoch of speech."""
        rng = np.random.default_rng((self._config.seed, 3, epoch))
        drawn = [int(index) for index in rng.permutation(self._speech)]
        return self._cut(drawn, [AUDIO_TOKENS * self._records[index].num_turns for index in drawn], rng)

    def _watching_epoch(self, epoch: int) -> Iterator[list[int]]:
        """Records of each batch of an epoch of repetitions."""
        rng = np.random.default_rng((self._config.seed, 4, epoch))
        drawn = [int(index) for index in rng.permutation(self._videos)]
        return self._cut(drawn, [self._patch_rows**2 * len(self._records[index].phases) for index in drawn], rng)

    def _spelling_epoch(self, epoch: int) -> Iterator[list[int]]:
        """Records of each batch of an epoch of spelling."""
        rng = np.random.default_rng((self._config.seed, 5, epoch))
        drawn = [int(index) for index in rng.permutation(self._spelling)]
        return self._cut(drawn, [self._sizes[index] for index in drawn], rng)

    def _cut(self, drawn: list[int], sizes: list[int], rng: np.random.Generator) -> Iterator[list[int]]:
        """Batches of records of about one size."""
        for start in range(0, len(drawn), self._config.pool_records):
            pool = range(start, min(start + self._config.pool_records, len(drawn)))
            batches: list[list[int]] = [[]]
            for place in sorted(pool, key=lambda place: sizes[place]):
                if batches[-1] and (len(batches[-1]) + 1) * sizes[place] > self._config.batch_tokens:
                    batches.append([])
                batches[-1].append(drawn[place])
            for number in rng.permutation(len(batches)):
                yield batches[number]

    def epoch_length(self) -> int:
        """Batches of sessions in the first epoch."""
        return sum(1 for _ in self._session_epoch(0))

    def __iter__(self) -> Iterator[AnyBatch]:
        torch.set_num_threads(1)
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        epochs = {
            StepKind.SESSIONS: self._session_epoch,
            StepKind.LISTENING: self._listening_epoch,
            StepKind.WATCHING: self._watching_epoch,
            StepKind.SPELLING: self._spelling_epoch,
        }
        streams = {kind: chain.from_iterable(map(epoch, count())) for kind, epoch in epochs.items()}
        make: dict[StepKind, Callable[[list[int], int], AnyBatch]] = {
            StepKind.SESSIONS: self._batch,
            StepKind.LISTENING: self._listening_batch,
            StepKind.WATCHING: self._watching_batch,
            StepKind.SPELLING: self._spelling_batch,
        }
        for step in count():
            kind = self._config.kind_of(step)
            drawn = next(streams[kind])
            if step >= self._first_step and (step - self._first_step) % num_workers == worker:
                yield make[kind](drawn, step)

    def _batch(self, drawn: list[int], step: int) -> Batch:
        rng = np.random.default_rng((self._config.seed, 1, step))
        rows = [self._packer.row(self._records[index], rng) for index in drawn]
        families = [self.families.index(self._records[index].family) for index in drawn]
        return collate(rows, families, torch.device("cpu"))

    def _spelling_batch(self, drawn: list[int], step: int) -> Batch:
        names_L = draw_names(np.random.default_rng((self._config.seed, 6, step)))
        outputs = OutputVocabulary(self._tokenizer.vocab_size)
        return renamed(self._batch(drawn, step), self._letters_L, names_L, outputs)

    def _listening_batch(self, drawn: list[int], step: int) -> ListeningBatch:
        rng = np.random.default_rng((self._config.seed, 1, step))
        rows = [listening_row(self._records[index], self._tokenizer, self._augment, rng) for index in drawn]
        return collate_listening(rows, torch.device("cpu"))

    def _watching_batch(self, drawn: list[int], step: int) -> WatchingBatch:
        rng = np.random.default_rng((self._config.seed, 1, step))
        rows = [watching_row(self._records[index], self._patch_rows, self._augment, rng) for index in drawn]
        return collate_watching(rows, self._patch_rows**2, torch.device("cpu"))


def load_batches(batches: Batches, config: DataConfig) -> Iterator[AnyBatch]:
    """Batches made ahead of time in ``num_workers`` processes (0: in this one)."""
    if config.num_workers == 0:
        return iter(batches)
    return iter(DataLoader(batches, batch_size=None, num_workers=config.num_workers, prefetch_factor=4))


def load_records(paths: list[Path]) -> list[Record]:
    return list(read_shards(paths))
