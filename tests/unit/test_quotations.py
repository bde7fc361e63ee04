"""The look-up of quotations finds what stands there, and tells what does not from what nobody can look up here."""

from __future__ import annotations

from tests.quotations import FOUND, UNCHECKED, WRONG, Quotation, look_up, main, quotations

SOURCE = "https://github.com/MagicStack/asyncpg/blob/master/asyncpg/pool.py"
PAGE = "https://www.psycopg.org/psycopg3/docs/advanced/async.html"


def installed(tmp_path):
    (tmp_path / "asyncpg").mkdir()
    (tmp_path / "asyncpg" / "pool.py").write_text(
        '"""The ``connection`` has been\n    released *back* `to it <https://example.org/pool_1>`_."""\n'
    )
    return [tmp_path]


def test_a_quotation_is_found_whatever_the_markup_and_the_line_breaks(tmp_path):
    quotation = Quotation("A", "The connection has been released back to it.", SOURCE)
    assert look_up(quotation, installed(tmp_path)) == FOUND


def test_an_altered_one_is_not(tmp_path):
    altered = Quotation("A", "The connection has never been released back.", SOURCE)
    assert look_up(altered, installed(tmp_path)) == WRONG


def test_what_stands_on_a_page_only_cannot_be_looked_up(tmp_path):
    assert look_up(Quotation("A", "Anything at all.", PAGE), installed(tmp_path)) == UNCHECKED
    assert look_up(Quotation("A", "Anything.", SOURCE), []) == UNCHECKED


def test_every_text_and_quotation_is_asked_and_the_unchecked_are_listed(tmp_path, capsys):
    assert {"serialized", "TXN-13"} <= {each.name for each in quotations()}
    assert main([str(tmp_path)]) == 0
    assert "not installed: serialized: Query execution" in capsys.readouterr().out


def test_a_page_that_is_made_from_a_docstring_says_what_the_installed_one_says(tmp_path):
    """FIX-12: four words were left out of what asyncpg's page says of create_pool, and nobody noticed."""
    page = "https://magicstack.github.io/asyncpg/current/api/index.html#asyncpg.pool.create_pool"
    folders = installed(tmp_path)
    assert look_up(Quotation("A", "The connection has been released back to it.", page), folders) == FOUND
    assert look_up(Quotation("A", "The connection has released back.", page), folders) == WRONG
    assert look_up(Quotation("A", "The connection has released back.", page), []) == UNCHECKED
