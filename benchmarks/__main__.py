"""`python -m benchmarks`: the whole side-by-side benchmark."""

import sys

from benchmarks.bench import main

if __name__ == "__main__":
    sys.exit(main())
