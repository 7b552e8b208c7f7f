"""A script for Slurm that starts workers; it is written, never submitted."""

from __future__ import annotations

import shlex
from pathlib import Path

_SCRIPT = """\
#!/usr/bin/env bash
# Workers for the sweep {name}. Each takes trials until there are none left; more can be started at any time.
# Submit: sbatch {file}
# A password of the database belongs in ~/.pgpass, not here.
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={threads}
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --output={name}-%A-%a.log
set -euo pipefail
cd {here}
export OMP_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-{threads}}}"
# By exec the signal reaches the worker itself, which then gives its trial back.
exec {python} -c "from altprop.cli import main; main()" worker {target}
"""


def slurm_script(*, name: str, target: str, file: Path, here: Path, python: str, workers: int, threads: int) -> str:
    """The script of a job array.

    Args:
        name: of the sweep.
        target: what ``altprop worker`` is given.
        file: what the script will be called.
        here: the working directory of the workers: relative paths of the data hold from there.
        python: the interpreter.
        workers: how many.
        threads: CPU cores for each.
    """
    return _SCRIPT.format(
        name=name,
        file=shlex.quote(str(file)),
        last=workers - 1,
        threads=threads,
        here=shlex.quote(str(here)),
        python=shlex.quote(python),
        target=shlex.quote(target),
    )
