"""What people send by a form: its fields, bounded, and who sent it."""

import re
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, quote, unquote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from selfimprove.errors import StoreError
from selfimprove.store.notes import MAX_BY

BY = "selfimprove_by"  # the cookie with the name that a person last signed with
WRITER = "selfimprove_writer"  # the cookie that tells people apart who sign with no name
QUERY = re.compile(r"[\w%&=+.,~*:()!'-]{1,4000}")


async def read_form(request: Request, fields: int = 10) -> dict[str, list[str]]:
    """The fields of a form; raises StoreError where there are too many, and ClientDisconnect where it is too large."""
    try:
        body = (await request.body()).decode("utf-8", "replace")
        return parse_qs(body, keep_blank_values=True, max_num_fields=fields)
    except ValueError:
        raise StoreError("that is no form of these pages: it has too many fields") from None


def writer_of(request: Request) -> str:
    """The id that a browser keeps, or a new one."""
    writer = request.cookies.get(WRITER, "")
    return writer if re.fullmatch("[0-9a-f]{32}", writer) else secrets.token_hex(16)


def name_of(request: Request) -> str:
    """The name that a person last signed with."""
    return unquote(request.cookies.get(BY, ""))[:MAX_BY]


def go_back(path: str, query: str, fragment: str = "") -> RedirectResponse:
    """The page that follows a form; a query that is none of these pages' is left out."""
    return RedirectResponse(path + (f"?{query}" if QUERY.fullmatch(query) else "") + fragment, 303)


def sign(answer: Response, cookies: Mapping[str, str]) -> None:
    """Have the browser keep who wrote."""
    for cookie, value in cookies.items():
        answer.set_cookie(cookie, quote(value), max_age=365 * 24 * 3600, httponly=True, samesite="strict")
