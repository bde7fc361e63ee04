"""The suite as pytest sees it: parametrised tests, run unchanged in every cell. Select with ``-k NST-4``."""

import pytest

from matrix.harness.scenario import catalogue


@pytest.mark.asyncio
@pytest.mark.parametrize("scenario", [pytest.param(each, id=each.id) for each in catalogue().values()])
async def test_scenario(scenario, cell_run):
    await cell_run.judge(scenario)
