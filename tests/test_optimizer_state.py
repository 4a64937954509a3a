"""The state that torch's optimizers bring along: taken in the factors' dtype, refused where it is another model's."""

from __future__ import annotations

import pytest
import torch

import irkernels as irk

OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
}
DTYPES = (torch.float16, torch.float32, torch.float64)


def chain(rows, dtype=torch.float32, **options):
    return irk.nn.MatrixChain(rows, 50, 2, init_scale=0.5, seed=1, dtype=dtype, **options)


def fit(model, optimizer, steps):
    data = irk.Observed([[0, 1], [2, 3]], torch.tensor([1.0, 2.0]).to(model.factors[0].dtype), model.shape)
    return irk.fit(model, data, optimizer, steps=steps, record="loss", progress=False)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("before", DTYPES)
@pytest.mark.parametrize("after", (torch.float32, torch.float64))
@pytest.mark.filterwarnings("ignore:irk.fit takes its steps in an ordinary")
def test_a_model_that_changes_its_dtype_keeps_its_state(kind, before, after):
    model, expected = chain(40, before), chain(40, torch.float64)
    optimizer, other = (OPTIMIZERS[kind](m.parameters()) for m in (model, expected))
    fit(model, optimizer, 5)
    fit(expected, other, 5)
    model.to(after)
    found = fit(model, optimizer, 40).metrics["loss"][-1]
    # what five steps in the first dtype round, grown over forty; nothing where both are float64
    close = {torch.float16: 2e-2, torch.float32: 1e-4, torch.float64: 1e-12 if after == before else 1e-4}[before]
    torch.testing.assert_close(found.double(), fit(expected, other, 40).metrics["loss"][-1], rtol=close, atol=0)
    kept = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert kept and {value.dtype for value in kept} == {after}


def test_the_state_of_another_model_is_refused():
    small, large = chain(4), chain(60)
    first, second = (OPTIMIZERS["adam"](model.parameters()) for model in (small, large))
    fit(small, first, 2)
    second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match=r"exp_avg of trained factor 0 has shape \[4, 4\], the factor has \[60, 50\]"):
        fit(large, second, 2)
    many = chain(4, trials=3)
    three = irk.optim.GroupRMSprop(many.parameters())
    fit(many, three, 2)
    one = irk.optim.GroupRMSprop(small.parameters())
    one.load_state_dict({**three.state_dict(), "param_groups": one.state_dict()["param_groups"]})
    with pytest.raises(ValueError, match=r"v of parameter group 0 has shape \[3\], but there are 1 trials"):
        fit(small, one, 2)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_fit_that_made_no_update_leaves_the_optimizer_and_the_checkpoint_as_they_were(kind, tmp_path):
    """Whether it was refused at its first step or asked for none, with an lr for each trial."""
    model, file = irk.nn.MatrixChain(2, 2, depth=2, trials=2, seed=0), tmp_path / "run.pt"
    data = irk.Observed([[0, 0], [0, 1], [1, 1]], torch.ones(3), (2, 2))
    optimizer = OPTIMIZERS[kind](model.parameters())
    rates = {"lr": torch.tensor([0.01, 0.02]), "batch_size": 1, "progress": False}
    file.write_bytes(b"of another run")
    with pytest.raises(ValueError, match="lanes take no mini-batches"):
        irk.fit(model, data, optimizer, steps=3, tier="lanes", checkpoint=file, **rates)
    assert file.read_bytes() == b"of another run"
    irk.fit(model, data, optimizer, steps=0, **rates)
    model(), optimizer.step()
    assert irk.fit(model, data, optimizer, steps=3, **rates).optimizer_state is not None
    with pytest.raises(ValueError, match="has not got the state of the last fit"):
        optimizer.step()
