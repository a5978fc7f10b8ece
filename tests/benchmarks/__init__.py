"""How long reconcile takes beside its peers: ``python -m tests.benchmarks``. No tests."""
