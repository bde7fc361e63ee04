"""Makes the cells' environments from matrix/axes/drivers.toml, so that a driver is listed in one place (tox plugin)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tox.config.loader.memory import MemoryLoader
from tox.plugin import impl
from tox.report import HandledError

if sys.version_info < (3, 11):
    raise HandledError(
        f"Python {sys.version.split()[0]} is too old to run the matrix: start tox with Python 3.11 or newer "
        "(cells run on 3.10 and newer)"
    )
import tomllib

AXES = Path(__file__).parent / "matrix" / "axes" / "drivers.toml"


def cells() -> dict[str, list[str]]:
    """Each cell's name and what its environment installs."""
    axes = tomllib.loads(AXES.read_text(encoding="utf-8"))
    return {
        f"{server}-{name}": axes["suite"]["install"] + driver["install"] + driver["witness"]
        for name, driver in axes["drivers"].items()
        for server in driver["servers"]
    }


@impl
def tox_extend_envs() -> list[str]:
    return list(cells())


@impl
def tox_add_env_config(env_conf: Any, state: Any) -> None:
    known = cells()
    if env_conf.name not in known:
        return
    env_conf.loaders.insert(
        0,
        MemoryLoader(
            description=f"one cell: {env_conf.name}",
            deps=known[env_conf.name],
            commands=[f"python -m tests {env_conf.name} {' '.join(state.conf.pos_args(None) or ())}".strip()],
        ),
    )
    asked = state.conf.options.env
    names = state.conf.core["env_list"] if asked.is_default_list else asked
    running = [name for name in names if name in known]
    if env_conf.name in running and len(running) > 1:
        position = f"{running.index(env_conf.name) + 1} of {len(running)}"
        env_conf["set_env"].update({"MATRIX_POSITION": position})
