"""Trainings in several processes: what each of them runs."""

import os
import socket
import warnings

import torch
from torch import multiprocessing

from altprop.experiment.training.fit import fit


def train_in_processes(recipes, splits, folder, processes=2):
    """How each recipe fares, trained in several processes as torchrun starts them.

    Each recipe comes with the name of a folder, in which it goes on with what is there, or None. Of each there are the
    status, the message, the weights and the history.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = (recipes, splits, folder, processes, port)
    multiprocessing.start_processes(_worker, args, nprocs=processes, start_method="forkserver")
    return torch.load(folder / "trained.pt")


def _worker(rank, recipes, splits, folder, processes, port):
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", message=".*has no rule for")  # such as for what wrappers call
    torch.set_num_threads(1)
    os.environ |= {
        "GLOO_SOCKET_IFNAME": "lo",
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    trained = {}
    for name, (recipe, own) in recipes.items():
        place = {"folder": folder / own, "resume": True} if own else {}
        one = fit(recipe, seed=0, splits=splits, **place)
        weights = {key: p.detach().clone() for key, p in one.model.named_parameters()}
        trained[name] = (one.status, one.message, weights, [figures.model_dump() for figures in one.history])
    if rank == 0:
        torch.save(trained, folder / "trained.pt")
    torch.distributed.barrier()
    os._exit(0)  # as in tests/distributed.py
