"""Titles and names of web servers."""

import pytest
from said import both, structured, written


def test_a_title():
    assert both("http-title", '<elem key="title">Welcome to example.com</elem>', "Welcome to example.com") == {
        "http": {"title": "Welcome to example.com"}
    }


def test_a_title_after_a_redirect():
    inside = '<elem key="title">Sign in</elem><elem key="redirect_url">https://www.example.com/login?a=b</elem>'
    text = "Sign in\nRequested resource was https://www.example.com/login?a=b"
    assert both("http-title", inside, text) == {
        "http": {"title": "Sign in", "redirect": "https://www.example.com/login?a=b"}
    }


@pytest.mark.parametrize("end", ["", " and no page was returned."])
def test_a_redirect_that_was_not_followed(end):
    inside = '<elem key="redirect_url">https://www.example.com/</elem>'
    text = f"Did not follow redirect to https://www.example.com/{end}"
    assert both("http-title", inside, text) == {"http": {"redirect": "https://www.example.com/"}}


@pytest.mark.parametrize("text", ["Site doesn't have a title (text/html).", "Site doesn't have a title."])
def test_no_title(text):
    assert written("http-title", text) == {}


def test_names_of_old_versions():
    assert written("html-title", "Example") == {"http": {"title": "Example"}}


def test_titles_are_made_readable_but_stay_harmless():
    inside = '<elem key="title">&#xa;  Gr\\xC3\\xBC\\xC3\\x9Fe\\x1B[31m &amp;\tso \\xFF </elem>'
    assert structured("http-title", inside) == {"http": {"title": r"Grüße\x1B[31m & so \xFF"}}


def test_a_long_title_is_cut():
    found = structured("http-title", f'<elem key="title">{"x" * 5000}</elem>')
    assert found == {"http": {"title": "x" * 1000}}


@pytest.mark.parametrize(
    ("inside", "text", "named"),
    [
        ("<elem>nginx/1.24.0</elem>", "nginx/1.24.0", ["nginx/1.24.0"]),
        ("<elem>Apache</elem><elem>IIS</elem>", "\n  Apache\n  IIS", ["Apache", "IIS"]),
        ('<table key="Server"><elem>Apache</elem></table>', "Apache", ["Apache"]),
    ],
)
def test_server_headers(inside, text, named):
    assert both("http-server-header", inside, text) == {"http": {"server": named}}


def test_an_empty_server_header_is_none():
    assert both("http-server-header", "<elem></elem>", "<empty>") == {}
