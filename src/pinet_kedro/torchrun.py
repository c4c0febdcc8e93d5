"""`torchrun … -m pinet_kedro.torchrun run …`: a command whose backbones are trained by all processes of torchrun.

The first process is the command, `python -m pinet_kedro run …`; no other reads parameters or writes anything. They wait
for its trainings and take part in them, on one host or several. Kedro itself under torchrun would run every node in
every process.
"""

import atexit
import os
import sys
from datetime import timedelta

import torch

from pinet_kedro.__main__ import main as run_command
from pinet_kedro.errors import EndedError, InputError
from pinet_kedro.pipelines.backbone_training.hosts import assist, dismiss
from pinet_kedro.training.peers import joined

# The command does other work between trainings. torchrun ends all processes with the first that fails.
_LONGEST_WAIT = timedelta(days=7)


def main() -> None:
    """Runs the command, or its trainings' share of this process.

    The process ends here: a thread of torch may still run when Python takes itself down, and then aborts the process,
    about one time in six, with which torchrun would end all others.
    """
    try:
        _run()
        code: int | str | None = 0
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        print(code, file=sys.stderr)  # noqa: T201  as sys.exit does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _run() -> None:
    if "RANK" not in os.environ:
        sys.exit(
            "pinet_kedro.torchrun is started by torchrun, for example: torchrun --standalone --nproc-per-node=2 "
            "-m pinet_kedro.torchrun run --pipeline=backbone_training"
        )
    try:
        with joined("cuda" if torch.cuda.is_available() else "cpu", timeout=_LONGEST_WAIT) as peers:
            if peers.rank:
                assist(peers)
                return
            try:
                run_command()
            finally:
                dismiss(peers)
    except (EndedError, InputError, OSError) as error:
        sys.exit(f"Error: process {os.environ['RANK']} of torchrun: {error}")


if __name__ == "__main__":
    main()
