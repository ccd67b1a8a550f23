"""Readable failures of the shared suite."""

import pytest

pytest.register_assert_rewrite("orchestrator.testing.conformance")
