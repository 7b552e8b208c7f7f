"""A vision transformer learns handwritten digits: by LFP, by backprop, and with all but its last layer left alone.

pip install 'altprop[transformers]' scikit-learn
python examples/vit_digits.py
"""

import argparse
import warnings

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from transformers import ViTConfig, ViTForImageClassification

import altprop

warnings.filterwarnings("ignore", "LFP scales each update")  # shifts and the class token's kin that start at zero


def network():
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, num_labels=10, hidden_size=48, num_hidden_layers=3,
        num_attention_heads=4, intermediate_size=96,
    )  # fmt: skip
    return ViTForImageClassification(config)


def train(rule, lr, data, epochs):
    model = network()
    x, y, x_test, y_test = data
    rule.attach(model)
    steps = epochs * -(-len(x) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]).logits, y[batch]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            accuracy = (model(x_test).logits.argmax(1) == y_test).float().mean()
        print(f"{rule!r:10} epoch {epoch:2}: accuracy {accuracy:.3f}", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=20)
epochs = parser.parse_args().epochs

pixels, digits = load_digits(return_X_y=True)
x, y = torch.tensor(pixels / 8 - 1, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(digits)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
x, y = x[order], y[order]
data = x[:1437], y[:1437], x[1437:], y[1437:]

train(altprop.LFP(), 1e-2, data, epochs)
train(altprop.Backprop(), 3e-3, data, epochs)
train(altprop.Shallow(), 1e-2, data, epochs)
