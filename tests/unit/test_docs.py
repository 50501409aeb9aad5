"""Pages of the documentation that are made from code are up to date, and links lead somewhere."""

import re
from pathlib import Path

import pytest
from helpers import make_field_page
from helpers.make_layer_page import PAGE, make_page

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/**/*.md")]


def test_layer_page_is_made_of_the_docstrings():
    assert PAGE.read_text() == make_page(), "run: python tests/helpers/make_layer_page.py"


def test_field_page_is_made_of_the_declarations():
    wanted = make_field_page.make_page()
    assert make_field_page.PAGE.read_text() == wanted, "run: python tests/helpers/make_field_page.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
