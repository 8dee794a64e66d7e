"""One dial, ``size``, derives every width and depth of the model; ``describe`` prints the derivation.

Each part's own settings are a frozen dataclass; ``ModelConfig.of_size`` is the only place that relates them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import msgspec

from microturn.errors import InputError
from microturn.turn import TURN_MS


def _names(values: Mapping[str, object], prefix: str = "") -> set[str]:
    """Names of all fields, those of parts with a dot; ``msgspec.convert`` would ignore unknown ones."""
    names: set[str] = set()
    for name, value in values.items():
        names |= _names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name}
    return names


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Decoder-only transformer with mixture-of-experts feed-forward layers."""

    width: int
    num_layers: int
    listening_layers: int
    """The lowest layers, which learn to spell sound on their own first (``train.listen``)."""
    num_heads: int
    num_kv_heads: int
    head_dim: int
    time_dim: int
    """Dimensions of each head that rotate with the turn index; the others rotate with the slot in the turn."""
    num_experts: int
    """Routed experts of a layer; 1 makes the layer dense (the one expert always runs)."""
    top_k: int
    expert_width: int
    shared_width: int

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise InputError(f"{self.num_heads} heads cannot share {self.num_kv_heads} key-value heads")
        if self.num_kv_heads < 2:
            raise InputError("num_kv_heads must be at least 2: the last one belongs to the matching heads")
        if self.num_heads != 2 * self.num_kv_heads:
            raise InputError(f"{self.num_heads} heads: expected two for each of {self.num_kv_heads} key-value heads")
        if not 1 <= self.listening_layers <= self.num_layers:
            raise InputError(f"listening_layers {self.listening_layers} is not between 1 and {self.num_layers}")
        if self.time_dim % 2 or (self.head_dim - self.time_dim) % 2:
            raise InputError(f"head_dim {self.head_dim} and time_dim {self.time_dim} must differ by an even number")
        if not 1 <= self.top_k <= self.num_experts:
            raise InputError(f"top_k {self.top_k} is not between 1 and num_experts {self.num_experts}")


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """What a session remembers (design, "Memory of a session")."""

    window_turns: int = 150
    """Media tokens are visible for this many turns (150 = 30 s). Older text looks as if it were this old."""
    text_tokens: int = 1024
    """The newest text tokens of all lanes that stay visible."""


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The flow head: a small diffusion transformer over one turn's mel frames."""

    width: int
    num_layers: int
    num_heads: int
    frames_per_token: int = 2
    num_steps: int = 6
    """Euler steps in sampling."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model. ``size`` is the dial that produced it; ``vocab_size`` comes from the tokenizer."""

    size: int
    vocab_size: int
    ear_rank: int = 4
    """Rank of the ear's table over the 16 dMel levels."""
    patch_rows: int = 2
    """Frames are seen as ``patch_rows x patch_rows`` patches of 40x40 pixels."""
    backbone: BackboneConfig
    flow: FlowConfig
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    @classmethod
    def of_size(
        cls, size: int, *, vocab_size: int, num_experts: int = 4, memory: MemoryConfig | None = None
    ) -> ModelConfig:
        """Derive everything from ``size``: layers = size + 2 (the lower half, rounded up, listens), width = 64 * size,
        heads of 32, two of them on each key-value head, and one more pair that matches words (``backbone.Attention``),
        experts of ``width`` and a shared expert of 1.5 ``width``."""
        if size < 1:
            raise InputError(f"size {size} is not a positive number")
        width = 64 * size
        backbone = BackboneConfig(
            width=width,
            num_layers=size + 2,
            listening_layers=(size + 3) // 2,
            num_heads=2 * size + 2,
            num_kv_heads=size + 1,
            head_dim=32,
            time_dim=24,
            num_experts=num_experts,
            top_k=1,
            expert_width=width,
            shared_width=width * 3 // 2,
        )
        flow = FlowConfig(width=48 * size, num_layers=max(2, size - 1), num_heads=max(1, 3 * size // 4))
        return cls(size=size, vocab_size=vocab_size, backbone=backbone, flow=flow, memory=memory or MemoryConfig())

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
        b, f, m = self.backbone, self.flow, self.memory
        return [
            ("size", f"{self.size} (the dial)"),
            ("backbone layers", f"{b.num_layers} = size + 2, {b.listening_layers} of them learn to listen first"),
            ("backbone width", f"{b.width} = 64 x size"),
            ("attention heads", f"{b.num_heads} of {b.head_dim} = 2 x size + 2, {b.num_kv_heads} for keys and values"),
            ("rotary dimensions", f"{b.time_dim} for the turn, {b.head_dim - b.time_dim} for the slot in the turn"),
            ("experts", f"{b.num_experts} of {b.expert_width}, top {b.top_k}, and a shared one of {b.shared_width}"),
            ("flow head", f"{f.num_layers} layers of {f.width} = 48 x size, {f.num_steps} Euler steps"),
            ("frame", f"{self.frame_pixels}x{self.frame_pixels} pixels = {self.num_patches} patches of 40x40"),
            ("media memory", f"{m.window_turns} turns = {m.window_turns * TURN_MS / 1000:g} s"),
            ("text memory", f"{m.text_tokens} tokens"),
            ("vocabulary", f"{self.vocab_size} byte-pair tokens, in a hear and a say lane"),
        ]
