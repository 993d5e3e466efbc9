"""Our own pages under the names of ports: a login, a warning, refusals.

A name shows a tenant's pages, so nothing of ours there may be framed, and our pages load nothing.
"""

import base64
import hashlib
import html
from typing import Final

from starlette.responses import Response

_STYLE: Final = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{max-width:34rem;margin:10vh auto;padding:0 1rem}"
    "button{font:inherit;padding:.5rem 1rem}"
)
_LOGIN: Final = (
    "const say=text=>{document.querySelector('[role=status]').textContent=text};"
    "const secret=location.hash.slice(1);history.replaceState(null,'',location.pathname);"
    "fetch(location.pathname,{method:'POST',body:secret}).then(answer=>{"
    "if(answer.ok)location.replace('/');"
    "else say('This link has been used or has expired. Ask for another one.')"
    "}).catch(()=>say('The service cannot be reached. Ask for a new link.'))"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{style}</style>
<main>
<h1>{title}</h1>
{content}
</main>
{script}
</html>
"""


def login() -> Response:
    """Takes the secret from the part of the address that browsers do not send."""
    content = '<p role="status">One moment.</p><noscript><p>This needs JavaScript.</p></noscript>'
    return _page(200, "Logging in", content, script=_LOGIN)


def private(*, is_old: bool) -> Response:
    """A browser without a login at a private port; an old one may have one, but not show it."""
    content = (
        "<p>This port is private. Whoever published it can make a link that opens it once, with"
        " <code>pve402 ports LEASE --login PORT</code>.</p>"
    )
    if is_old:
        content += '<p>If you have logged in already, <a href="">open the page from here</a>.</p>'
    return _page(401, "Log in first", content)


def warning(host: str, place: str, contact: str | None) -> Response:
    """Says, once per browser, that a page is somebody's own. `place` is where the visitor goes."""
    told = f" Report abuse to {html.escape(contact)}." if contact else ""
    content = (
        f"<p><strong>{html.escape(host)}</strong> is a server in a container that somebody rents"
        " here. The operator has not checked it.</p>"
        "<p>Enter no passwords, keys or card numbers that you use anywhere else, unless you know"
        f" who runs it.{told}</p>"
        f'<form method="post" action="/.pve402/continue?to={html.escape(place)}">'
        "<button>Continue to the page</button></form>"
    )
    return _page(200, "A page of somebody's own", content)


def refusal(status: int, title: str, detail: str) -> Response:
    """A refusal for people."""
    return _page(status, title, f"<p>{html.escape(detail)}</p>")


def _page(status: int, title: str, content: str, *, script: str = "") -> Response:
    told = _PAGE.format(
        title=html.escape(title),
        style=_STYLE,
        content=content,
        script=f"<script>{script}</script>" if script else "",
    )
    sources = f"style-src {_hash(_STYLE)}"
    if script:
        sources += f"; script-src {_hash(script)}; connect-src 'self'"
    policy = (
        f"default-src 'none'; {sources}; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    )
    headers = {
        "cache-control": "no-store",
        "content-security-policy": policy,
        "referrer-policy": "same-origin",  # without a referrer, forms have no Origin
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
    }
    return Response(told, status, headers=headers, media_type="text/html; charset=utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
