"""Training of the vocoder from the assistant voice's speech alone: no user, no text, no pretrained part.

The pitch network learns from the pitch of the sound (normalised autocorrelation); the filters learn by ear, from
spectra of several resolutions (Yamamoto et al. 2020, "Parallel WaveGAN", section 2.2) and log-mel, with the true pitch
as source, so that harmonics fall on harmonics from the first step. The mel that the flow head makes is neither exact
nor sharp, so half of the clips are heard through noise, blur and another gain.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from microturn.errors import InputError, WeightsError
from microturn.model.mel import (
    FFT_SIZE,
    HOP_SAMPLES,
    LOG_CEIL,
    LOG_FLOOR,
    MEL_SCALE,
    WINDOW_SAMPLES,
    LogMel,
    log_mel,
    mel_filters,
    normalise_mel,
)
from microturn.model.vocoder import DELAY_SAMPLES, FFT_SAMPLES, SILENCE, Vocoder, VocoderConfig, overlap_add
from microturn.turn import SAMPLE_RATE_HZ, Pcm

PITCH_WINDOW_SAMPLES = 640
VOICED_CORRELATION = 0.7
VOICED_POWER = 1e-5
STFT_SIZES = (128, 384, 1024)
MAGNITUDE_FLOOR = 2e-4
MODEL_ERROR = 0.01
EDGE_FRAMES = 10
GAIN_RANGE_DB = (-6.0, 2.0)


@dataclass(frozen=True)
class VocoderTraining:
    """Settings of one training run; a step hears ``num_rows`` clips of ``num_frames`` frames."""

    num_steps: int = 10_000
    num_rows: int = 8
    num_frames: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    constant_share: float = 0.3
    """Share of the steps before the learning rate goes down, in a line to zero."""
    checkpoint_steps: int = 500
    report_steps: int = 50
    seed: int = 0


@dataclass(frozen=True)
class VoiceClip:
    """One utterance: samples, its normalised mel ``(F, 80)``, log pitch (Hz) and voicing (0 or 1) ``(F,)``.

    Entry *i* of pitch and voicing belongs to sample ``i * HOP_SAMPLES``.
    """

    pcm: Pcm
    mel: LogMel
    log_pitch: NDArray[np.float32]
    voiced: NDArray[np.float32]


def track_pitch(pcm: Pcm, config: VocoderConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Natural log of the pitch in Hz and voicing (0 or 1) around every hop's first sample, both ``(hops,)``.

    The pitch is the shortest lag whose normalised cross-correlation (Talkin 1995, "A robust algorithm for pitch
    tracking", section 3) peaks within a tenth of the best; it is interpolated where there is no voice.
    """
    num_frames = len(pcm) // HOP_SAMPLES
    shortest = int(SAMPLE_RATE_HZ / config.max_pitch_hz)
    longest = int(SAMPLE_RATE_HZ / config.min_pitch_hz)
    size = PITCH_WINDOW_SAMPLES + longest
    padded = np.pad(pcm.astype(np.float64), size)
    starts = size + np.arange(num_frames) * HOP_SAMPLES - size // 2
    pieces = np.lib.stride_tricks.sliding_window_view(padded, size)[starts]
    # Long enough: negative lags wrap to places behind the longest positive one.
    points = 1 << (size - 1).bit_length()
    head = np.fft.rfft(pieces[:, :PITCH_WINDOW_SAMPLES], points)
    product = np.fft.irfft(head.conj() * np.fft.rfft(pieces, points), points)[:, : longest + 1]
    energy = np.cumsum(np.pad(pieces**2, ((0, 0), (1, 0))), 1)
    energy = energy[:, PITCH_WINDOW_SAMPLES:] - energy[:, : longest + 1]
    correlation = product / np.sqrt(energy[:, :1] * energy + 1e-9)
    correlation[:, :shortest] = -1.0
    best = correlation.max(1)
    middle = correlation[:, 1:-1]
    peaks = (middle >= correlation[:, :-2]) & (middle > correlation[:, 2:]) & (middle > 0.9 * best[:, None])
    lag = peaks.argmax(1) + 1
    rows = np.arange(num_frames)
    before, top, after = correlation[rows, lag - 1], correlation[rows, lag], correlation[rows, lag + 1]
    bend = before - 2 * top + after
    lag_exact = lag + np.where(bend < -1e-9, 0.5 * (before - after) / np.minimum(bend, -1e-9), 0.0)
    power = energy[:, 0] / PITCH_WINDOW_SAMPLES
    voiced = peaks.any(1) & (best > VOICED_CORRELATION) & (power > VOICED_POWER)
    if not voiced.any():
        return np.full(num_frames, math.log(config.mean_pitch_hz), np.float32), np.zeros(num_frames, np.float32)
    log_pitch = np.interp(rows, rows[voiced], np.log(SAMPLE_RATE_HZ / lag_exact[voiced]))
    return log_pitch.astype(np.float32), voiced.astype(np.float32)


