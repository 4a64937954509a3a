"""The largest eigenvalue of a symmetric map by Lanczos iteration, fully reorthogonalised, for many trials at once.

    w = A q_j;   alpha_j = <q_j, w>;   w -= alpha_j q_j + beta_{j-1} q_{j-1};   w -= Q Q^T w
    beta_j = |w|;   q_{j+1} = w / beta_j

The largest eigenvalue theta of the tridiagonal matrix (alpha, beta), with eigenvector s, lies within |beta_j s_j| of an
eigenvalue of A: the residual that the tolerance is set against.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_EACH_UP_TO, _THEN_EVERY = 4, 4  # steps at which the small eigenproblem is solved


@dataclass
class Found:
    """Per trial: the eigenvalue [T], its unit eigenvector [T, P], the residual's norm [T]."""

    value: Tensor
    vector: Tensor
    residual: Tensor


def largest_eigenpair(product: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, iterations: int) -> Found:
    """Of the map [T, P] -> [T, P], from the start vectors [T, P]; never more than P iterations.

    A trial is done when its residual is at most tolerance x |eigenvalue|: it keeps what it has then, whatever the
    others still need.  Warns (RuntimeWarning) where some trial is not done after `iterations`.  A trial that is not
    finite gives NaN.
    """
    trials, size = start.shape
    most = min(iterations, size)
    basis = start.new_empty(trials, min(most, 16), size)
    basis[:, 0] = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    found = _Pairs(start)
    for step in range(most):
        q = basis[:, step]
        w = product(q)
        alphas.append((q * w).sum(1))
        w = w - alphas[-1][:, None] * q
        if step:
            w = w - betas[-1][:, None] * basis[:, step - 1]
        known = basis[:, : step + 1]
        w = torch.baddbmm(w[..., None], known.mT, torch.bmm(known, w[..., None]), alpha=-1)[..., 0]
        beta = torch.linalg.vector_norm(w, dim=1)
        broken = beta <= torch.finfo(beta.dtype).eps * alphas[-1].abs()  # the Krylov space is exhausted
        betas.append(torch.where(broken, torch.zeros_like(beta), beta))
        due = step < _EACH_UP_TO or (step + 1) % _THEN_EVERY == 0 or step + 1 == most
        if (due or broken.any()) and found.look(alphas, betas, known, tolerance):
            return found.found
        if step + 1 < most:
            if step + 1 == basis.shape[1]:
                basis = torch.cat([basis, basis.new_empty(trials, min(step + 1, most - step - 1), size)], dim=1)
            basis[:, step + 1] = w / torch.where(broken, torch.ones_like(beta), beta)[:, None]
    if most < size:
        found.warn(tolerance, most)
    return found.found


class _Pairs:
    """The eigenpairs of trials that are done, and the present estimates of the others."""

    def __init__(self, start: Tensor) -> None:
        zero = start.new_zeros(len(start))
        self.found = Found(zero, torch.zeros_like(start), zero)
        self._done = torch.zeros_like(zero, dtype=torch.bool)

    def look(self, alphas: list[Tensor], betas: list[Tensor], basis: Tensor, tolerance: float) -> bool:
        """Solves the tridiagonal problems; whether all trials are done."""
        small = torch.diag_embed(torch.stack(alphas, 1).double())
        if len(alphas) > 1:
            small = small + torch.diag_embed(torch.stack(betas[:-1], 1).double(), -1)  # eigh reads the lower triangle
        finite = torch.isfinite(small).flatten(1).all(1)
        values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], small, torch.zeros_like(small)))
        value, s = torch.where(finite, values[:, -1], torch.nan).to(basis.dtype), vectors[..., -1].to(basis.dtype)
        residual = (betas[-1] * s[:, -1]).abs()
        vector = torch.bmm(s[:, None], basis)[:, 0]
        old, done = self.found, self._done
        self.found = Found(
            torch.where(done, old.value, value),
            torch.where(done[:, None], old.vector, vector),
            torch.where(done, old.residual, residual),
        )
        self._done = done | ~finite | (residual <= tolerance * value.abs())
        return bool(self._done.all())

    def warn(self, tolerance: float, iterations: int) -> None:
        left = int((~self._done).sum())
        worst = float((self.found.residual / self.found.value.abs())[~self._done].max())
        warnings.warn(
            f"sharpness: {left} of {len(self._done)} trials did not reach the tolerance {tolerance:g} in {iterations}"
            f" iterations (largest relative residual {worst:.1e})",
            RuntimeWarning,
            stacklevel=4,
        )
