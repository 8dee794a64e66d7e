"""Draws what ``scripts/learn-to-hear.py`` told of its runs: words written in order, by source and way, over minutes.

.venv/bin/python scripts/hear-curves.py PICTURE.png LOG ...
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib import pyplot

LOOK = re.compile(r"(\w+): (?:(\d+) minutes|end), step \d+.*?: (synthesised .*)")
SHARE = re.compile(r"(\w+) (\d+)% \((\d+)%\)")
NAMES = {"times": "labels in time", "order": "labels in order (CTC)"}
SOURCES = ("synthesised", "kokoro", "commands", "digits", "natives", "sentences")


def main(picture: str, logs: list[str], last_minutes: int = 120) -> None:
    curves: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for log in logs:
        for way, minutes, rest in LOOK.findall(Path(log).read_text(encoding="utf-8")):
            for source, right, _ in SHARE.findall(rest):
                curves[source, way].append((int(minutes or last_minutes), int(right)))
    figure, panels = pyplot.subplots(2, 3, figsize=(10, 5.5), sharex=True, layout="constrained")
    for source, panel in zip(SOURCES, panels.flat, strict=True):
        for way, name in NAMES.items():
            panel.plot(*zip(*curves[source, way], strict=True), label=name)
        panel.set(title=source, ylim=(0, None), xlim=(0, last_minutes))
        panel.grid(alpha=0.3)
    panels[0, 0].legend()
    figure.supxlabel("minutes of a core")
    figure.supylabel("% of held-out words written, in order")
    figure.savefig(picture, dpi=90)


main(sys.argv[1], sys.argv[2:])
