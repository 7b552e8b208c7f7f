"""A network with something of everything, and the state that must not change."""

import torch
from torch import nn


def images(batch=2):
    torch.manual_seed(3)
    return torch.rand(batch, 3, 6, 6)


def network():
    """Convolutions, batch norms, dropout, a pool and a head."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(True)]
    layers += [nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 5))
    used(model[1])
    used(model[4])
    return model


def used(norm):
    for tensor, low, high in (
        (norm.running_mean, -0.5, 0.5),
        (norm.running_var, 0.5, 2.0),
        (norm.weight.data, -1.5, 1.5),
        (norm.bias.data, -0.5, 0.5),
    ):
        tensor.uniform_(low, high)


def state_of(model):
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {name: tensor.detach().clone() for name, tensor in tensors.items()},
        "versions": {name: tensor._version for name, tensor in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "gradients": {name: tensor.grad for name, tensor in model.named_parameters()},
        "keys": list(model.state_dict()),
        "training": [module.training for module in model.modules()],
        "classes": [type(module) for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [
            (dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(m._backward_hooks)) for m in model.modules()
        ],
    }


def _hooks(module):
    return module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks


def assert_same_state(model, before):
    after = state_of(model)
    values, old_values = after.pop("values"), before.pop("values")
    assert after == before
    assert all(values[name].equal(value) for name, value in old_values.items())
