"""``python -m microturn``: the ``microturn`` command without its installed script."""

import sys

from microturn.cli import main

if __name__ == "__main__":
    sys.exit(main())
