"""Mel frames to sound for one voice, streamed exactly as in one piece.

The backbone and the inverse-Fourier head follow Vocos (Siuzdak 2023, "Vocos: Closing the gap between time-domain and
Fourier-based neural vocoders for high-quality audio synthesis", section 3), made causal. Mel frames do not tell the
phase, and learning a coherent one takes adversaries and days; so the phase comes from a source instead, as in the
neural homomorphic vocoder (Liu et al. 2020, "Neural Homomorphic Vocoder", section 2): a small network reads pitch and
voicing off the mel, a running phase turns them into a pulse train, and the backbone predicts two complex cepstra a
frame, the minimum-phase filters of the pulses and of a noise. Source times filter, inverse transform, overlap and add.

The phase adds up for as long as the stream lasts, so a rounding error in the pitch would grow: the pitch network runs
in double precision, whatever the chunks are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from microturn.media.mel import HOP_SAMPLES, LOG_FLOOR, MEL_BANDS, MEL_MEAN, MEL_SCALE
from microturn.model.linear import gelu, sigmoid
from microturn.model.rows import Rows
from microturn.turn import SAMPLE_RATE_HZ

DELAY_SAMPLES = 2 * HOP_SAMPLES
"""Output sample *n* is the sound of input sample ``n - DELAY_SAMPLES``: two frames, 20 ms."""
SILENCE = (LOG_FLOOR - MEL_MEAN) / MEL_SCALE
"""Normalised mel of digital silence: what the vocoder takes to lie before the first frame."""
SEGMENTS = 4
"""Hops that one filtered hop of source lasts: the transform has ``SEGMENTS * HOP_SAMPLES`` points."""
FFT_SAMPLES = SEGMENTS * HOP_SAMPLES
NOISE_SAMPLES = 1 << 16
"""Period of the fixed noise: 4.1 s."""
MAX_LOG_GAIN = 4.0


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes of the vocoder; the defaults are the shipped voice."""

    width: int = 160
    num_blocks: int = 4
    kernel: int = 7
    expansion: int = 3
    harmonic_cepstra: int = 120
    noise_cepstra: int = 80
    pitch_width: int = 64
    pitch_layers: int = 3
    pitch_kernel: int = 5
    mean_pitch_hz: float = 180.0
    min_pitch_hz: float = 70.0
    max_pitch_hz: float = 420.0


@dataclass(frozen=True)
class VocoderState(Rows):
    """What a stream carries from one step to the next; every tensor has one row a stream, of constant size.

    ``mel_BKM`` and ``blocks_NBKC`` hold the last frames that the convolutions see, ``pitch_NBKC`` those of the pitch
    network (double). ``log_pitch_B``, ``voicing_B``, ``harmonic_BH`` and ``noise_BH`` are the last frame's source and
    filters, from which the next hop fades. ``phase_B`` is in cycles, ``position_B`` counts samples of the fixed noise,
    ``tail_BS`` is sound not yet overlapped by all its hops.
    """

    mel_BKM: Tensor
    blocks_NBKC: tuple[Tensor, ...]
    pitch_NBKC: tuple[Tensor, ...]
    log_pitch_B: Tensor
    voicing_B: Tensor
    harmonic_BH: Tensor
    noise_BH: Tensor
    phase_B: Tensor
    position_B: Tensor
    tail_BS: Tensor


@dataclass(frozen=True)
class VocoderSpectra:
    """Spectra of ``FFT_SAMPLES`` points, complex ``(B, F, FFT_SAMPLES // 2 + 1)``: of the filtered pulses and noise of
    each hop, and of the noise's filter at the hop's end."""

    pulses_BFH: Tensor
    hiss_BFH: Tensor
    noise_BFH: Tensor


class CausalConv(nn.Module):
    """Convolution over frames ``(B, F, in)`` -> ``(B, F, out)`` that sees the current and ``kernel - 1`` past frames.

    It computes in the type of its input, so that a double input gives a double result from single weights.
    """

    def __init__(self, num_in: int, num_out: int, kernel: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_in * kernel, num_out)
        self.kernel = kernel

    def forward(self, x_BFC: Tensor, past_BKC: Tensor) -> tuple[Tensor, Tensor]:
        """Output and the next past, given the ``kernel - 1`` frames before ``x_BFC``."""
        padded = torch.cat([past_BKC, x_BFC], 1)
        windows = padded.unfold(1, self.kernel, 1).flatten(2)
        weight, bias = self.linear.weight.to(x_BFC.dtype), self.linear.bias.to(x_BFC.dtype)
        return functional.linear(windows, weight, bias), padded[:, x_BFC.shape[1] :]


