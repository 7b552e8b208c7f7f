"""The rules in JAX do without torch and without what experiments need."""

import subprocess
import sys


def test_the_rules_and_their_networks_import_neither_torch_nor_the_experiments():
    parts = ("direct", "feedback", "initializers", "lfp", "linen", "metrics", "networks", "nnx", "program", "tracking")
    program = (
        f"import sys; import altprop.flax; from altprop.flax import {', '.join(parts)}; "
        "print([name for name in ('torch', 'pydantic', 'altprop.experiment') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "[]\n", done.stderr
