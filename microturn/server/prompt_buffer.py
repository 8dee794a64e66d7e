"""Packets of a WebRTC client wait for those before them, and for nothing else.

aiortc's own buffer hands sound on 80 ms late, waits 320 ms for a packet that is lost, and hands a picture on when the
next one begins: at five pictures a second, a turn late.
"""

from __future__ import annotations

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

PACKETS = {"audio": 4, "video": 512}
"""So many places there are: what lies in them waits for one that is missing. A client is asked for a missing packet of
video again, not of sound; and what sound has once waited, all that follows waits too."""


class Frames(JitterFrame):
    """Pictures that are complete at the same time: one, and what follows it, each with its distance in time."""

    def __init__(self, frames: list[JitterFrame]) -> None:
        first = frames[0]
        super().__init__(first.data, first.timestamp)
        self.following = [(one.data, (one.timestamp - first.timestamp) % 2**32) for one in frames[1:]]


class PromptBuffer(JitterBuffer):
    """The sound of a packet at once, and a picture with the packet that says to be its last."""

    def __init__(self, kind: str) -> None:
        super().__init__(PACKETS[kind], is_video=kind == "video")

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Whether a new key frame is needed, and what is complete: of sound the oldest frame, of pictures all."""
        is_broken, frame = super().add(packet)
        frames: list[JitterFrame] = []
        while frame := frame or self._whole():
            # A packet that only fills the line has no data, and to a decoder that is the end of everything.
            if frame.data:
                frames.append(frame)
            # There is one call a packet: pictures that stayed here would make all that follow late.
            if frames and not self._is_video:
                break
            frame = self._remove_frame(packet.sequence_number)
        return is_broken, Frames(frames) if frames else None

    def _whole(self) -> JitterFrame | None:
        packets: list[RtpPacket] = []
        assert self._origin is not None
        for place in range(self._origin, self._origin + self._capacity):
            if (packet := self._packets[place % self._capacity]) is None:
                break
            packets.append(packet)
            if packet.marker or not self._is_video:
                self.remove(len(packets))
                return JitterFrame(b"".join(vars(one)["_data"] for one in packets), packet.timestamp)
        return None
