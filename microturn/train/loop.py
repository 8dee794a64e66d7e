"""Training in stages: one loop for every task, stopped and resumed at will.

A stage trains some parts of the learner on a mixture of tasks for a number of steps; its result, from which the next
one begins, is the average of its weights. A checkpoint holds everything that goes on: weights, averages, optimiser, and
where in which stage the run is. A resumed run goes on with exactly these, on new sessions: those of an interrupted
stage are not repeated.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from microturn.errors import InputError, WeightsError
from microturn.model.config import MemoryConfig, ModelConfig
from microturn.model.moe import MixtureOfExperts
from microturn.model.vocoder import VocoderConfig
from microturn.train.batch import Batch, Head
from microturn.train.learner import HEAD_WEIGHTS, Learner
from microturn.train.optim import AveragedWeights, OptimConfig, Optimiser, rate_factor
from microturn.train.parallel import Ranks
from microturn.train.realign import realign
from microturn.train.tasks import Materials, Mixture, TaskConfig, dev_batches, loaded

SAVE_SECONDS = 240.0


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of a run."""

    name: str
    num_steps: int
    shares: dict[str, float]
    """How often each task has a step."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    realigns: bool = False
    """Whether people's sentences in the voice bank are aligned anew before it."""
    short_memory_share: float = 0.25
    """Share of the batches in which the memory is drawn shorter, so that its edge has been met."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run."""

    stages: tuple[StageConfig, ...]
    tasks: dict[str, TaskConfig]
    head_weights: dict[Head, float] = field(default_factory=lambda: dict(HEAD_WEIGHTS))
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    seed: int = 0
    bfloat16: bool = False
    """Products in half precision: faster on GPUs and on CPUs that multiply in it (AVX512-BF16, AMX), slow on
    all others."""
    num_workers: int = 1
    report_steps: int = 50
    dev_steps: int = 500
    """Held-out sessions are told every so many steps, and at a stage's end."""
    dev_sessions: int = 16
    """Of each family."""


Figures = dict[str, tuple[float, float, float]]
"""By task (or family) and head: mean loss, share right, number of targets."""


@dataclass(frozen=True)
class Report:
    """Figures of the steps since the last report, or of held-out sessions told with the averaged weights."""

    kind: str
    """``train`` or ``dev``."""
    stage: StageConfig
    step: int
    figures: Figures
    step_s: float
    """Mean length of a step since the last report, seconds."""

    def line(self) -> str:
        """One line of ``log.jsonl``."""
        figures = {name: [round(loss, 4), round(right, 4), int(n)] for name, (loss, right, n) in self.figures.items()}
        return json.dumps({"kind": self.kind, "stage": self.stage.name, "step": self.step, **figures})


