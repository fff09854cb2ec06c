"""`python -m benchmarks`: settings first, then everything that imports numpy."""

import sys

from benchmarks.settings import prepare

prepare()

from benchmarks.command import main  # noqa: E402  (the settings come first)

if __name__ == "__main__":
    sys.exit(main())
