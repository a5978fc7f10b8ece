"""``python -m reconcile``."""

from reconcile.cli import script

if __name__ == "__main__":
    script()
