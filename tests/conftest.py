"""Fixtures for every test: real PostgreSQL and Valkey of their own, the service's stores on them, and players."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest_plugins = [
    "tests.fixtures.log_lines",
    "tests.fixtures.servers",
    "tests.fixtures.service",
    "tests.fixtures.people",
    "tests.fixtures.api",
    "tests.fixtures.served",
    "tests.fixtures.waiting",
    "tests.fixtures.own_postgres",
    "tests.fixtures.archived_service",
    "tests.fixtures.live_stack",
    "tests.fixtures.own_rabbitmq",
    "tests.fixtures.pair",
    "tests.fixtures.own_redis",
    "tests.fixtures.canaries",
    "tests.fixtures.attacks",
]

# Real stores answer when they answer; on a busy machine a deadline a example would only say that it is busy.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", parent=settings.get_profile("here"), max_examples=1_000, phases=list(Phase))
settings.register_profile(
    "first-failure", parent=settings.get_profile("here"), phases=[Phase.explicit, Phase.generate], database=None
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "here"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """In CI everything that a test needs is there, so a test that is skipped has failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and in CI that is a failure: {reason}"
    return report
