import pytest

# What these demand is shown as in any test.
pytest.register_assert_rewrite("tests.remotes.conformance", "tests.remotes.stores", "tests.remotes.trees")
