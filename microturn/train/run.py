"""A whole training run from a recipe: corpus, tokenizer, training with a progress bar, weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from microturn.errors import InputError
from microturn.model.config import ModelConfig
from microturn.model.tokens import TextTokenizer
from microturn.scenario.corpus import CorpusConfig, Make, Record, make_corpus, shard_paths
from microturn.train.augment import AugmentConfig
from microturn.train.checkpoint import Checkpoint
from microturn.train.data import AnyBatch, Batches, DataConfig, load_batches
from microturn.train.loop import Figures, TrainConfig, Trainer, figures_line


def show_corpus(console: Console, folder: Path, config: CorpusConfig, make: Make) -> list[Path]:
    """Make what is missing of a corpus with a progress bar; returns its shards."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"corpus {folder.name}", total=None)
        for number, _ in enumerate(make_corpus(folder, config, make), 1):
            bar.update(task, completed=number)
    return shard_paths(folder)


class Run:
    """One training run in a folder: ``checkpoint.pt``, ``log.jsonl``; goes on where it stopped."""

    def __init__(
        self,
        folder: Path,
        model: ModelConfig,
        train: TrainConfig,
        data: DataConfig,
        augment: AugmentConfig,
        tokenizer: TextTokenizer,
        device: torch.device,
    ) -> None:
        if device.type == "cuda" and not torch.cuda.is_available():
            raise InputError("device cuda: no GPU is available to torch")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.trainer = Trainer(model, train, tokenizer, device)
        self._data, self._augment, self._tokenizer, self._model = data, augment, tokenizer, model
        checkpoint = folder / "checkpoint.pt"
        if checkpoint.exists():
            found = Checkpoint.load(checkpoint, device)
            if found.model_config != model:
                raise InputError(f"{checkpoint}: belongs to a model of another size; choose another folder")
            self.trainer.restore(found)

    def train(
        self, records: list[Record], dev_records: list[Record], console: Console, deadline: float | None = None
    ) -> bool:
        """Train to the recipe's last step or the deadline, showing and logging the figures; True when done."""
        threads = torch.get_num_threads()
        batches = Batches(
            records, self._tokenizer, self._model.patch_rows, self._data, self._augment, first_step=self.trainer.step
        )
        dev_batches, dev_families = self._dev_batches(dev_records)
        torch.set_num_threads(threads)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar, (self.folder / "log.jsonl").open("a") as log:
            task = bar.add_task("training", total=self.trainer.config.num_steps, completed=self.trainer.step)

            def report(kind: str, figures: Figures) -> None:
                log.write(figures_line(kind, figures) + "\n")
                log.flush()
                self._show(bar, task, kind, figures)

            return self.trainer.run(
                load_batches(batches, self._data),
                batches.families,
                lambda trainer: trainer.evaluate(dev_batches, dev_families),
                report,
                self.folder,
                deadline,
            )

    def _dev_batches(self, records: list[Record]) -> tuple[list[AnyBatch], list[str]]:
        sessions = replace(self._data, listening_steps=0, watching_every=0, spelling_every=0)
        config = replace(sessions, num_workers=0, family_shares={})
        batches = Batches(records, self._tokenizer, self._model.patch_rows, config, augment=None)
        stream: Iterator[AnyBatch] = iter(batches)
        return [next(stream) for _ in range(batches.epoch_length())], batches.families

    @staticmethod
    def _show(bar: Progress, task: TaskID, kind: str, figures: Figures) -> None:
        line = f"spelling {figures.spelling:.3f}" if figures.spelling else ""
        if figures.lanes:
            line += f" loss {figures.lanes:.3f} flow {figures.flow:.3f} words {figures.words:.1%}"
        if kind == "dev":
            bar.console.print(f"step {figures.step}: development set, {line}, speak/listen {figures.ends:.1%}")
        else:
            bar.update(task, completed=figures.step, description=f"training: {line}")
