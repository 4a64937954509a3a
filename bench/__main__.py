"""`python -m bench [A] [B] [sweep] [gradients]`: see table.py."""

from bench.table import main

if __name__ == "__main__":
    main()
