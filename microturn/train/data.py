"""Batches from a corpus: length-bucketed, shuffled by seed, packed in worker processes, the same after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from microturn.model.tokens import TextTokenizer
from microturn.scenario.corpus import Record, read_shards
from microturn.train.augment import AugmentConfig
from microturn.train.pack import Batch, Packer, collate


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


def estimate_tokens(record: Record, num_patches: int) -> int:
    """About how many tokens a record's row has (exact but for words of several tokens)."""
    words = sum(len(words) for labels in (record.hear, record.say) for words in labels.values())
    texts = sum(len(text.split()) for turn in record.texts.values() for _, text in turn)
    audio = 4 * record.num_turns - 3 * len(record.gaps)
    return record.num_turns + audio + len(record.speaking) + num_patches * len(record.frames) + words + texts


class Batches(IterableDataset[Batch]):
    """An endless stream of batches from step ``first_step`` on; step *n*'s batch depends only on seed and *n*."""

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
        self._tokenizer_json = tokenizer.to_json()
        self._packer = Packer(tokenizer, patch_rows, augment)
        self._config = config
        self._first_step = first_step
        self._sizes = np.array([estimate_tokens(record, patch_rows**2) for record in records])
        self.families = sorted({record.family for record in records})

    def _epoch(self, epoch: int) -> Iterator[list[int]]:
        """Record indices of each batch of an epoch."""
        rng = np.random.default_rng((self._config.seed, epoch))
        shares = np.array([self._config.family_shares.get(record.family, 1.0) for record in self._records])
        copies = np.floor(shares + rng.random(len(shares))).astype(int)
        order = rng.permutation(np.repeat(np.arange(len(shares)), copies))
        for start in range(0, len(order), self._config.pool_records):
            pool = order[start : start + self._config.pool_records]
            pool = pool[np.argsort(self._sizes[pool], kind="stable")]
            batches: list[list[int]] = [[]]
            for index in pool:
                if batches[-1] and (len(batches[-1]) + 1) * self._sizes[index] > self._config.batch_tokens:
                    batches.append([])
                batches[-1].append(int(index))
            for number in rng.permutation(len(batches)):
                yield batches[number]

    def epoch_length(self) -> int:
        """Batches of the first epoch."""
        return sum(1 for _ in self._epoch(0))

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        step, epoch = 0, 0
        while True:
            for indices in self._epoch(epoch):
                if step >= self._first_step and (step - self._first_step) % num_workers == worker:
                    yield self._batch(indices, step)
                step += 1
            epoch += 1

    def _batch(self, indices: list[int], step: int) -> Batch:
        rng = np.random.default_rng((self._config.seed, 1, step))
        records = [self._records[index] for index in indices]
        rows = [self._packer.row(record, rng) for record in records]
        families = [self.families.index(record.family) for record in records]
        return collate(rows, families, torch.device("cpu"))


def load_batches(batches: Batches, config: DataConfig) -> Iterator[Batch]:
    """Batches made ahead of time in ``num_workers`` processes (0: in this one)."""
    if config.num_workers == 0:
        return iter(batches)
    return iter(DataLoader(batches, batch_size=None, num_workers=config.num_workers, prefetch_factor=4))


def load_records(paths: list[Path]) -> list[Record]:
    return list(read_shards(paths))
