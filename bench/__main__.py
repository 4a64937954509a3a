"""`python -m bench [A] [sizes] [B] [C] [D] [sweep] [layer] [gradients] [curvature] [tensorly] [--results DIR]`: see table.py."""

from bench.table import main

if __name__ == "__main__":
    main()
