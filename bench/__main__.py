"""`python -m bench [A] [sizes] [plain] [B] [C] [D] [sweep] [layer] [gradients] [curvature] [tensorly] [dynamics]
[numerics] [--results DIR]`."""

from bench.table import main

if __name__ == "__main__":
    main()
