"""Makes the cells' environments from matrix/axes, so that a driver is listed in one place (tox plugin)."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from tox.config.loader.memory import MemoryLoader
from tox.config.types import EnvList
from tox.plugin import impl
from tox.report import HandledError

if sys.version_info < (3, 11):
    raise HandledError(
        f"Python {sys.version.split()[0]} is too old to run the matrix: start tox with Python 3.11 or newer "
        "(cells run on 3.10 and newer)"
    )

sys.path.insert(0, str(Path(__file__).parent))
from matrix.harness.drivers import TableError, bases, drivers
from matrix.runs import cells, environments
from matrix.words import SERVERS


@impl
def tox_extend_envs() -> list[str]:
    """The cells of the newest releases, and those with factors that are asked for. tox calls it before it has read its
    command line; so each word of it that is a cell's name counts."""
    arguments = list(itertools.takewhile(lambda word: word != "--", sys.argv[1:]))
    words = ",".join([*arguments, os.environ.get("TOXENV", "")]).split(",")
    asked = filter(is_cell, (word.removeprefix("-e").strip() for word in words))
    return list(dict.fromkeys([*base_cells(), *asked]))


@impl
def tox_add_core_config(core_conf: Any, state: Any) -> None:
    """A bare ``tox`` asks the cells of the newest releases what is on record, reports, and goes on to all orders. With
    words for the cells behind ``--`` each runs as they say, and there is nothing to go on to."""
    rest = [] if state.conf.pos_args(None) else ["orders"]
    core_conf.loaders.insert(0, MemoryLoader(env_list=EnvList([*base_cells(), "report", *rest])))


def base_cells() -> list[str]:
    try:
        return bases()
    except TableError as problem:
        raise HandledError(str(problem)) from None


def is_cell(name: str) -> bool:
    """Whether it is a cell's name; tox says itself what is wrong with any other."""
    try:
        cells.read(name)
    except ValueError:
        return False
    return True


def beside(name: str) -> list[str]:
    """What the environments of tests and ``bench`` get beside their ``deps`` of tox.ini: the witnesses, and the drivers
    that can share an environment (of each of Tortoise's clients the first); for tests those without a server."""
    clients = {module: each for each in reversed(drivers().values()) for module in each.imports if "." in module}
    chosen = {each.name: each for each in clients.values()}.values()
    whole = [each for each in chosen if name == "bench" or "sqlite" in each.servers]
    witnesses = (text for each in chosen for witness in each.witnesses.values() for text in witness.install)
    return sorted({*(text for each in whole for text in each.requirements), *witnesses})


@impl
def tox_add_env_config(env_conf: Any, state: Any) -> None:
    named = getattr(state.conf.options, "env", None)  # commands that run nothing, such as list, have none
    bare = named is None or named.is_default_list
    words = shlex.join(state.conf.pos_args(None) or ())
    if own := {"report": report, "orders": orders}.get(env_conf.name):
        env_conf.loaders.insert(0, own("" if bare else words, state.conf))  # of a bare tox they are the cells'
    if env_conf.name in ("unit", "attacks", "mutation", "bench"):
        written = filter(
            None, map(str.strip, env_conf.loaders[0].load_raw("deps", state.conf, env_conf.name).splitlines())
        )
        env_conf.loaders.insert(0, MemoryLoader(deps=[*written, *beside(env_conf.name)]))
    try:
        name = cells.read(env_conf.name)
    except ValueError as problem:
        # Made of words that tox knows from the cells, it would be an environment with nothing to do, and green.
        if {*SERVERS, *drivers()} & set(env_conf.name.split("-")):
            raise HandledError(f"{problem}\nThe cells are {', '.join(base_cells())}.") from None
        return
    try:
        install = cells.requirements(name)
    except ValueError as problem:
        raise HandledError(str(problem)) from None
    if name.python and env_conf.name in (named or ()) and not environments.on_machine(name.python):
        try:
            fetched = environments.interpreter(name.python).path.parent
        except environments.NoPython as problem:
            raise HandledError(str(problem)) from None
        os.environ["PATH"] += (
            f"{os.pathsep}{fetched}"  # who makes environments looks there, whatever they are made with
        )
    env_conf.loaders.insert(
        0,
        MemoryLoader(
            description=f"one cell: {env_conf.name}",
            deps=install,
            commands=[f"python -m matrix.cell {env_conf.name} {words or ('--brief' if bare else '')}".strip()],
        ),
    )
    names = state.conf.core["env_list"] if bare else named
    running = [name for name in names if is_cell(name)]
    if env_conf.name in running and len(running) > 1:
        position = f"{running.index(env_conf.name) + 1} of {len(running)}"
        env_conf["set_env"].update({"MATRIX_POSITION": position})


def report(words: str, conf: Any) -> MemoryLoader:
    return MemoryLoader(depends=EnvList(base_cells()), commands=[f"python -m matrix report {words}".strip()])


def orders(words: str, conf: Any) -> MemoryLoader:
    """In the environments of the cells, which tox has made before."""
    places = shlex.quote(str(conf.core["work_dir"]))
    run = f"python -m matrix run --deepen --envs {places} {' '.join(base_cells())}"
    return MemoryLoader(depends=EnvList(["report"]), commands=[f"{run} {words}".strip(), "python -m matrix report"])
