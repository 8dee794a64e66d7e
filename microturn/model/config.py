"""One dial, ``size``, derives every width and depth of the model; ``describe`` prints the derivation.

Each part's own settings are a frozen dataclass; ``ModelConfig.of_size`` is the only place that relates them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import msgspec

from microturn.errors import InputError
from microturn.turn import TURN_MS

MIN_SIZE, MAX_SIZE = 1, 16


@dataclass(frozen=True, kw_only=True)
class HearingConfig:
    """The stack that hears: sound to words and to one state a turn."""

    width: int
    num_layers: int
    num_heads: int
    head_dim: int = 32
    inner: int
    """Width of the feed-forward layers."""
    kernel: int = 4
    """Tokens that a layer's convolution mixes, the newest included."""
    window_tokens: int = 30
    """Tokens (100 ms each) that attention sees, the newest included: 3 s."""
    channels: int = 16
    """Of the ear's first convolution; the second has twice as many."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The decoder-only transformer that reads everything: grouped-query attention, mixture-of-experts layers."""

    width: int
    num_layers: int
    lower_layers: int
    """Pictures are watched after so many of them (a training task)."""
    num_heads: int
    num_kv_heads: int
    head_dim: int = 64
    time_dim: int = 16
    """Dimensions of each head that rotate with the turn index."""
    slot_dim: int = 8
    """Dimensions that rotate with the slot in the turn. The others do not rotate: words are matched by them."""
    num_experts: int
    """Routed experts of a layer; 1 makes the layer dense (the one expert always runs)."""
    top_k: int
    expert_width: int
    shared_width: int
    lane_words: int = 3
    """Every token knows so many of the newest words of either side."""

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise InputError(f"{self.num_heads} heads cannot share {self.num_kv_heads} key-value heads")
        if not 1 <= self.lower_layers <= self.num_layers:
            raise InputError(f"lower_layers {self.lower_layers} is not between 1 and {self.num_layers}")
        if self.time_dim % 2 or self.slot_dim % 2 or self.time_dim + self.slot_dim > self.head_dim:
            raise InputError(f"time_dim {self.time_dim} and slot_dim {self.slot_dim} do not fit {self.head_dim}")
        if not 1 <= self.top_k <= self.num_experts:
            raise InputError(f"top_k {self.top_k} is not between 1 and num_experts {self.num_experts}")


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """What a session remembers (design, "Memory of a session")."""

    window_turns: int = 150
    """Media tokens are visible for this many turns (150 = 30 s). Older text looks as if it were this old."""
    text_tokens: int = 192
    """The newest text tokens of all lanes that stay visible: not many more than training has met (docs/log.md)."""
    pinned_tokens: int = 128
    """The newest tokens of instructions, which other text does not push out."""


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The flow head: a small diffusion transformer over one turn's mel frames."""

    width: int
    num_layers: int
    num_heads: int
    frames_per_token: int = 2
    num_steps: int = 3
    """Euler steps in sampling."""

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise InputError(f"flow head: width {self.width} is not divisible by {self.num_heads} heads")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model. ``size`` is the dial that produced it; ``vocab_size`` comes from the tokenizer."""

    size: int
    vocab_size: int
    patch_rows: int = 2
    """Frames are seen as ``patch_rows x patch_rows`` patches of 40x40 pixels."""
    hearing: HearingConfig
    backbone: BackboneConfig
    flow: FlowConfig
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    @classmethod
    def of_size(
        cls, size: int, *, vocab_size: int, num_experts: int = 4, memory: MemoryConfig | None = None
    ) -> ModelConfig:
        """Derive everything from ``size``, 1 to 16. Raises ``InputError`` outside that range."""
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise InputError(f"size {size} is not between {MIN_SIZE} and {MAX_SIZE}")
        width = 64 * size
        num_kv_heads = (size + 2) // 2
        return cls(
            size=size,
            vocab_size=vocab_size,
            hearing=HearingConfig(width=width, num_layers=2 * size + 2, num_heads=2 * size, inner=4 * width),
            backbone=BackboneConfig(
                width=width,
                num_layers=size + 2,
                lower_layers=size,
                num_heads=2 * num_kv_heads,
                num_kv_heads=num_kv_heads,
                num_experts=num_experts,
                top_k=1,
                expert_width=width,
                shared_width=width * 3 // 2,
            ),
            flow=FlowConfig(width=48 * size, num_layers=max(2, size - 1), num_heads=size),
            memory=memory or MemoryConfig(),
        )

    @property
    def num_patches(self) -> int:
        return self.patch_rows**2

    @property
    def frame_pixels(self) -> int:
        """Side of the square picture that the eye sees."""
        return 40 * self.patch_rows

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ModelConfig:
        """Inverse of ``to_dict``; raises ``InputError`` when a field is missing, unknown or not acceptable."""
        try:
            config = msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise InputError(f"model configuration: {error}") from error
        unknown = _names(values) - _names(config.to_dict())
        if unknown:
            raise InputError(f"model configuration: unknown {', '.join(sorted(unknown))}")
        return config

    def describe(self) -> list[tuple[str, str]]:
        """(quantity, value with its derivation) rows for ``microturn info``."""
        h, b, f, m = self.hearing, self.backbone, self.flow, self.memory
        return [
            ("size", f"{self.size} (the dial)"),
            ("width", f"{b.width} = 64 x size"),
            ("hearing layers", f"{h.num_layers} = 2 x size + 2, {h.num_heads} heads of {h.head_dim}, {h.inner} inside"),
            ("hearing memory", f"{h.window_tokens} tokens of 100 ms"),
            ("backbone layers", f"{b.num_layers} = size + 2"),
            (
                "attention heads",
                f"{b.num_heads} of {b.head_dim}, {b.num_kv_heads} = (size + 2) / 2 for keys and values",
            ),
            ("rotary dimensions", f"{b.time_dim} for the turn, {b.slot_dim} for the slot in the turn"),
            ("experts", f"{b.num_experts} of {b.expert_width}, top {b.top_k}, and a shared one of {b.shared_width}"),
            ("flow head", f"{f.num_layers} layers of {f.width} = 48 x size, {f.num_steps} Euler steps"),
            ("frame", f"{self.frame_pixels}x{self.frame_pixels} pixels = {self.num_patches} patches of 40x40"),
            ("media memory", f"{m.window_turns} turns = {m.window_turns * TURN_MS / 1000:g} s"),
            ("text memory", f"{m.text_tokens} tokens, and {m.pinned_tokens} of instructions"),
            ("vocabulary", f"{self.vocab_size} byte-pair tokens, in a hear and a say lane"),
        ]


def _names(values: Mapping[str, object], prefix: str = "") -> set[str]:
    """Names of all fields, those of parts with a dot; ``msgspec.convert`` would ignore unknown ones."""
    names: set[str] = set()
    for name, value in values.items():
        names |= _names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name}
    return names
