"""The table of docs/operations.md: of each operator in torch's database its class, its law, and who has a rule for it.

python -m tests.ops.operation_table     writes the page anew
"""

from pathlib import Path

from tests.ops import laws, operators

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"

LAWS = {
    "layer": "z = W x + b: the composite's rule; LFP-ε. A product where the weight depends on the input too",
    "normalisation": "the statistics constant; LFP: a mixture. A product where the scale depends on the input too",
    "mixture": "in proportion to contributions: R_i = x_i · ∂z/∂x_i · R / z, which sums to R",
    "homogeneous": "as a mixture, over the sum Σ x_i · ∂z/∂x_i, which is a multiple of z",
    "reduction": "a sum or mean as a mixture, a product as homogeneous, a maximum or minimum as a contest",
    "product": "equal parts to the factors that depend on the input",
    "sum with a product": "the sum in proportion, the product in equal parts",
    "quotient": "LRP: all to the dividend; LFP: half to each, the divisor's with the other sign",
    "move": "each value takes its relevance along",
    "contest": "the winner takes all",
    "activation": "passes unchanged",
    "dropout": "what is kept passes unchanged",
    "softmax": "LRP: R_x = x (R − a Σ R); LFP: the ordinary gradient",
    "soft maximum": "LRP: each input has its part in the maximum; LFP: the ordinary gradient",
    "attention": "half to the values, a quarter to queries and keys each, through the softmax",
    "distance": "as the sums, products and quotients that it is made of",
    "objective": "LFP: the ordinary gradient",
    "several": "each part by its own",
}

HEAD = """# Operations

What relevance (LRP) and credit (LFP) do at each operation of torch. An operation belongs to a class because it obeys
the law of the class; this page is made by the test that checks that, over torch's own database of operators: the value
is the plain one, the in-place form and operands by keyword give the same, and what arrives is what the law says.

An operation that is marked – has no rule: LRP hands back the gradient times the input, LFP the ordinary gradient. A
warning names it once, `altprop.inspect` lists it, and `strict=True` makes it an error.

## Laws

| class | what is handed back |
|---|---|
"""


def table() -> str:
    """The page."""
    lines = [f"| {name} | {law} |" for name, law in LAWS.items()]
    lines += ["", "## Operators", "", "| operator | class | LRP | LFP |", "|---|---|---|---|"]
    lines += [_row(name) for name in sorted(operators.ENTRIES)]
    return HEAD + "\n".join(lines) + "\n"


def _row(name):
    found = operators.samples(name)
    functions = operators.called(found[0]) if found else []
    known = [all(not rule(sample).unknown for sample in found) for rule in (operators.by_lrp, operators.by_lfp)]
    marks = ["rule" if one else "–" for one in known] if found else ["not tried"] * 2
    return f"| `{name}` | {laws.class_of(functions) or '–' if found else '–'} | {marks[0]} | {marks[1]} |"


if __name__ == "__main__":
    PAGE.write_text(table())
