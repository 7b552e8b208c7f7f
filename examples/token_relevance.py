"""Which characters led a small GPT to the next one: it is taught by LFP, explained by AttnLRP, and shown as HTML.

pip install 'altprop[transformers,explain]'
python examples/token_relevance.py
"""

import argparse
from pathlib import Path

import torch
from char_gpt import CONTEXT, characters, train, validation

import altprop
from altprop.explain.heatmap import tokens_html

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=1200)
parser.add_argument("--output", type=Path, default=Path("token_relevance.html"))
args = parser.parse_args()

model = train(altprop.LFP(minimum_scale=1e-3), 1e-2, args.steps)
altprop.Attachment.of(model).remove()

ids = torch.stack([validation[start : start + CONTEXT - 4] for start in (0, 1000, 2000)])
with torch.no_grad():
    predicted = model(input_ids=ids).logits[:, -1].argmax(-1)
target = [(ids.shape[1] - 1, int(character)) for character in predicted]
relevance = altprop.LRP(model, "attn_lrp").attribute({"input_ids": ids}, target=target)["input_ids"]

marks = {" ": "Ġ", "\n": "Ċ"}  # a space and a line break as GPT-2's tokenizers write them
tokens = [[marks.get(characters[token], characters[token]) for token in row] for row in ids]
titles = [f"What speaks for {characters[character]!r} as the next character" for character in predicted]
args.output.write_text(f"<!DOCTYPE html>\n<title>Relevance</title>\n{tokens_html(tokens, relevance, titles=titles)}\n")
print(f"Explained {len(tokens)} texts of {ids.shape[1]} characters: {args.output}")
