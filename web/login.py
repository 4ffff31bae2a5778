"""The login page: one field, no script, so that it works under the strictest policy."""

from __future__ import annotations

from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Parley: log in</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; }}
form {{ width: min(20rem, 90vw); display: grid; gap: .75rem; }}
h1 {{ font-size: 1.5rem; margin: 0; }}
input, button {{ font: inherit; padding: .6rem .75rem; border-radius: .5rem; border: 1px solid #8888; }}
button {{ background: #3056d3; color: #fff; border: 0; cursor: pointer; }}
:focus-visible {{ outline: 2px solid #3056d3; outline-offset: 2px; }}
p {{ margin: 0; }}
</style>
</head>
<body>
<form method="post" action="login">
<h1>Parley</h1>
<label for="token">Access token of this server</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
{notice}<button type="submit">Log in</button>
</form>
</body>
</html>
"""


def login_page(notice: str | None = None) -> str:
    """The page as HTML; ``notice`` says what went wrong the last time."""
    return _PAGE.format(notice=f'<p role="alert">{escape(notice)}</p>\n' if notice else "")
