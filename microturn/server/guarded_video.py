"""Video of a WebRTC client is decoded by a decoder that looks at the declared size first.

aiortc's own (libvpx) takes whatever size a key frame declares, up to 16,383 pixels a side.
"""

from __future__ import annotations

from aiortc import rtcrtpreceiver
from aiortc.codecs import get_decoder
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import VIDEO_TIME_BASE
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av import CodecContext, Packet
from av.frame import Frame
from av.video.codeccontext import VideoCodecContext

from microturn.media.wire import MAX_PICTURE_PIXELS
from microturn.server.prompt_buffer import Frames


class GuardedVp8(Decoder):
    """FFmpeg's own VP8 decoder, which refuses a picture before it takes memory for it."""

    def __init__(self) -> None:
        codec = CodecContext.create("vp8", "r")
        assert isinstance(codec, VideoCodecContext)
        self._codec = codec
        self._codec.options = {"max_pixels": str(MAX_PICTURE_PIXELS), "threads": "1"}

    def decode(self, encoded_frame: JitterFrame) -> list[Frame]:
        following = encoded_frame.following if isinstance(encoded_frame, Frames) else []
        frames: list[Frame] = []
        for data, later in [(encoded_frame.data, 0), *following]:
            packet = Packet(data)
            packet.pts = encoded_frame.timestamp + later
            packet.time_base = VIDEO_TIME_BASE
            frames += self._codec.decode(packet)
        return frames


def _decoder(codec: RTCRtpCodecParameters) -> Decoder:
    return GuardedVp8() if codec.mimeType.lower() == "video/vp8" else get_decoder(codec)


def install() -> None:
    """Make it what aiortc decodes with; it has no other place to say so."""
    vars(rtcrtpreceiver)["get_decoder"] = _decoder
