"""Train a model under rules in one process, or under DistributedDataParallel in several, on the same data."""

import os
from datetime import timedelta

import torch
from torch import multiprocessing
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from altprop import targets

STEPS = 3


def _batches():
    generator = torch.Generator().manual_seed(2)
    return [(torch.randn(4, 1, 8, 8, generator=generator), torch.arange(4) % 3) for _ in range(STEPS)]


def _train(model, batches):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for x, y in batches:
        optimizer.zero_grad()
        with targets(y):
            F.cross_entropy(model(x), y).backward()
        optimizer.step()


def train_alone(rule, network):
    """The weights after a few steps in one process on whole batches."""
    model = network().eval()  # batch statistics would differ between half a batch and a whole one
    rule.attach(model)
    _train(model, _batches())
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def train_in_processes(rules, network, folder, processes):
    """The weights after the same steps in several processes, each on its part of every batch: by rule."""
    multiprocessing.spawn(_worker, (rules, network, folder, processes), nprocs=processes)
    return torch.load(folder / "weights.pt")


def _worker(rank, rules, network, folder, processes):
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.FileStore(str(folder / "store"), processes)
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=processes, timeout=timedelta(seconds=60)
    )
    trained = {}
    for name, rule in rules.items():
        model = network().eval()
        rule.attach(model)
        wrapped = DistributedDataParallel(model, find_unused_parameters=True)
        _train(wrapped, [(x.chunk(processes)[rank], y.chunk(processes)[rank]) for x, y in _batches()])
        trained[name] = {key: p.detach() for key, p in model.named_parameters()}
    if rank == 0:
        torch.save(trained, folder / "weights.pt")
    # One process must not go while the other still talks to it; and gloo's threads do not always outlive the
    # teardown of the interpreter, which ends some runs with an abort once all is done.
    torch.distributed.barrier()
    os._exit(0)
