"""The suite as pytest sees it: parametrised tests, run unchanged in every cell. Select with ``-k NST-4``."""

import pytest

from tests.harness.scenario import catalogue


def parameters(*, generated):
    """Every scenario of the catalogue that is, or is not, a line of generated programs."""
    chosen = [pytest.param(each, id=each.id) for each in catalogue().values() if each.generated == generated]
    return pytest.mark.parametrize("scenario", chosen)


@pytest.mark.asyncio
@parameters(generated=False)
async def test_scenario(scenario, cell_run):
    await cell_run.judge(scenario)


@parameters(generated=True)
def test_generated(scenario, cell_run):
    cell_run.judge_generated(scenario)  # hypothesis is synchronous: this one owns its loop
