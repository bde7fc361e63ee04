"""What tox is told of the cells: a name that is none is refused, also where tox knows each of its words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tox.report import HandledError

import toxfile


def added(name):
    """What the plugin gives an environment of this name."""
    conf = SimpleNamespace(options=SimpleNamespace(env=None), pos_args=lambda _: None, core={"env_list": []})
    env = SimpleNamespace(name=name, loaders=[])
    toxfile.tox_add_env_config(env, SimpleNamespace(conf=conf))
    return env.loaders


@pytest.mark.parametrize("name", ["mysql-asyncpg", "sqlite-asyncpg", "aiomysql", "mysql", "postgres-aiomysql-py312"])
def test_words_of_cells_that_make_none_are_no_environment_with_nothing_to_do(name):
    with pytest.raises(HandledError, match="is no cell") as refused:
        added(name)
    assert "The cells are sqlite-aiosqlite, " in str(refused.value)


def test_other_environments_are_left_alone():
    assert added("lint") == []
