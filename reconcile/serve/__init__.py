"""The small server that ships with reconcile, for trying things on and for tests. Not for production."""
