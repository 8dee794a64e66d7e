"""A whole run of a recipe: voice bank, stages, weights; stopped and resumed at will, by one process or several."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from microturn.errors import InputError
from microturn.language.common import NUM_NEW_WORDS
from microturn.language.tokenizer import default_tokenizer
from microturn.model.config import ModelConfig
from microturn.model.microturn import Microturn
from microturn.model.vocoder import Vocoder
from microturn.model.weights import load, save
from microturn.scenario.filling import BankConfig, fill
from microturn.train.augment import AugmentConfig
from microturn.train.estimate import estimated_stages
from microturn.train.hear import ListeningRows
from microturn.train.loop import Figures, Report, TrainConfig, Trainer
from microturn.train.parallel import Ranks, joined_ranks
from microturn.train.sessions import SessionRows
from microturn.train.tasks import Materials, RowSource
from microturn.train.voice import SpeakingRows, VoiceRows, words_to_say
from microturn.voices.assistant import make_words
from microturn.voices.recordings import check_data

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
HELDOUT_SHARE = 1 / 15
"""Synthesised utterances of the voice bank's held-out part, as a share of those to learn from."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One whole run: voice bank, model, training. ``microturn.recipes`` has the runs."""

    name: str
    model: ModelConfig
    bank: BankConfig
    train: TrainConfig
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run does otherwise than its recipe says, and where."""

    out: Path
    data: Path | None = None
    start: str | None = None
    stage: str | None = None
    device: str = "cpu"
    bfloat16: bool | None = None
    steps: int | None = None
    seed: int | None = None
    voices: int | None = None
    threads: int | None = None
    minutes: float | None = None


def train_recipe(recipe: Recipe, options: RunOptions, console: Console) -> int:
    """Run a recipe in the folder ``options.out`` until it is done, the time is over, or Ctrl-C or SIGTERM comes, whose
    number is returned (otherwise 0). Under ``torchrun`` all processes do so together, each on a GPU of its own if
    ``device`` is cuda.

    Raises ``InputError`` for options that do not fit the recipe or the machine, ``WeightsError`` for weights or a
    checkpoint that cannot be gone on with, ``VoiceError`` where a voice is missing: all of them before hours are spent.
    """
    end_s = float("inf") if options.minutes is None else time.monotonic() + 60 * options.minutes
    config = _configured(recipe, options)
    device = _device(options)
    started = _started(recipe, options)
    materials = Materials(
        tokenizer=default_tokenizer(), patch_rows=recipe.model.patch_rows, augment=recipe.augment, data=options.data
    )
    listens = _listens(config, options, materials)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{options.out}: cannot be made a folder ({error.strerror})") from error
    with joined_ranks(options.device) as ranks:
        console.quiet = console.quiet or not ranks.is_first
        trainer = Trainer(recipe.model, config, device, ranks)
        if not trainer.restore(options.out) and started is not None:
            trainer.start_from(started.network.state_dict(), started.weights.vocoder.state_dict())
        with _noted_signals() as signals:
            stop = partial(_is_over, signals, end_s)
            _make_words(words_needed(config, options), console, ranks, stop)
            if listens:
                materials = replace(materials, bank=_filled_bank(recipe.bank, options, console, ranks, stop))
            if options.stage is None and ranks.is_first and not stop():
                _say_how_long(trainer, materials, console, stop)
            done = _train(trainer, materials, options, console, stop)
            if ranks.is_first:
                _finish(trainer, materials, options.out, console, done)
    return signals[0] if signals else 0


def _is_over(signals: Sequence[int], end_s: float) -> bool:
    return bool(signals) or time.monotonic() > end_s


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """The first Ctrl-C and the first SIGTERM that come while this lasts: noted, so that what is being done can be
    ended in order. The next ones act as they always do."""
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        noted.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _configured(recipe: Recipe, options: RunOptions) -> TrainConfig:
    stages = recipe.train.stages
    if options.stage is not None and options.stage not in [stage.name for stage in stages]:
        names = ", ".join(stage.name for stage in stages)
        raise InputError(f"stage {options.stage}: recipe {recipe.name} has {names}")
    if options.steps is not None:
        stages = tuple(replace(stage, num_steps=options.steps) for stage in stages)
    bfloat16 = options.bfloat16
    if bfloat16 is None:
        bfloat16 = options.device == "cuda" or torch.cpu._is_avx512_bf16_supported()
    seed = recipe.train.seed if options.seed is None else options.seed
    return replace(recipe.train, stages=stages, bfloat16=bfloat16, seed=seed)


def _device(options: RunOptions) -> torch.device:
    """This process's device, made ready."""
    if options.device not in ("cpu", "cuda"):
        raise InputError(f"device {options.device}: expected cpu or cuda")
    local_rank, num_local = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(options.threads or max(1, (os.cpu_count() or 1) // num_local))
    _keep_freed_memory()
    if options.device == "cpu":
        return torch.device("cpu")
    if torch.cuda.device_count() <= local_rank:
        raise InputError(f"device cuda: torch finds {torch.cuda.device_count()} GPUs")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _keep_freed_memory() -> None:
    """Have glibc keep what large tensors leave behind: it otherwise gives it back to the system at once, and every new
    tensor is cleared page by page, a seventh of a step of hearing on a CPU (docs/log.md)."""
    with suppress(OSError, AttributeError):  # another C library
        set_option = ctypes.CDLL("libc.so.6").mallopt
        set_option(_M_MMAP_THRESHOLD, 1 << 30)
        set_option(_M_TRIM_THRESHOLD, 1 << 30)


def _started(recipe: Recipe, options: RunOptions) -> Microturn | None:
    """The weights to start from."""
    if options.start is None:
        return None
    started = load(options.start)
    if started.config != recipe.model:
        raise InputError(f"{options.start}: weights of another size than recipe {recipe.name}")
    return started


def _listens(config: TrainConfig, options: RunOptions, materials: Materials) -> bool:
    """Whether a stage to be run needs the voice bank. Raises as ``RowSource.open`` for what the others need."""
    if options.data is not None:
        check_data(options.data)
    sources = _stage_sources(config, options)
    for source in sources:
        if not isinstance(source, ListeningRows):
            source.open(materials)
    return any(isinstance(source, ListeningRows) for source in sources)


def _stage_sources(config: TrainConfig, options: RunOptions) -> list[RowSource]:
    """What the stages to be run draw from."""
    stages = [stage for stage in config.stages if options.stage in (None, stage.name)]
    return [config.tasks[name].source for name in sorted({name for stage in stages for name in stage.shares})]


def words_needed(config: TrainConfig, options: RunOptions) -> tuple[str, ...]:
    """Words that the stages to be run have the assistant say."""
    num_common: list[int] = []
    for source in _stage_sources(config, options):
        if isinstance(source, SpeakingRows | VoiceRows):
            num_common.append(source.num_common)
        elif isinstance(source, SessionRows) and source.says:
            num_common.append(NUM_NEW_WORDS)
    return words_to_say(max(num_common)) if num_common else ()


def _make_words(words: tuple[str, ...], console: Console, ranks: Ranks, stop: Callable[[], bool]) -> None:
    """Make those of ``words`` that were never said on this machine: half a second of a core each, so before they are
    needed. One process does so while the others wait."""
    if words and ranks.is_first:
        with _progress(console) as bar:
            task = bar.add_task("assistant's words", total=len(words))
            for done in make_words(words, stop=stop):
                bar.update(task, completed=done)
    ranks.wait()


def _filled_bank(
    wanted: BankConfig, options: RunOptions, console: Console, ranks: Ranks, stop: Callable[[], bool]
) -> Path:
    """The voice bank in ``out/bank``: what is missing is made, by one process while the others wait."""
    bank = options.out / "bank"
    if options.voices is not None:
        kokoro, piper = (min(number, options.voices // 6) for number in (wanted.num_kokoro, wanted.num_piper))
        wanted = replace(wanted, num_synthesised=options.voices, num_kokoro=kokoro, num_piper=piper)
    heldout = replace(
        wanted,
        split="heldout",
        num_synthesised=max(1, round(wanted.num_synthesised * HELDOUT_SHARE)),
        num_kokoro=round(wanted.num_kokoro * HELDOUT_SHARE),
    )
    if ranks.is_first:
        with _progress(console) as bar:
            task = bar.add_task("voice bank", total=None)
            for part in (wanted, heldout):
                for _ in fill(bank, part, options.data, stop=stop):
                    bar.advance(task)
    ranks.wait()
    return bank


def _say_how_long(trainer: Trainer, materials: Materials, console: Console, stop: Callable[[], bool]) -> None:
    """Before the first step: the stages to come, and how long each will take."""
    all_min = 0.0
    for stage, num_steps, step_s in estimated_stages(trainer, materials):
        if stop():
            return
        stage_min = num_steps * step_s / 60
        all_min += stage_min
        console.print(f"stage {stage.name}: {num_steps} steps to go, about {stage_min:.0f} minutes")
    if all_min:
        console.print(f"in all about {all_min / 60:.1f} hours")


def _train(
    trainer: Trainer, materials: Materials, options: RunOptions, console: Console, stop: Callable[[], bool]
) -> bool:
    with _progress(console) as bar, (options.out / "log.jsonl").open("a", encoding="utf-8") as log:
        tasks: dict[str, TaskID] = {}

        def show(report: Report) -> None:
            if not trainer.ranks.is_first:
                return
            stage, text = report.stage, f"{report.stage.name}: {_summary(report.figures)}"
            log.write(report.line() + "\n")
            log.flush()
            if report.kind == "dev":
                console.print(f"step {report.step}, held out: {text}")
                return
            if stage.name not in tasks:
                left_min = (stage.num_steps - report.step) * report.step_s / 60
                console.print(f"stage {stage.name}: {report.step_s:.2f} s a step, about {left_min:.0f} minutes to go")
                tasks[stage.name] = bar.add_task(stage.name, total=stage.num_steps)
            bar.update(tasks[stage.name], completed=report.step, description=text)

        return trainer.run(materials, options.out, show, only=options.stage, stop=stop)


def _finish(trainer: Trainer, materials: Materials, folder: Path, console: Console, done: bool) -> None:
    """Write the weights of a run that is done; say how far one is that is not, whose checkpoint has been written."""
    if done:
        vocoder = Vocoder(trainer.config.vocoder)
        vocoder.load_state_dict(trainer.weights("vocoder"))
        save(folder / "weights", trainer.model, trainer.weights("network"), vocoder, materials.tokenizer)
        text = f"weights: {folder / 'weights'}"
    else:
        stage = trainer.config.stages[trainer.stage]
        place = f"step {trainer.step} of {stage.num_steps} ({stage.name})"
        text = f"stopped at {place}, checkpoint written; the same command goes on"
    console.print(text, soft_wrap=True)


def _summary(figures: Figures) -> str:
    """Shares right, or losses where nothing can be right; of words, those that would be written."""
    chosen = {
        name: figure
        for name, figure in figures.items()
        if not name.endswith((" which", " extra")) and f"{name} right" not in figures
    }
    parts = [f"{name} {right:.0%}" if loss == 0 or right else f"{name} {loss:.3f}"
             for name, (loss, right, _) in chosen.items()]  # fmt: skip
    return ", ".join(parts)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
