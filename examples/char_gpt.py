"""A GPT that reads characters learns Python's own documentation: by LFP, and by backprop, for the same number of steps.

pip install 'altprop[transformers]'
python examples/char_gpt.py
"""

import argparse
import warnings
from pydoc_data.topics import topics

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import altprop

warnings.filterwarnings("ignore", "LFP scales each update")
CONTEXT = 64

text = "\n\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore").decode()
characters = sorted(set(text))
data = torch.tensor([characters.index(character) for character in text])
training, validation = data[: 9 * len(data) // 10], data[9 * len(data) // 10 :]


def network():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(characters), n_positions=CONTEXT, n_embd=64, n_layer=2, n_head=4, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def batch(tokens, size, generator):
    starts = torch.randint(len(tokens) - CONTEXT, (size,), generator=generator)
    return torch.stack([tokens[start : start + CONTEXT] for start in starts])


@torch.no_grad()
def loss_on(tokens, model):
    generator = torch.Generator().manual_seed(2)
    losses = [model(input_ids=x, labels=x).loss for x in (batch(tokens, 32, generator) for _ in range(8))]
    return float(torch.stack(losses).mean())


def train(rule, lr, steps):
    model, generator = network(), torch.Generator().manual_seed(1)
    rule.attach(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for step in range(1, steps + 1):
        x = batch(training, 16, generator)
        optimizer.zero_grad()
        model(input_ids=x, labels=x).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps:
            print(f"{rule!r:24} step {step:4}: validation loss {loss_on(validation, model):.3f}", flush=True)
    return model


def written_by(model, prompt="The ", length=160):
    tokens = torch.tensor([[characters.index(character) for character in prompt]])
    torch.manual_seed(0)
    for _ in range(length):
        with torch.no_grad():
            logits = model(input_ids=tokens[:, -CONTEXT:]).logits[:, -1]
        tokens = torch.cat([tokens, torch.multinomial((logits / 0.7).softmax(-1), 1)], 1)
    return "".join(characters[token] for token in tokens[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1200)
    steps = parser.parse_args().steps

    taught = train(altprop.LFP(minimum_scale=1e-3), 1e-2, steps)
    train(altprop.Backprop(), 3e-3, steps)
    print(f"\nWritten by the model that LFP has taught:\n{written_by(taught)}")
