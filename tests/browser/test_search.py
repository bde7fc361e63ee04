"""The search in a browser: an error message that is pasted, words of people, and what nothing fits."""

BUSY = "readexactly() called while another coroutine is waiting"  # as the samples have it


def searched(page, text):
    page.focus("input[name=q]")
    page.wait_for_function("!!window.matrixIndex")
    page.fill("input[name=q]", text)
    return page.locator("table.full tr[data-f]:visible").evaluate_all("rows => rows.map((row) => row.id)")


def test_a_pasted_error_message_leads_to_what_it_means(open_page):
    page = open_page()
    rows = searched(page, f"RuntimeError: {BUSY}")
    assert "NST-4" in rows
    card = page.locator("#cards article").first
    assert BUSY in card.inner_text()
    assert card.bounding_box()["y"] + card.bounding_box()["height"] < page.viewport_size["height"]
    card.locator("h3 a").click()
    page.wait_for_url("**/errors.html#e-*")
    assert page.locator(":target").inner_text() == BUSY


def test_an_address_with_an_error_message_shows_it_at_once(open_page):
    page = open_page("index.html?q=readexactly()+called+while")
    page.wait_for_selector("#cards article")


def test_words_of_people_find_rows_whose_titles_do_not_have_them(open_page):
    assert "NST-4" in searched(open_page(), "savepoint")


def test_what_no_row_has_is_said_and_the_nearest_are_shown(open_page):
    page = open_page()
    rows = searched(page, "xyzzy readexactly coroutine called")
    assert rows
    assert "nearest" in page.locator("output").inner_text()
    assert searched(page, "xyzzy plugh") == []
    assert "Nothing fits" in page.locator("output").inner_text()
    assert page.locator("#cards article").count() == 0
