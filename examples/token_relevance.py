"""Which characters made a small GPT predict the next one: the relevance of each, as a web page.

pip install -e '.[explain]'
python examples/char_gpt.py --save gpt.pt
python examples/token_relevance.py --model gpt.pt

Without --model it trains one first, for a minute.
"""

import argparse
from pathlib import Path

import torch
from char_gpt import CONTEXT, CharGPT, read_text, start, train

import altprop
from altprop.explain.heatmap import tokens_html

MARKS = {" ": "Ġ", "\n": "Ċ"}  # how GPT-2's tokenizer writes them, and tokens_html reads them


def load(file):
    saved = torch.load(file)
    model = CharGPT(len(saved["characters"]))
    model.load_state_dict(saved["model"])
    return model, saved["characters"]


def relevance_of(model, characters, text):
    """Of each character of the text for the one that the model expects next, and that one."""
    tokens = torch.tensor([[characters.index(c) for c in text[-CONTEXT:]]])
    with torch.no_grad():
        expected = model(tokens)[0, -1].argmax().item()
    last = tokens.shape[1] - 1
    return altprop.LRP(model, "attn_lrp").attribute(tokens, target=(last, expected))[0], characters[expected]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="what char_gpt.py --save has written")
    parser.add_argument("--steps", type=int, default=600, help="of training, if there is no model")
    parser.add_argument("--output", type=Path, default=Path("relevance.html"))
    parser.add_argument("text", nargs="*", default=["The import statem", "a list of the va", "If the class defin"])
    options = parser.parse_args()

    if options.model:
        model, characters = load(options.model)
    else:
        characters, training, _ = read_text()
        model = start(characters)
        train(model, altprop.LFP(minimum_scale=1e-3), training, options.steps, lr=6e-3)
    model.eval()

    texts, relevances, titles = [], [], []
    for text in options.text:
        relevance, expected = relevance_of(model, characters, text)
        texts.append([MARKS.get(c, c) for c in text[-CONTEXT:]])
        relevances.append(relevance)
        titles.append(f"expects {expected!r}")
        print(f"{text!r} expects {expected!r}; most relevant: {text[-CONTEXT:][relevance.argmax()]!r}")
    options.output.write_text(tokens_html(texts, relevances, titles=titles))
    print(f"Open {options.output} in a browser.")


if __name__ == "__main__":
    main()