class ConvNeXtBlock(nn.Module):
    """Causal depthwise convolution, norm, two-layer perceptron, scaled residual (Liu et al. 2022, figure 4)."""

    def __init__(self, width: int, kernel: int, expansion: int, scale: float) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.randn(kernel, width) / math.sqrt(kernel))
        self.norm = nn.LayerNorm(width)
        self.rise = nn.Linear(width, width * expansion)
        self.fall = nn.Linear(width * expansion, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x_BFC: Tensor, past_BKC: Tensor) -> tuple[Tensor, Tensor]:
        """Output ``(B, F, C)`` and the next past ``(B, kernel - 1, C)``."""
        num_frames = x_BFC.shape[1]
        padded = torch.cat([past_BKC, x_BFC], 1)
        mixed = padded[:, :num_frames] * self.taps[0]
        for tap in range(1, self.taps.shape[0]):
            mixed = torch.addcmul(mixed, padded[:, tap : tap + num_frames], self.taps[tap])
        hidden = self.fall(gelu(self.rise(self.norm(mixed))))
        return torch.addcmul(x_BFC, hidden, self.scale), padded[:, num_frames:]


class PitchNet(nn.Module):
    """Pitch and voicing of each frame from the mel frames up to it."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        sizes = [MEL_BANDS] + [config.pitch_width] * config.pitch_layers
        kernel = config.pitch_kernel
        self.layers = nn.ModuleList(CausalConv(a, b, kernel) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.head = nn.Linear(config.pitch_width, 2)
        self.config = config

    def forward(self, mel_BFM: Tensor, past_NBKC: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Natural log of the pitch in Hz and voicing logit, both ``(B, F)``, and the next past."""
        x, past = mel_BFM, []
        for layer, before in zip(self.layers, past_NBKC, strict=True):
            x, after = layer(x, before)
            x = gelu(x)
            past.append(after)
        out = functional.linear(x, self.head.weight.to(x.dtype), self.head.bias.to(x.dtype))
        low, high = math.log(self.config.min_pitch_hz), math.log(self.config.max_pitch_hz)
        log_pitch = (math.log(self.config.mean_pitch_hz) + out[..., 0]).clamp(low, high)
        return log_pitch, out[..., 1], tuple(past)

    def initial_past(self, num_rows: int, like: Tensor) -> tuple[Tensor, ...]:
        """The past before the first frame: silence, then zeros in the hidden layers."""
        past = [like.new_full((num_rows, self.config.pitch_kernel - 1, MEL_BANDS), SILENCE)]
        for _ in range(self.config.pitch_layers - 1):
            past.append(like.new_zeros(num_rows, self.config.pitch_kernel - 1, self.config.pitch_width))
        return tuple(past)


def pulse_train(phase: Tensor, pitch_hz: Tensor) -> Tensor:
    """Band-limited pulses of power about one: all harmonics below Nyquist, equal and in phase.

    ``phase`` in cycles and ``pitch_hz`` have one shape; the sum of cosines is the Dirichlet kernel in closed form, and
    the harmonic that is about to pass Nyquist fades instead of switching.
    """
    count = (SAMPLE_RATE_HZ / 2 - 50.0) / pitch_hz
    whole = count.floor()
    centred = phase - phase.round()
    denominator = torch.sin(math.pi * centred)
    at_pulse = denominator.abs() < 1e-6
    ratio = torch.sin(math.pi * (2 * whole + 1) * centred) / torch.where(at_pulse, 1.0, denominator)
    summed = 0.5 * (torch.where(at_pulse, 2 * whole + 1, ratio) - 1.0)
    last = (count - whole) * torch.cos(2 * math.pi * (whole + 1) * centred)
    return (summed + last) * torch.sqrt(2.0 / count)


