"""Weights from files: those that fit are loaded, and of others the reader learns what does not."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from altprop.experiment import InputError
from altprop.experiment.networks.weights import load_weights

STATE = {"0.weight": torch.arange(6.0).reshape(2, 3), "0.bias": torch.ones(2)}


def net():
    return nn.Sequential(nn.Linear(3, 2))


@pytest.mark.parametrize(
    "written",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {f"module.{key}": value for key, value in STATE.items()},
    ],
    ids=["plain", "state_dict", "model", "module."],
)
def test_weights_that_fit_are_loaded(written, tmp_path):
    torch.save(written, tmp_path / "w.pt")
    network = net()
    load_weights(network, tmp_path / "w.pt", "it")
    assert all(torch.equal(value, STATE[key]) for key, value in network.state_dict().items())


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    network = net()
    load_weights(network, tmp_path / "w.safetensors", "it")
    assert torch.equal(network[0].weight, STATE["0.weight"])


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"0.weight": torch.zeros(2, 4), "0.bias": torch.ones(2)}, "0.weight has the shape (2, 4) instead of (2, 3)."),
        ({"0.weight": torch.zeros(2, 3)}, "0.bias is missing."),
        (STATE | {"1.weight": torch.zeros(1)}, "1.weight is not known to it."),
        (
            {f"{n}.w": torch.zeros(1) for n in range(9)},
            "0.weight is missing; 0.bias is missing; 0.w is not known to it, and 8 more.",
        ),
    ],
)
def test_what_does_not_fit_is_named(written, message, tmp_path):
    torch.save(written, tmp_path / "w.pt")
    network = net()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_weights(network, tmp_path / "w.pt", "the toy")
    assert str(error.value) == f"The weights in {tmp_path / 'w.pt'} do not fit the toy: {message}"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items()), "nothing was loaded"


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x04N."])
def test_a_file_that_holds_none_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        load_weights(net(), tmp_path / name, "it")


@pytest.mark.parametrize(
    ("written", "message"),
    [(torch.zeros(3), "but a Tensor"), ({"a": torch.zeros(1), "b": 3}, "but a mapping whose 'b' is a int")],
)
def test_what_is_no_state_dict_is_described(written, message, tmp_path):
    torch.save(written, tmp_path / "w.pt")
    with pytest.raises(InputError, match=message):
        load_weights(net(), tmp_path / "w.pt", "it")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no file of weights .*none\.pt"):
        load_weights(net(), tmp_path / "none.pt", "it")
