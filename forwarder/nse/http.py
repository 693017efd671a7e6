"""What web servers say of themselves, by http-title and http-server-header (nmap 5 to 7)."""

from __future__ import annotations

from typing import Final

from forwarder.nse.results import Facts, Result, clean, element, elements, inner, lines, some

REDIRECT: Final = "Did not follow redirect to "
FOLLOWED: Final = "Requested resource was "
UNTITLED: Final = "Site doesn't have a title"
AFTER_REDIRECT: Final = " and no page was returned."


def title(result: Result) -> Facts:
    """Return `http` with `title`, and `redirect`: the URL that the server sent nmap to, followed or not."""
    text, redirect = element(result.table, "title"), element(result.table, "redirect_url")
    if not result.table:
        for n, line in enumerate(lines(result.text)):
            for start in (REDIRECT, FOLLOWED):
                if line.startswith(start):
                    redirect = redirect or line.removeprefix(start).removesuffix(AFTER_REDIRECT)
                    break
            else:
                if n == 0 and not line.startswith(UNTITLED):
                    text = line
    return _facts(title=clean(text), redirect=clean(redirect))


def server(result: Result) -> Facts:
    """Return `http` with `server`, all that the server called itself."""
    named = list(elements(result.table)) or list(elements(inner(result.table, "Server")))
    said = [value for _, value in named] if result.table else [line for line in lines(result.text) if line != "<empty>"]
    return _facts(server=some(said))


def _facts(**facts: object) -> Facts:
    found = {name: value for name, value in facts.items() if value}
    return {"http": found} if found else {}
