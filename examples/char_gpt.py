"""A small character GPT learns the texts of Python's help(): by LFP, and by backprop from the same start.

python examples/char_gpt.py
python examples/char_gpt.py --save gpt.pt  # keeps the model that LFP has trained, for token_relevance.py
"""

import argparse
import inspect
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import altprop

try:
    from pydoc_data.topics import topics
except ImportError:  # some distributions leave it out
    topics = None

CONTEXT = 64


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        qkv = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).flatten(-2))
        return x + self.mlp(self.norm2(x))


class CharGPT(nn.Module):
    def __init__(self, characters, width=64, layers=3, heads=4):
        super().__init__()
        self.token = nn.Embedding(characters, width)
        self.position = nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens):
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def read_text():
    if topics:
        text = "\n".join(topics[name] for name in sorted(topics))
    else:
        library = Path(inspect.__file__).parent
        text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(library.glob("[a-d]*.py")))
    characters = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(characters)}
    data = torch.tensor([number[character] for character in text])
    cut = len(data) * 9 // 10
    return characters, data[:cut], data[cut:]


def batch_of(data, size, generator):
    places = torch.randint(len(data) - CONTEXT, (size, 1), generator=generator) + torch.arange(CONTEXT + 1)
    return data[places[:, :-1]], data[places[:, 1:]]


def start(characters, seed=0):
    torch.manual_seed(seed)
    return CharGPT(len(characters))


def loss_of(model, x, y):
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


def train(model, rule, data, steps, lr, seed=0):
    rule.attach(model)
    # LFP's updates are smaller than gradients by |w|: AdamW must not take them for nothing.
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), eps=1e-12)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(seed)  # the same batches for every rule
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model, *batch_of(data, 32, generator)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def validate(model, data):
    return loss_of(model, *batch_of(data, 1024, torch.Generator().manual_seed(1))).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=6e-3, help="the learning rate of LFP")
    parser.add_argument("--backprop-lr", type=float, default=1e-2)
    parser.add_argument("--save", type=Path, help="where to keep the model that LFP has trained")
    options = parser.parse_args()

    characters, training, validation = read_text()
    untrained = validate(start(characters, options.seed), validation)
    print(f"untrained: validation loss {untrained:.3f} nats per character", flush=True)
    for rule, lr in ((altprop.LFP(minimum_scale=1e-3), options.lr), (altprop.Backprop(), options.backprop_lr)):
        model, began = start(characters, options.seed), time.perf_counter()
        train(model, rule, training, options.steps, lr, options.seed)
        seconds = time.perf_counter() - began
        print(f"{rule!r}: validation loss {validate(model, validation):.3f} after {seconds:.0f} s", flush=True)
        if options.save and isinstance(rule, altprop.LFP):
            torch.save({"characters": characters, "model": model.state_dict()}, options.save)


if __name__ == "__main__":
    main()