class Trainer:
    """One run: a learner, and where it is in its stages."""

    def __init__(
        self, model: ModelConfig, config: TrainConfig, device: torch.device, ranks: Ranks | None = None
    ) -> None:
        torch.manual_seed(config.seed)
        self.model, self.config, self.device, self.ranks = model, config, device, ranks or Ranks()
        self.learner = Learner(model, config.vocoder).to(device)
        self.averaged = AveragedWeights(self.learner)
        self.stage, self.step = 0, 0
        self._dev: dict[str, list[Batch]] = {}
        self._prepare()

    @property
    def done(self) -> bool:
        return self.stage >= len(self.config.stages)

    def start_from(self, network: dict[str, Tensor], vocoder: dict[str, Tensor]) -> None:
        """Begin with trained weights of the same configurations."""
        self.learner.network.load_state_dict(network)
        self.learner.vocoder.load_state_dict(vocoder)
        self.averaged = AveragedWeights(self.learner)

    def weights(self, part: str) -> dict[str, Tensor]:
        """The averaged weights of ``network`` or ``vocoder``."""
        prefix = f"{part}."
        return {
            name.removeprefix(prefix): value for name, value in self.averaged.values.items() if name.startswith(prefix)
        }

    def run(
        self,
        materials: Materials,
        folder: Path,
        report: Callable[[Report], None],
        *,
        only: str | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the end of the last stage, or of the stage ``only``, or until ``stop`` tells so after a step.

        True when that is done. Checkpoints are written to ``folder``. With ``only`` the stages before it are left out.
        Raises ``InputError`` if the run is past the stage ``only``.
        """
        self.learner.network.spell(materials.tokenizer)
        last = len(self.config.stages)
        if only is not None:
            last = 1 + next(place for place, stage in enumerate(self.config.stages) if stage.name == only)
            if self.stage < last - 1:
                self._enter(last - 1)
            if (self.stage, self.step) > (last, 0):
                name = "its end" if self.done else f"step {self.step} of {self.config.stages[self.stage].name}"
                raise InputError(f"stage {only}: is over in {folder}, which is at {name}; choose another folder")
        while self.stage < last:
            is_over = self._run_stage(self.config.stages[self.stage], materials, folder, report, stop)
            if is_over:
                self._enter(self.stage + 1)
            self.save(folder)
            if not is_over:
                return False
        return True

    def _run_stage(
        self,
        stage: StageConfig,
        materials: Materials,
        folder: Path,
        report: Callable[[Report], None],
        stop: Callable[[], bool],
    ) -> bool:
        if self.ranks.summed([float(stop())])[0]:  # before what follows takes its time
            return False
        if stage.realigns and self.step == 0 and materials.bank is not None:
            if self.ranks.is_first:
                realign(materials.bank, self.learner)
            self.ranks.wait()
        seed = (self.config.seed, self.stage, self.ranks.rank)
        # Where hearing learns it is not listened to, so a copy of how it was at the beginning does.
        hearing = deepcopy(self.learner.network.hearing).cpu().eval()
        materials = replace(materials, hearing=hearing.requires_grad_(False))
        mixture = Mixture(self.config.tasks, stage.shares, materials, seed, self.step)
        batches = loaded(mixture, self.config.num_workers, pinned=self.device.type == "cuda")
        meter = Meter()
        saved = started = time.monotonic()
        first = self.step
        while self.step < stage.num_steps:
            if self.ranks.summed([float(stop())])[0]:
                return False
            _, figures = self.train_step(next(batches))
            meter.add(figures)
            is_last = self.step == stage.num_steps
            if self.step % self.config.report_steps == 0 or is_last:
                step_s = (time.monotonic() - started) / (self.step - first)
                report(Report("train", stage, self.step, meter.read(self.ranks), step_s))
                if self.step % self.config.dev_steps == 0 or is_last:
                    report(Report("dev", stage, self.step, self.evaluate(stage, materials), step_s))
                started, first = time.monotonic(), self.step
            if time.monotonic() - saved > SAVE_SECONDS:
                self.save(folder)
                saved = time.monotonic()
        return True

    def train_step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of the optimiser on one batch, which is this rank's share of the step's rows.

        Returns the batch's share of the loss and its figures, both still on their way on the device.
        """
        stage = self.config.stages[self.stage]
        memory = self._memory(batch, stage)
        totals = dict(zip(Head, self.ranks.summed([batch.totals.get(head, 0.0) for head in Head]), strict=True))
        self.learner.train()
        self.learner.network.hearing.train(stage.optim.learns("network.hearing."))
        with self._precision():
            told = self.learner(batch.to(self.device), memory)
        weights = self.config.head_weights
        terms = [weights[head] / totals[head] * loss for head, loss in told.losses.items() if totals[head]]
        loss: Tensor = torch.stack(terms).sum() if terms else torch.zeros((), device=self.device)
        if loss.requires_grad:
            torch.autograd.backward(loss)
        self.ranks.share_gradients(self.optimiser.parameters, [experts.load_X for experts in self._balanced])
        self.optimiser.step(rate_factor(self.step, stage.num_steps, stage.optim))
        for experts in self._balanced:
            experts.balance(stage.optim.balance_speed)
        self.averaged.update(self.learner, self.step, stage.optim)
        self.step += 1
        return loss.detach(), told.figures

    @torch.no_grad()
    def evaluate(self, stage: StageConfig, materials: Materials) -> Figures:
        """Figures of held-out sessions of every family of the stage's tasks, told with the averaged weights."""
        meter = Meter()
        self.learner.network.spell(materials.tokenizer)
        self.learner.eval()
        for name in stage.shares:
            if name not in self._dev:
                ranks, count = self.ranks, self.config.dev_sessions
                self._dev[name] = dev_batches(self.config.tasks[name], materials, count, ranks.rank, ranks.count)
            for batch in self._dev[name]:
                with self._precision():
                    told = torch.func.functional_call(self.learner, self.averaged.values, (batch.to(self.device),))
                meter.add(told.figures)
        return meter.read(self.ranks)

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.config.bfloat16 else nullcontext()

    def _memory(self, batch: Batch, stage: StageConfig) -> MemoryConfig:
        """The memory's size, drawn shorter for some batches."""
        full = self.model.memory
        rng = np.random.default_rng((self.config.seed, self.stage, self.step))
        if rng.random() >= stage.short_memory_share:
            return full
        low = min(20, full.window_turns)
        turns = int(rng.integers(low, max(low + 1, min(batch.turns.sound_BU.shape[1], full.window_turns))))
        text = int(rng.integers(24, max(25, min(200, full.text_tokens))))
        return replace(full, window_turns=turns, text_tokens=text)

    def _enter(self, stage: int) -> None:
        """Go to the beginning of a stage, with the averaged weights of what was before."""
        self.learner.load_state_dict(self.averaged.values)
        self.stage, self.step = stage, 0
        self._dev = {}
        self._prepare()

    def _prepare(self) -> None:
        """A new optimiser for what learns in this stage; everything else neither changes nor costs a gradient."""
        if self.done:
            return
        optim = self.config.stages[self.stage].optim
        for name, parameter in self.learner.named_parameters():
            parameter.requires_grad_(optim.learns(name))
        self._balanced = [
            module
            for name, module in self.learner.named_modules()
            if isinstance(module, MixtureOfExperts) and optim.learns(name)
        ]
        self.optimiser = Optimiser(self.learner, optim, torch.bfloat16 if self.config.bfloat16 else torch.float32)

    def save(self, folder: Path) -> None:
        """Write ``checkpoint.pt``, whole or not at all; one rank does, all ranks have the same to write."""
        if not self.ranks.is_first:
            return
        path = folder / "checkpoint.pt"
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "model": self.model.to_dict(),
                "learner": self.learner.state_dict(),
                "averaged": self.averaged.values,
                "optimiser": None if self.done else self.optimiser.state_dict(),
                "stage": self.stage,
                "step": self.step,
            },
            partial,
        )
        partial.replace(path)

    def restore(self, folder: Path) -> bool:
        """Go on from ``checkpoint.pt``, if there is one. Raises ``WeightsError`` for one that is damaged or of another
        model. A head that was added since then stays as it is."""
        path = folder / "checkpoint.pt"
        if not path.exists():
            return False
        try:
            found = torch.load(path, map_location=self.device, weights_only=True)
            if found["model"] != self.model.to_dict():
                raise WeightsError(f"{path}: belongs to a model of another size; choose another folder")
            self.learner.load_state_dict(self.learner.state_dict() | found["learner"])
            self.averaged.values |= found["averaged"]
            self.stage, self.step = found["stage"], found["step"]
            self._prepare()
            if not self.done:
                self.optimiser.load_state_dict(found["optimiser"])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{path}: not a checkpoint of this run ({repr(error).splitlines()[0]})") from error
        return True


class Meter:
    """Sums figures of many steps; looks at the device only when it is read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, figures: dict[str, Tensor]) -> None:
        for name, value in figures.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def read(self, ranks: Ranks) -> Figures:
        """Means over all ranks since the last look."""
        sums = dict.fromkeys(self._sums, np.zeros(3))
        for found in ranks.gathered({name: value.tolist() for name, value in self._sums.items()}):
            for name, values in found.items():
                sums[name] = sums.get(name, np.zeros(3)) + np.array(values)
        self._sums = {}
        return {
            name: (float(loss / max(count, 1.0)), float(right / max(count, 1.0)), float(count))
            for name, (loss, right, count) in sums.items()
        }
