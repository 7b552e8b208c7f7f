"""A small vision transformer learns handwritten digits: by LFP, and by backprop from the same start.

pip install -e '.[experiments]'
python examples/vit_digits.py
"""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import VisionTransformer

import altprop
from altprop.experiment import load_data


def network():
    model = VisionTransformer(
        image_size=8, patch_size=2, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=10
    )
    # torchvision starts the last layer at zero: its outputs owe nothing to any neuron, and LFP would have no credit
    # to hand out.
    nn.init.xavier_uniform_(model.heads.head.weight)
    return model


def train(model, rule, data, epochs, lr):
    rule.attach(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, eps=1e-12)  # LFP's updates are smaller by |w|
    batches = [batch for _ in range(epochs) for batch in torch.randperm(len(data.train.x)).split(64)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=len(batches))
    for batch in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(data.train.x[batch].expand(-1, 3, -1, -1)), data.train.y[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(model, data):
    return (model(data.test.x.expand(-1, 3, -1, -1)).argmax(1) == data.test.y).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=6e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    data = load_data("digits")
    # Without a minimum_scale biases and the class token, which start at zero, would stay there under LFP.
    for rule in (altprop.LFP(minimum_scale=1e-3), altprop.Backprop()):
        torch.manual_seed(options.seed)
        model, start = network(), time.perf_counter()
        train(model, rule, data, options.epochs, options.lr)
        seconds = time.perf_counter() - start
        print(f"{rule!r}: test accuracy {accuracy(model.eval(), data):.3f} after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
