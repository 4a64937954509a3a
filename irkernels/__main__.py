"""`python -m irkernels`."""

import sys

from irkernels.cli import main

if __name__ == "__main__":
    sys.exit(main())
