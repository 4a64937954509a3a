"""irkernels: end-to-end products of factors, all their gradients, sampled entries and native training."""

from irkernels import reference
from irkernels.functional import completion_loss, einsum, entries, gradients, multi_dot
from irkernels.observed import Observed
