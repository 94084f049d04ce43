"""The state machine of tests/store/machine.py, and the four mutations that it must find."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.store.machine import QueueMachine
from tests.store.mutations import MUTATIONS, examples_until_found

settings.register_profile(
    "ci", max_examples=300, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.register_profile("nightly", settings.get_profile("ci"), max_examples=20_000, derandomize=False)

TestTheStoreUnderAnyOrderOfFaults = QueueMachine.TestCase
TestTheStoreUnderAnyOrderOfFaults.settings = settings.get_profile(os.environ.get("GIGQ_NB_HYPOTHESIS", "ci"))


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_machine_finds_a_store_without(name: str) -> None:
    assert examples_until_found(name, 300) is not None
