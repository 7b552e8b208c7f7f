"""How well spiking networks learn by LFP, by surrogate gradients, and with the last layer alone; and how long it takes.

A LIF MLP (β 0.9, 15 steps, input as a current) learns handwritten digits from the rate-coded reward by Adam, lr
1e-3, batches of 64. All neurons are hard steps for LFP. `surrogate` is backprop with snntorch's surrogate gradient
everywhere, `control` the same with the last layer alone. `hard` is backprop with hard steps in the hidden layers and a
surrogate in the last, so that this one can learn; `hard-control` the same with the last layer alone. `lfprop` is the
published package, version 1.0.0, on the same network, data, reward and optimizer (in the parity environment). The
time is that of the quickest epoch: whatever else the machine does can only add to it.

    python benchmarks/spiking.py
    python benchmarks/spiking.py --data mnist-5k --layers 3 --seeds 0
    python benchmarks/spiking.py --write digits.pt       # the parity environment has no data sets
    .venv-parity/bin/python benchmarks/spiking.py --data digits.pt --methods lfp lfprop
"""

# ruff: noqa: PLC0415  (lfprop and the data sets are each installed in another environment)

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from snntorch import Leaky
from torch import Tensor, nn

import altprop
from altprop.nn.activations import step

STEPS, BETA = 15, 0.9
METHODS = {
    # name: the rule, whether hidden neurons are hard steps, whether the last ones are
    "lfp": (altprop.LFP, True, True),
    "surrogate": (altprop.Backprop, False, False),
    "control": (altprop.Shallow, False, False),
    "hard": (altprop.Backprop, True, False),
    "hard-control": (altprop.Shallow, True, False),
    "fa": (altprop.FeedbackAlignment, False, False),
    "dfa": (altprop.DFA, False, False),
    "drtp": (altprop.DRTP, False, False),
}


def neuron(hard: bool, **options: bool) -> Leaky:
    return Leaky(BETA, spike_grad=step if hard else None, init_hidden=True, **options)


def sizes(width: int, layers: int, inputs: int) -> list[tuple[int, int]]:
    return list(pairwise([inputs, *[width] * (layers - 1), 10]))


def ours(method: str, width: int, layers: int, inputs: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The network with its rule attached."""
    rule, hidden, last = METHODS[method]
    parts: list[nn.Module] = [nn.Flatten()]
    for number, size in enumerate(sizes(width, layers, inputs), 1):
        parts += [nn.Linear(*size), neuron(last if number == layers else hidden)]
    model = altprop.nn.SpikingSequential(*parts, steps=STEPS)
    rule().attach(model)
    return model, model


def theirs(width: int, layers: int, inputs: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The same network for lfprop, as its notebook on spiking networks trains it."""
    from lfprop.model.activations import Step
    from lfprop.model.spiking_networks import SpikingLayer
    from lfprop.propagation.propagator_snn import LFPSNNEpsilonComposite

    parts = [
        SpikingLayer(nn.Linear(*size), Leaky(BETA, spike_grad=Step(), init_hidden=True))
        for size in sizes(width, layers, inputs)
    ]
    model = nn.Sequential(*parts)
    composite = LFPSNNEpsilonComposite(epsilon=1e-6)

    def forward(x: Tensor) -> Tensor:
        for part in parts:
            part.spike_mechanism.mem = torch.zeros(0)
        x = x.flatten(1)
        if not torch.is_grad_enabled():
            return torch.stack([model(x) for _ in range(STEPS)])
        with composite.context(model) as modified:
            x = x.requires_grad_()
            return torch.stack([modified(x) for _ in range(STEPS)])

    return model, forward


def train(method: str, args: argparse.Namespace, data: tuple[Tensor, ...], seed: int) -> tuple[float, float]:
    """Accuracy on the test data, and the seconds that its quickest epoch of training took."""
    x_train, y_train, x_test, y_test = data
    torch.manual_seed(seed)
    make = theirs if method == "lfprop" else lambda *shape: ours(method, *shape)
    model, forward = make(args.width, args.layers, x_train[0].numel())
    reward = altprop.rewards.SPIKE_REWARDS[args.reward](reduction="sum" if method == "lfprop" else "mean")
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    seconds = []
    for _ in range(args.epochs):
        start = time.perf_counter()
        for batch in torch.randperm(len(x_train)).split(64):
            optimizer.zero_grad()
            with altprop.targets(y_train[batch]):
                spikes = forward(x_train[batch])
            if method == "lfprop":
                _backward_of_lfprop(model, spikes, reward.reward(spikes.detach(), y_train[batch]))
            else:
                reward(spikes, y_train[batch]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    with torch.no_grad():
        right = reward.scores(forward(x_test)).argmax(1) == y_test
    return float(right.float().mean()), min(seconds)


def _backward_of_lfprop(model: nn.Module, spikes: Tensor, reward: Tensor) -> None:
    """What its user writes: run the rewards back, and copy the feedback into the gradients."""
    spikes.backward(reward)
    for parameter in model.parameters():
        parameter.grad = -parameter.feedback


def load(name: str) -> tuple[Tensor, ...]:
    """A data set of altprop.experiment, or a file that --write has made."""
    if name.endswith(".pt"):
        return tuple(torch.load(name))
    from altprop.experiment import load_data

    data = load_data(name)
    return data.x_train, data.y_train, data.x_test, data.y_test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["lfp", "surrogate", "control", "hard", "hard-control"]
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, "lfprop"], default=default)
    parser.add_argument("--data", default="digits", help="digits, mnist-5k, or a file that --write has made")
    parser.add_argument("--write", help="write the data to this file, and train nothing")
    parser.add_argument("--reward", choices=altprop.rewards.SPIKE_REWARDS, default="spike-rate")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load(args.data)
    if args.write:
        torch.save(data, args.write)
        return
    print(f"{args.data}, {args.layers} layers of width {args.width}, {args.epochs} epochs, {args.threads} threads")
    found: dict[str, list[tuple[float, float]]] = {method: [] for method in args.methods}
    for seed in args.seeds:
        for method in args.methods:  # in turns, so that whatever else the machine does slows all alike
            found[method].append(train(method, args, data, seed))
    for method, runs in found.items():
        accuracies, seconds = zip(*runs, strict=True)
        each = ", ".join(f"{accuracy:.4f}" for accuracy in accuracies)
        print(f"{method:14} {statistics.mean(accuracies):.4f}  ({each})  {min(seconds):.3f} s an epoch", flush=True)


if __name__ == "__main__":
    main()
