"""``python -m reconcile``, and the command ``reconcile``."""

import signal

# Until ours is set nothing is begun, and a traceback would help nobody. What is ignored (nohup) stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from reconcile.cli import script

if __name__ == "__main__":
    script()
