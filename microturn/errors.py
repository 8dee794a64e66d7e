"""Every error a user can meet, as one tree.

    MicroturnError              exit code 2, one line: the thing and the cause
    ├─ MediaError               a file cannot be read, decoded or written
    ├─ InputError               an argument or a turn's input is not acceptable
    ├─ WeightsError             weights are missing, damaged or of another size
    ├─ DeviceError              a sound card is missing or cannot do what is needed
    ├─ VoiceError               a speech engine or a voice is not installed
    ├─ CorpusError              a corpus is missing, damaged or made by another generator
    ├─ RecordingError           a recorded session is missing, damaged or of other weights
    ├─ ServerError              a server cannot be reached, or ends a session
    ├─ BackgroundError          a job cannot be done: the background model, a tool or a budget says no
    └─ BusyError                no further session can be served now

The command line prints the message of any of these and exits with 2; everything else is a bug and shows
its traceback.
"""


class MicroturnError(Exception):
    """Base of all errors that are not bugs. The message names the thing and the cause in one line."""


class MediaError(MicroturnError):
    """A media file is missing, empty, truncated, of no known kind, or cannot be written."""


class InputError(MicroturnError):
    """An argument or the input of a turn is outside what is accepted (a NaN sample, a 0x0 frame, ...)."""


class WeightsError(MicroturnError):
    """Weights are missing, damaged, or belong to a model of another size."""


class DeviceError(MicroturnError):
    """A sound card is missing, cannot do what is needed, or went away."""


class VoiceError(MicroturnError):
    """A speech engine or a voice that was asked for is not installed."""


class CorpusError(MicroturnError):
    """A corpus is missing, damaged, or was made with other settings."""


class RecordingError(MicroturnError):
    """A recorded session is missing, damaged, was made with other weights, or cannot be written."""


class ServerError(MicroturnError):
    """A server cannot be reached, does not let a client in, or ended its session."""


class BackgroundError(MicroturnError):
    """A job cannot be done: the background model or a tool cannot be reached, or a budget is used up."""


class BusyError(MicroturnError):
    """No further session can be served now; it may be asked for again after ``retry_after_ms``."""

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
