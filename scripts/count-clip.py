"""What the model counts in a video: words ask for it (given, not heard), the clip is shown, then nothing moves.

    .venv/bin/python scripts/count-clip.py CLIP [WEIGHTS] [REQUEST]

Prints the turn of every number said. ``../shared/data/video/repcount/test2021.mp4`` shows three sit-ups that end after
4.2, 6.8 and 9.5 s, filmed by a person's telephone; the model has met drawn figures only.
"""

import sys
from itertools import chain, repeat
from pathlib import Path

from microturn import Session, TurnInput, load
from microturn.media.reader import open_media
from microturn.model.microturn import use_one_thread
from microturn.turn import TURN_MS, Rehearsed

WAIT_TURNS = 6
"""Between the request and the clip."""
STILL_TURNS = 15


def main(clip: Path, weights: str, request: str) -> None:
    use_one_thread()
    session = Session.open(load(weights), seed=0)
    frames = [given.frame for given in open_media(clip).iter_turns() if given.frame is not None]
    words = request.split()
    asked = [Rehearsed(words=(word,), voice=True) for word in words]
    quiet = Rehearsed(words=(), voice=False)
    still = chain(frames, repeat(frames[-1], STILL_TURNS))
    turns = [TurnInput(audio=None, frame=frames[0], rehearsed=one) for one in [*asked, *[quiet] * WAIT_TURNS]]
    begin = len(turns)
    turns += [TurnInput(audio=None, frame=frame, rehearsed=quiet) for frame in still]
    for turn, given in enumerate(turns):
        output = session.step(given)
        if output.say:
            print(f"{(turn - begin) * TURN_MS / 1000:6.1f} s of the clip: {output.say}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0]), *(arguments[1:] + ["nano", "count the sit ups"][len(arguments) - 1 :]))
