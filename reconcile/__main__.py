"""The program: ``reconcile``, and ``python -m reconcile``."""

import gc
import signal
import sys
from typing import NoReturn


def script() -> NoReturn:
    """Run the command line. Leaves at once: taking a million objects down one by one helps nobody."""
    # Until ours is set nothing is begun, and a traceback would help nobody. What is ignored (nohup) stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(200_000, 20, 50)  # imports, too, make objects by the thousand, and hardly a cycle
    # Seconds. Our thread and SSH's hand over when they wait, not by turns: large files take a tenth less CPU
    # than with Python's own 0.005.
    sys.setswitchinterval(0.05)
    from reconcile.cli import main
    from reconcile.leaving import leave

    code = main()
    sys.stderr.flush()
    leave(code)


if __name__ == "__main__":
    script()