def voice_clip(pcm: Pcm, config: VocoderConfig) -> VoiceClip:
    """Whole hops of ``pcm`` with their pitch. Raises ``InputError`` for less than a hop."""
    whole = len(pcm) // HOP_SAMPLES * HOP_SAMPLES
    if whole == 0:
        raise InputError(f"speech of {len(pcm)} samples is shorter than one hop of {HOP_SAMPLES}")
    log_pitch, voiced = track_pitch(pcm[:whole], config)
    return VoiceClip(pcm[:whole], normalise_mel(log_mel(pcm[:whole])), log_pitch, voiced)


@dataclass(frozen=True)
class VocoderBatch:
    """``mel_BFM`` as heard, and what it stands for: ``wave_BS`` ``(B, F * hop)`` already delayed by
    ``DELAY_SAMPLES``, ``log_pitch_BF`` and ``voiced_BF``."""

    mel_BFM: Tensor
    wave_BS: Tensor
    log_pitch_BF: Tensor
    voiced_BF: Tensor


def draw_batch(clips: Sequence[VoiceClip], training: VocoderTraining, rng: np.random.Generator) -> VocoderBatch:
    """Random crops, a few starting before the utterance or ending after it, with a random gain."""
    lengths = np.array([len(clip.voiced) for clip in clips], np.float64)
    mels, waves, pitches, voicings = [], [], [], []
    for which in rng.choice(len(clips), training.num_rows, p=lengths / lengths.sum()):
        clip = clips[which]
        spare = len(clip.voiced) - training.num_frames
        start = int(rng.integers(min(0, spare) - EDGE_FRAMES, max(0, spare) + EDGE_FRAMES))
        gain = np.float32(10 ** (rng.uniform(*GAIN_RANGE_DB) / 20) if rng.random() < 0.5 else 1.0)
        louder = np.float32(2 * math.log(gain) / MEL_SCALE)
        mel = _cut(clip.mel, start, training.num_frames, SILENCE)
        mels.append(np.where(mel > SILENCE, mel + louder, mel))
        heard = start * HOP_SAMPLES - DELAY_SAMPLES
        waves.append(gain * _cut(clip.pcm, heard, training.num_frames * HOP_SAMPLES, 0.0))
        # The filters of frame i are in full force at the end of hop i, a frame later than its first sample.
        first = start + 1 - DELAY_SAMPLES // HOP_SAMPLES
        pitches.append(_cut(clip.log_pitch, first, training.num_frames, float(clip.log_pitch[0])))
        voicings.append(_cut(clip.voiced, first, training.num_frames, 0.0))
    mel_BFM = _disturb(np.clip(np.stack(mels), -2, 2), rng)
    return VocoderBatch(*(torch.from_numpy(part) for part in (mel_BFM, *map(np.stack, (waves, pitches, voicings)))))


def _cut(values: NDArray[np.float32], start: int, length: int, outside: float) -> NDArray[np.float32]:
    """``values[start : start + length]``, and ``outside`` where there is none."""
    cut = np.full((length, *values.shape[1:]), outside, np.float32)
    low, high = max(0, start), min(len(values), start + length)
    if high > low:
        cut[low - start : high - start] = values[low:high]
    return cut