class Vocoder(nn.Module):
    """Normalised log-mel ``(B, F, 80)`` to samples ``(B, F * 160)``, ``DELAY_SAMPLES`` late."""

    ramp_S: Tensor
    noise_table_S: Tensor
    cepstrum_scale: Tensor
    harmonic_basis: Tensor
    noise_basis: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = CausalConv(MEL_BANDS, config.width, 3)
        self.stem_norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.width, config.kernel, config.expansion, 1.0 / config.num_blocks)
            for _ in range(config.num_blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        num_cepstra = config.harmonic_cepstra + config.noise_cepstra
        self.head = nn.Linear(config.width, num_cepstra)
        self.pitch = PitchNet(config)
        orders = [torch.arange(config.harmonic_cepstra), torch.arange(config.noise_cepstra)]
        # Cepstra of natural spectra fall off with their order, and level varies most of all.
        falloff = torch.cat([torch.where(order == 0, 4.0, 1.0 / order.clamp(min=1) ** 0.75) for order in orders])
        self.register_buffer("cepstrum_scale", falloff, persistent=False)
        self.register_buffer("ramp_S", (torch.arange(HOP_SAMPLES) + 0.5) / HOP_SAMPLES, persistent=False)
        self.register_buffer("harmonic_basis", _cepstrum_basis(config.harmonic_cepstra), persistent=False)
        self.register_buffer("noise_basis", _cepstrum_basis(config.noise_cepstra), persistent=False)
        noise = np.random.default_rng(0).standard_normal(NOISE_SAMPLES).astype(np.float32)
        self.register_buffer("noise_table_S", torch.from_numpy(noise), persistent=False)
        with torch.no_grad():
            self.head.weight.mul_(0.3)
            self.head.bias.zero_()
            # The pulses start loud and the noise soft: a path that starts below the other gets no gradient and dies.
            self.head.bias[0] = -0.75
            self.head.bias[config.harmonic_cepstra] = -2.0

    def initial_state(self, num_rows: int) -> VocoderState:
        """The state before the first frame of ``num_rows`` streams: silence."""
        config, like = self.config, self.ramp_S
        quiet = like.new_zeros(num_rows, FFT_SAMPLES // 2 + 1, dtype=torch.complex64)
        double = like.new_zeros(num_rows, dtype=torch.float64)
        return VocoderState(
            mel_BKM=like.new_full((num_rows, self.stem.kernel - 1, MEL_BANDS), SILENCE),
            blocks_NBKC=tuple(
                like.new_zeros(num_rows, config.kernel - 1, config.width) for _ in range(config.num_blocks)
            ),
            pitch_NBKC=self.pitch.initial_past(num_rows, double),
            log_pitch_B=double + math.log(config.mean_pitch_hz),
            voicing_B=double,
            harmonic_BH=quiet,
            noise_BH=quiet,
            phase_B=double,
            position_B=like.new_zeros(num_rows, dtype=torch.int64),
            tail_BS=like.new_zeros(num_rows, FFT_SAMPLES - HOP_SAMPLES),
        )

    def forward(self, mel_BFM: Tensor) -> Tensor:
        """Whole utterances from silence: ``(B, F, 80)`` -> ``(B, F * 160)``."""
        return self.step(mel_BFM, self.initial_state(mel_BFM.shape[0]))[0]

    def step(self, mel_BFM: Tensor, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """Any number of frames: ``(B, F, 80)`` -> ``(B, F * 160)`` and the state after them."""
        log_pitch, voicing, pitch_past = self.pitch(mel_BFM.double(), state.pitch_NBKC)
        spectra, after = self.spectra(mel_BFM, log_pitch, sigmoid(voicing), state)
        pieces = torch.fft.irfft(spectra.pulses_BFH + spectra.hiss_BFH, FFT_SAMPLES)
        wave, tail = overlap_add(pieces, state.tail_BS)
        return wave, replace(after, pitch_NBKC=pitch_past, tail_BS=tail)

    def spectra(
        self, mel_BFM: Tensor, log_pitch_BF: Tensor, voicing_BF: Tensor, state: VocoderState
    ) -> tuple[VocoderSpectra, VocoderState]:
        """The filtered sources, with the pitch (natural log of Hz) and voicing (0..1) of each frame given, both double
        ``(B, F)``, and the next state except for ``pitch_NBKC`` and ``tail_BS``."""
        harmonic, noise, mel_past, blocks_past = self._filters(mel_BFM, state)
        pulses, phase = self._pulses(log_pitch_BF, voicing_BF, state)
        hiss, position = self._noise(mel_BFM.shape[1], state)
        found = VocoderSpectra(
            pulses_BFH=self._filtered(pulses, harmonic, state.harmonic_BH),
            hiss_BFH=self._filtered(hiss, noise, state.noise_BH),
            noise_BFH=noise,
        )
        after = replace(
            state,
            mel_BKM=mel_past,
            blocks_NBKC=blocks_past,
            log_pitch_B=log_pitch_BF[:, -1],
            voicing_B=voicing_BF[:, -1],
            harmonic_BH=harmonic[:, -1],
            noise_BH=noise[:, -1],
            phase_B=phase,
            position_B=position,
        )
        return found, after

    def _filtered(self, source_BFS: Tensor, response_BFH: Tensor, before_BH: Tensor) -> Tensor:
        """Spectra of hops of a source heard through a filter that fades from the last frame's to this frame's."""
        earlier = torch.cat([before_BH[:, None], response_BFH[:, :-1]], 1)
        rising = torch.fft.rfft(source_BFS * self.ramp_S, FFT_SAMPLES)
        falling = torch.fft.rfft(source_BFS * (1 - self.ramp_S), FFT_SAMPLES)
        filtered: Tensor = response_BFH * rising + earlier * falling
        return filtered

    def _filters(self, mel_BFM: Tensor, state: VocoderState) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Frequency responses of the pulses' and the noise's filter, both complex ``(B, F, FFT_SAMPLES // 2 + 1)``,
        and the pasts of the stem and of the blocks."""
        x, mel_past = self.stem(mel_BFM, state.mel_BKM)
        x = self.stem_norm(x)
        past = []
        for block, before in zip(self.blocks, state.blocks_NBKC, strict=True):
            x, after = block(x, before)
            past.append(after)
        cepstra = self.head(self.norm(x)) * self.cepstrum_scale
        split = self.config.harmonic_cepstra
        return (
            minimum_phase(cepstra[..., :split], self.harmonic_basis),
            minimum_phase(cepstra[..., split:], self.noise_basis),
            mel_past,
            tuple(past),
        )

    def _pulses(self, log_pitch_BF: Tensor, voicing_BF: Tensor, state: VocoderState) -> tuple[Tensor, Tensor]:
        """Voiced pulses ``(B, F, hop)``, fading from each frame's pitch and voicing to the next one's, and the phase
        (cycles) after them."""
        pitch = torch.cat([state.log_pitch_B[:, None], log_pitch_BF], 1).exp()
        voicing = torch.cat([state.voicing_B[:, None], voicing_BF], 1)
        start, change = pitch[:, :-1, None], pitch.diff(dim=1)[..., None]
        cycles = (start[..., 0] + change[..., 0] / 2) * (HOP_SAMPLES / SAMPLE_RATE_HZ)
        ends = state.phase_B[:, None] + cycles.cumsum(1)
        begins = torch.cat([state.phase_B[:, None], ends[:, :-1]], 1)
        ramp = self.ramp_S.double()
        seconds = ramp * (HOP_SAMPLES / SAMPLE_RATE_HZ)
        phase = begins[..., None].remainder(1.0) + start * seconds + change * (ramp * seconds / 2)
        gate = voicing[:, :-1, None] + voicing.diff(dim=1)[..., None] * ramp
        pulses = gate * pulse_train(phase, start + change * ramp)
        return pulses.to(self.ramp_S.dtype), ends[:, -1].remainder(1.0)

    def _noise(self, num_frames: int, state: VocoderState) -> tuple[Tensor, Tensor]:
        """Hops ``(B, F, hop)`` of the fixed noise and the position after them."""
        offsets = torch.arange(num_frames * HOP_SAMPLES, device=state.position_B.device)
        index = (state.position_B[:, None] + offsets).remainder(NOISE_SAMPLES)
        position = (state.position_B + num_frames * HOP_SAMPLES).remainder(NOISE_SAMPLES)
        return self.noise_table_S[index].view(-1, num_frames, HOP_SAMPLES), position


def _cepstrum_basis(num_cepstra: int) -> Tensor:
    """Cosines and negative sines ``(num_cepstra, 2 * bins)``: the Fourier transform of a cepstrum as a product, which
    costs less than a transform padded with zeros, above all backward."""
    bins = torch.arange(FFT_SAMPLES // 2 + 1, dtype=torch.float64)
    angle = torch.arange(num_cepstra, dtype=torch.float64)[:, None] * bins * (2 * math.pi / FFT_SAMPLES)
    return torch.cat([angle.cos(), -angle.sin()], 1).float()


def minimum_phase(cepstra: Tensor, basis: Tensor | None = None) -> Tensor:
    """Frequency response ``(..., FFT_SAMPLES // 2 + 1)`` of the minimum-phase filter whose complex cepstrum is
    ``cepstra`` (Oppenheim & Schafer, "Discrete-Time Signal Processing", section 13.5). ``basis`` saves
    building it anew."""
    if basis is None:
        basis = _cepstrum_basis(cepstra.shape[-1])
    log_gain, angle = (cepstra @ basis).chunk(2, -1)
    gain = log_gain.clamp(max=MAX_LOG_GAIN).exp()
    return torch.complex(gain * angle.cos(), gain * angle.sin())


def overlap_add(pieces_BFS: Tensor, tail_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Add pieces of ``SEGMENTS`` hops, one hop apart, onto the tail of earlier ones: finished sound and new tail."""
    rows, num_frames, _ = pieces_BFS.shape
    hops = pieces_BFS.view(rows, num_frames, SEGMENTS, HOP_SAMPLES)
    total = functional.pad(tail_BS.view(rows, SEGMENTS - 1, HOP_SAMPLES), (0, 0, 0, num_frames))
    for segment in range(SEGMENTS):
        total = total + functional.pad(hops[:, :, segment], (0, 0, segment, SEGMENTS - 1 - segment))
    return total[:, :num_frames].flatten(1), total[:, num_frames:].flatten(1)
