"""Streams of batches: the same for the same seed, mixed well, no session twice in one; and held-out ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.errors import InputError
from microturn.train.augment import AugmentConfig
from microturn.train.batch import Batch, Row
from microturn.train.tasks import Draw, Materials, Mixture, RowSource, TaskConfig, batches_of, dev_batches, loaded
from tests.train import tiny


@dataclass(frozen=True)
class Numbered:
    """Rows of the lengths asked for, whose tokens carry the number of their session."""

    lengths: tuple[int, ...]
    opened: list[Materials] = field(default_factory=list)

    def open(self, materials: Materials) -> Draw:
        self.opened.append(materials)
        numbers = iter(range(1_000_000))

        def draw(rng: np.random.Generator, uses: int) -> list[Row]:
            tokens = np.zeros((int(rng.choice(self.lengths)), 5), np.int64)
            tokens[:, 2] = next(numbers) + 1
            return [Row(tokens=tokens, sound=np.ones(3, np.int64)) for _ in range(uses)]

        return draw

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        return {"short": Numbered((10,), self.opened), "long": Numbered((70,), self.opened)}


def numbers(batch: Batch) -> list[int]:
    return batch.turns.payload_BT[:, 0].tolist()


def same(one: Batch, other: Batch) -> bool:
    return (
        one.task == other.task
        and one.targets.keys() == other.targets.keys()
        and all(torch.equal(value, vars(other.turns)[name]) for name, value in vars(one.turns).items())
    )


def test_sessions_are_used_so_often_and_never_twice_in_a_batch() -> None:
    task = TaskConfig(source=Numbered((10, 40)), tokens=640, uses=3)
    batches = list(islice(batches_of("numbers", task, tiny.materials(), (0,)), 60))
    assert all(len(numbers(batch)) == len(set(numbers(batch))) == 10 for batch in batches)
    used = Counter(number for batch in batches for number in numbers(batch))
    assert max(used.values()) == 3 and sum(count == 3 for count in used.values()) > 150
    together = Counter(pair for batch in batches for pair in zip(numbers(batch), numbers(batch)[1:], strict=False))
    assert max(together.values()) <= 2, "the uses of sessions come in ever other company"


def test_rows_of_about_one_length_come_together() -> None:
    task = TaskConfig(source=Numbered((10, 70, 200, 300)), tokens=512, max_tokens=256)
    for batch in islice(batches_of("numbers", task, tiny.materials(), (0,)), 20):
        width = batch.turns.kind_BT.shape[1]
        lengths = batch.turns.valid_BT.sum(1)
        assert len(lengths) == 512 // width and batch.turns.sound_BU.shape[1] == 16
        assert {64: 10, 96: 70, 256: 200}[width] == int(lengths.max())


def test_a_stream_is_the_same_for_the_same_seed_and_first_step(tmp_path: Path) -> None:
    materials = tiny.materials(tiny.fill_bank(tmp_path))
    shares = {"hear": 0.4, "decide": 0.6}

    def stream(seed: int, first_step: int) -> list[Batch]:
        return list(islice(Mixture(tiny.TASKS, shares, materials, (seed,), first_step), 6))

    for one, other in zip(stream(0, 4), stream(0, 4), strict=True):
        assert same(one, other)
    assert not any(same(one, other) for one, other in zip(stream(0, 4), stream(1, 4), strict=True))
    assert not any(same(one, other) for one, other in zip(stream(0, 0)[4:], stream(0, 4), strict=False))


def test_the_task_of_a_step_depends_on_its_number_alone_and_keeps_the_shares() -> None:
    mixture = Mixture(tiny.TASKS, {"decide": 0.7, "watch": 0.2, "speak": 0.0, "hear": 0.1}, tiny.materials(), (0,))
    tasks = [mixture.task_of(step) for step in range(1000)]
    counts = Counter(tasks)
    assert counts.keys() == {"decide", "watch", "hear"}
    for name, share in {"decide": 700, "watch": 200, "hear": 100}.items():
        assert abs(counts[name] - share) <= 3
    assert all(0 < Counter(tasks[at : at + 12])["watch"] < 5 for at in range(988)), "none is long in coming"


def test_workers_make_the_steps_in_turn() -> None:
    mixture = Mixture(tiny.TASKS, {"decide": 0.6, "speak": 0.4}, tiny.materials(), (0,), 3)
    stream = loaded(mixture, 2)
    assert [next(stream).task for _ in range(6)] == [mixture.task_of(step) for step in range(3, 9)]


def test_held_out_sessions_are_unchanged_and_named_by_family() -> None:
    source = Numbered((10,))
    batches = dev_batches(TaskConfig(source=source, tokens=128), tiny.materials(), 5)
    assert [(batch.task, len(numbers(batch))) for batch in batches] == [
        ("short", 2), ("short", 2), ("short", 1), ("long", 1), ("long", 1), ("long", 1), ("long", 1), ("long", 1)
    ]  # fmt: skip
    assert all(materials.split == "heldout" and materials.augment is None for materials in source.opened)


def test_ranks_share_the_held_out_sessions() -> None:
    task = replace(tiny.TASKS["decide"], source=tiny.EchoRows())

    def rows(rank: int, num_ranks: int) -> list[list[int]]:
        batches = dev_batches(task, tiny.materials(), 5, rank, num_ranks)
        return sorted(row for batch in batches for row in batch.turns.payload_BT.tolist())

    assert sorted(rows(0, 2) + rows(1, 2)) == rows(0, 1) == rows(0, 1)
    assert len(rows(0, 2)) == 3 and len(rows(0, 1)) == 5


def test_a_listening_task_without_a_bank_says_so(tmp_path: Path) -> None:
    task = tiny.TASKS["hear"]
    with pytest.raises(InputError, match="voice bank"):
        next(batches_of("hear", task, tiny.materials(), (0,)))
    with pytest.raises(InputError, match="no utterances"):
        next(batches_of("hear", task, tiny.materials(tmp_path), (0,)))
    assert dev_batches(task, tiny.materials(tmp_path), 2) == []


def test_a_bank_without_people_is_enough(tmp_path: Path) -> None:
    materials = replace(tiny.materials(tiny.fill_bank(tmp_path)), augment=AugmentConfig())
    batch = next(batches_of("hear", tiny.TASKS["hear"], materials, (0,)))
    assert batch.turns.levels_BUFM.shape[:2] == (2, 16)
    assert [batch.task for batch in dev_batches(tiny.TASKS["hear"], materials, 2)] == ["synthesised"]