def _disturb(mel_BFM: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """About half of the rows blurred over frames or bands and with noise of up to 0.15, as a flow head's mel is."""
    out = mel_BFM.copy()
    for row in range(len(out)):
        if rng.random() < 0.5:
            continue
        for axis in (0, 1):
            if rng.random() < 0.5:
                share = rng.uniform(0, 0.25)
                edge = [(1, 1), (0, 0)] if axis == 0 else [(0, 0), (1, 1)]
                wide = np.pad(out[row], edge, mode="edge")
                near = (wide[:-2] + wide[2:]) if axis == 0 else (wide[:, :-2] + wide[:, 2:])
                out[row] = (1 - 2 * share) * out[row] + share * near
        out[row] += rng.uniform(0, 0.15) * rng.standard_normal(out[row].shape, np.float32)
    return np.clip(out, -2, 2).astype(np.float32)


def _magnitudes(wave_BS: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, device=wave_BS.device)
    window = window * (2.0 / window.sum())
    spectrum = torch.stft(wave_BS, size, size // 2, window=window, center=False, return_complex=True)
    # A root's slope is endless at zero; silence is exactly zero.
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-12)


def spectral_loss(wave_BS: Tensor, target_BS: Tensor) -> Tensor:
    """Mean over resolutions of log-magnitude L1 and spectral convergence (Arik et al. 2018, section 2.2)."""
    total = wave_BS.new_zeros(())
    for size in STFT_SIZES:
        made, wanted = _magnitudes(wave_BS, size), _magnitudes(target_BS, size)
        floor = MAGNITUDE_FLOOR
        total = total + (torch.log(made + floor) - torch.log(wanted + floor)).abs().mean()
        total = total + 0.5 * torch.linalg.norm(made - wanted) / torch.linalg.norm(wanted).clamp(min=1e-3)
    return total / len(STFT_SIZES)


def mel_loss(wave_BS: Tensor, target_BS: Tensor, filters_HM: Tensor) -> Tensor:
    """L1 between the log-mels of two sounds, nats."""

    def mel(x_BS: Tensor) -> Tensor:
        window = torch.hann_window(WINDOW_SAMPLES, device=x_BS.device)
        window = window * (2.0 / window.sum())
        frames = functional.pad(x_BS.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * window, (0, FFT_SIZE - WINDOW_SAMPLES))
        spectrum = torch.fft.rfft(frames)
        power = (spectrum.real**2 + spectrum.imag**2) @ filters_HM
        logs: Tensor = torch.log(power + math.exp(LOG_FLOOR))
        return logs.clamp(LOG_FLOOR, LOG_CEIL)

    return (mel(wave_BS) - mel(target_BS)).abs().mean()


def noise_share(pulses_BS: Tensor, noise_BFH: Tensor, target_BS: Tensor) -> Tensor:
    """How unlikely ``target_BS`` is, in nats a bin, as pulses of unknown phase in noise of known power.

    A spectral distance prefers a buzz to a hiss where the target is noise, since no two noises agree bin by bin; the
    likelihood of the target's magnitudes (Rice 1945, "Mathematical analysis of random noise", section 3.10) does not.
    ``pulses_BS`` is the harmonic part, ``noise_BFH`` the response of the noise's filter at each hop's end.
    """
    window = torch.hann_window(FFT_SAMPLES, device=target_BS.device)
    window = window * (2.0 / window.sum())
    harmonic, wanted = _framed_power(pulses_BS, window), _framed_power(target_BS, window)
    # Between two hops' ends the noise's power fades: weights of five frames around the middle of the window.
    times = torch.arange(FFT_SAMPLES, device=window.device) + 0.5 - FFT_SAMPLES // 2
    near = torch.arange(-2, 3, device=window.device)[:, None] * HOP_SAMPLES
    weights = ((1 - (times - near).abs() / HOP_SAMPLES).clamp(min=0) * window**2).sum(1)
    power = noise_BFH.real**2 + noise_BFH.imag**2
    num_frames = wanted.shape[1]
    padded = functional.pad(power, (0, 0, 1, 0))
    # A harmonic that is a tenth off in amplitude is no noise, and no bin may outweigh all others.
    noise = 3e-9 + MODEL_ERROR * (wanted + harmonic)
    for place, weight in enumerate(weights):
        noise = noise + weight * padded[:, place : place + num_frames]
    crossed = 2 * torch.sqrt((harmonic + 1e-12) * (wanted + 1e-12)) / noise
    likelihood = -torch.log(noise) - (torch.sqrt(harmonic + 1e-12) - torch.sqrt(wanted + 1e-12)) ** 2 / noise
    return -(likelihood + torch.log(torch.special.i0e(crossed))).mean()


def _framed_power(wave_BS: Tensor, window: Tensor) -> Tensor:
    """Power spectra ``(B, frames, FFT_SAMPLES // 2 + 1)`` of windows a hop apart."""
    spectrum = torch.fft.rfft(wave_BS.unfold(1, FFT_SAMPLES, HOP_SAMPLES) * window)
    power: Tensor = spectrum.real**2 + spectrum.imag**2
    return power


def vocoder_loss(model: Vocoder, batch: VocoderBatch, filters_HM: Tensor, seed: int) -> dict[str, Tensor]:
    """The parts of the loss by name; their sum is minimised."""
    rows = batch.mel_BFM.shape[0]
    log_pitch, voicing, _ = model.pitch(batch.mel_BFM, model.pitch.initial_past(rows, batch.mel_BFM))
    voiced = batch.voiced_BF
    pitch = ((log_pitch - batch.log_pitch_BF).abs() * voiced).sum() / voiced.sum().clamp(min=1)
    voice = functional.binary_cross_entropy_with_logits(voicing, voiced)
    state = model.random_phase_state(rows, seed)
    spectra, _ = model.spectra(batch.mel_BFM, batch.log_pitch_BF.double(), voiced.double(), state)
    pulses, _ = overlap_add(torch.fft.irfft(spectra.pulses_BFH, FFT_SAMPLES), state.tail_BS)
    hiss, _ = overlap_add(torch.fft.irfft(spectra.hiss_BFH, FFT_SAMPLES), state.tail_BS)
    wave = pulses + hiss
    return {
        "spectrum": 0.5 * spectral_loss(wave, batch.wave_BS),
        "mel": 0.5 * mel_loss(wave, batch.wave_BS, filters_HM),
        "noise": 0.06 * noise_share(pulses, spectra.noise_BFH, batch.wave_BS),
        "pitch": 5.0 * pitch,
        "voicing": voice,
    }


def train_vocoder(
    clips: Sequence[VoiceClip],
    config: VocoderConfig,
    training: VocoderTraining,
    report: Callable[[int, dict[str, float]], None] | None = None,
    checkpoint: Path | None = None,
) -> Vocoder:
    """A vocoder trained on ``clips``, in evaluation mode.

    ``report(step, losses)`` gets the running means of the losses. A run that finds ``checkpoint`` goes on from it to
    the same weights as a run that never stopped, and writes it every ``checkpoint_steps``. Raises ``InputError``
    without clips, ``WeightsError`` for a checkpoint of another run.
    """
    if not clips:
        raise InputError("no speech to train the vocoder on")
    torch.manual_seed(training.seed)
    model = Vocoder(config).train()
    optimiser = torch.optim.AdamW(model.parameters(), training.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    first = 0
    if checkpoint is not None and checkpoint.exists():
        first = _resume(checkpoint, model, optimiser, config, training)
    filters = torch.from_numpy(mel_filters())
    means: dict[str, float] = {}
    for step in range(first, training.num_steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, training)
        # A generator of its own for each step: a resumed run needs no state but the step.
        batch = draw_batch(clips, training, np.random.default_rng((training.seed, step)))
        parts = vocoder_loss(model, batch, filters, step)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(parts.values())).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        for name, value in parts.items():
            means[name] = 0.98 * means.get(name, value.item()) + 0.02 * value.item()
        if report is not None and (step + 1) % training.report_steps == 0:
            report(step + 1, dict(means))
        if checkpoint is not None and (step + 1) % training.checkpoint_steps == 0:
            _save_checkpoint(checkpoint, model, optimiser, config, training, step + 1)
    return model.eval()


def learning_rate(step: int, training: VocoderTraining) -> float:
    """Linear warm-up, a constant stretch, then a line to zero at ``num_steps``."""
    warm = (step + 1) / training.warmup_steps
    decay = (1 - step / training.num_steps) / (1 - training.constant_share)
    return training.learning_rate * min(warm, decay, 1.0)


def _save_checkpoint(
    path: Path,
    model: Vocoder,
    optimiser: torch.optim.Optimizer,
    config: VocoderConfig,
    training: VocoderTraining,
    step: int,
) -> None:
    partial = path.with_name(path.name + ".partial")
    run = {"config": asdict(config), "training": asdict(training)}
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "run": run, "step": step}, partial)
    partial.replace(path)


def _resume(
    path: Path, model: Vocoder, optimiser: torch.optim.Optimizer, config: VocoderConfig, training: VocoderTraining
) -> int:
    try:
        saved = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise WeightsError(f"{path}: not a readable checkpoint: {str(error).splitlines()[0]}") from error
    if saved["run"] != {"config": asdict(config), "training": asdict(training)}:
        raise WeightsError(f"{path}: checkpoint of a run with other settings")
    model.load_state_dict(saved["model"])
    optimiser.load_state_dict(saved["optimiser"])
    return int(saved["step"])


def save_vocoder(model: Vocoder, path: Path) -> None:
    """Write the weights as safetensors, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, str(partial))
    partial.replace(path)
