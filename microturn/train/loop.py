"""The training loop: batches in, checkpoints and figures out; resumes exactly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from microturn.model.backbone import Window
from microturn.model.config import ModelConfig
from microturn.model.model import Network
from microturn.model.moe import MixtureOfExperts
from microturn.model.tokens import TextTokenizer
from microturn.scenario.listening import FAMILY as LISTENING
from microturn.scenario.watching import FAMILY as WATCHING
from microturn.train.checkpoint import Checkpoint
from microturn.train.data import AnyBatch
from microturn.train.listen import ListeningBatch, ListeningLosses, listening_losses
from microturn.train.loss import LossConfig, Losses, compute_losses
from microturn.train.optim import AveragedWeights, OptimConfig, Optimiser, rate_factor
from microturn.train.pack import Batch
from microturn.train.watch import WatchingBatch, WatchingLosses, watching_losses


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    num_steps: int
    seed: int = 0
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    short_window_share: float = 0.25
    """Share of the steps with a window drawn between ``short_window_turns`` and the model's own, so that the model
    meets the edge of its memory."""
    short_window_turns: int = 75
    evaluate_every: int = 500
    checkpoint_every: int = 250


@dataclass(frozen=True)
class Figures:
    """What is shown and logged: means since the last time, or over the development set."""

    step: int
    seconds: float
    lanes: float
    flow: float
    guess: float
    spelling: float
    """Of the listening steps."""
    words: float
    """Share of hear, say and act tokens predicted right (teacher forced)."""
    ends: float
    """Share of <listen>/<speak> predicted right."""
    by_family: dict[str, float] = field(default_factory=dict)
    """Share of word tokens right, by family (of phases, in watching steps)."""


AnyLosses = Losses | ListeningLosses | WatchingLosses


class Trainer:
    """Owns network, optimiser, averaged weights and random state of one run.

    ``step`` counts optimiser steps done; ``run`` goes on from there to ``config.num_steps``.
    """

    def __init__(
        self, model_config: ModelConfig, config: TrainConfig, tokenizer: TextTokenizer, device: torch.device
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = device
        self.network = Network(model_config).to(device)
        self.network.embedder.letters.learn(tokenizer)
        self.optimiser = Optimiser(self.network, config.optim)
        self.averaged = AveragedWeights(self.network, config.optim.ema_decay)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same model."""
        self.network.load_state_dict(checkpoint.network)
        self.averaged.values = checkpoint.averaged
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.generator.set_state(checkpoint.generator)
        self.step = checkpoint.step

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            step=self.step,
            model_config=self.network.config,
            network=self.network.state_dict(),
            averaged=self.averaged.values,
            optimiser=self.optimiser.state_dict(),
            generator=self.generator.get_state(),
        )

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights as they are used, with letters folded; the trained network becomes them."""
        self.network.load_state_dict(self.averaged.values)
        self.network.fold_letters()
        return self.network.state_dict()

    def train_step(self, batch: AnyBatch) -> AnyLosses:
        """One optimiser step."""
        self.network.train()
        with self._precision():
            losses = self._losses(batch, self._draw_window(), self.generator)
        torch.autograd.backward(losses.total)
        optim = self.config.optim
        listening = 1.0 if self.step < optim.listening_steps else optim.listening_share
        self.optimiser.step(rate_factor(self.step, self.config.num_steps, optim), listening)
        for module in self.network.modules():
            if isinstance(module, MixtureOfExperts):
                module.balance(self.config.optim.balance_speed)
        self.step += 1
        self.averaged.update(self.network, self.step)
        return losses

    def _losses(self, batch: AnyBatch, window: Window, generator: torch.Generator) -> AnyLosses:
        if isinstance(batch, WatchingBatch):
            return watching_losses(self.network, batch)
        if isinstance(batch, ListeningBatch):
            return listening_losses(self.network, batch, self.config.loss.spelling)
        return compute_losses(self.network, batch, window, self.config.loss, generator)

    @torch.no_grad()
    def evaluate(self, batches: list[AnyBatch], families: list[str]) -> Figures:
        """Figures of the averaged weights on ``batches`` (teacher forced, full window)."""
        kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged.values)
        self.network.eval()
        meter = Meter(self.network.outputs.act, families)
        generator = torch.Generator().manual_seed(1)
        for batch in batches:
            batch = to_device(batch, self.device)
            with self._precision():
                window = self.network.default_window
                meter.add(batch, self._losses(batch, window, generator))
        self.network.load_state_dict(kept)
        return meter.read(self.step)

    def run(
        self,
        batches: Iterator[AnyBatch],
        families: list[str],
        dev: Callable[[Trainer], Figures],
        report: Callable[[str, Figures], None],
        folder: Path,
        deadline: float | None = None,
    ) -> bool:
        """Train to the last step, or to the first step after ``deadline`` (``time.monotonic()``); True when done.

        ``report(kind, figures)`` is called with kind "train" every 50 steps and "dev". Either way the checkpoint is
        written at the end.
        """
        meter = Meter(self.network.outputs.act, families)
        while self.step < self.config.num_steps:
            batch = to_device(next(batches), self.device)
            meter.add(batch, self.train_step(batch))
            late = deadline is not None and time.monotonic() > deadline
            last = late or self.step == self.config.num_steps
            if self.step % 50 == 0 or last:
                report("train", meter.read(self.step))
            if self.step % self.config.evaluate_every == 0 or last:
                report("dev", dev(self))
            if self.step % self.config.checkpoint_every == 0 or last:
                self.checkpoint().save(folder / "checkpoint.pt")
            if late:
                break
        return self.step >= self.config.num_steps

    def _draw_window(self) -> Window:
        full = self.network.default_window
        if torch.rand((), generator=self.generator) >= self.config.short_window_share:
            return full
        low = min(self.config.short_window_turns, full.window_turns)
        turns = int(torch.randint(low, full.window_turns + 1, (), generator=self.generator))
        return Window(turns, full.text_tokens)

    def _precision(self) -> torch.autocast | nullcontext[None]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()


class Meter:
    """Collects the figures of several batches."""

    def __init__(self, first_control: int, families: list[str]) -> None:
        self._first_control = first_control
        self._families = [*families, LISTENING, WATCHING]
        self._clear()

    def _clear(self) -> None:
        self._started = time.monotonic()
        self._parts: list[Tensor] = []
        self._spelling: list[Tensor] = []
        self._words = torch.zeros(len(self._families) + 1, 2, dtype=torch.float64)

    def add(self, batch: AnyBatch, losses: AnyLosses) -> None:
        is_word = batch.predict_P < self._first_control
        if isinstance(losses, WatchingLosses):
            group = torch.full_like(batch.predict_P, self._families.index(WATCHING)).cpu()
        elif isinstance(losses, ListeningLosses):
            self._spelling.append(losses.spelling.cpu())
            group = torch.where(is_word, self._families.index(LISTENING), len(self._families)).cpu()
        else:
            assert isinstance(batch, Batch)
            self._parts.append(torch.stack([losses.lanes, losses.flow, losses.guess]).cpu())
            group = torch.where(is_word, batch.family_P, len(self._families)).cpu()
        right = losses.right_P.double().cpu()
        self._words[:, 0].index_add_(0, group, right)
        self._words[:, 1].index_add_(0, group, torch.ones_like(right))

    def read(self, step: int) -> Figures:
        """Means since the last call (0 where there was nothing)."""
        lanes, flow, guess = torch.stack(self._parts).mean(0).tolist() if self._parts else (0.0, 0.0, 0.0)
        spelling = float(torch.stack(self._spelling).mean()) if self._spelling else 0.0
        right, count = self._words[:, 0], self._words[:, 1]
        share = (right / count.clamp(min=1)).tolist()
        is_words = torch.tensor([name != WATCHING for name in self._families])
        words = float(right[:-1][is_words].sum() / count[:-1][is_words].sum().clamp(min=1))
        by_family = {name: share[i] for i, name in enumerate(self._families) if count[i] > 0}
        seconds = time.monotonic() - self._started
        self._clear()
        return Figures(step, seconds, lanes, flow, guess, spelling, words, share[-1], by_family)


def to_device(batch: AnyBatch, device: torch.device) -> AnyBatch:
    """The batch with all its tensors on ``device``."""
    if device.type == "cpu":
        return batch
    move = {name: value.to(device, non_blocking=True) for name, value in vars(batch).items() if name != "sequence"}
    sequence = type(batch.sequence)(**{k: v.to(device, non_blocking=True) for k, v in vars(batch.sequence).items()})
    return type(batch)(sequence=sequence, **move)


def figures_line(kind: str, figures: Figures) -> str:
    """One JSON line for the run's log."""
    return json.dumps({"kind": kind, **vars(figures)})
