"""Pages from their templates."""

from fastapi import Request
from fastapi.responses import HTMLResponse


def render(request: Request, template: str, **values: object) -> HTMLResponse:
    """A page from its template."""
    return HTMLResponse(request.app.state.templates.get_template(template).render(**values))
