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
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
  --bg: #f3f6f4; --surface: #fff; --ink: #14211d; --line: #7d8c86; --accent: #0b6b50; --on-accent: #fff; --danger: #a8261b; }}
@media (prefers-color-scheme: dark) {{ :root {{
  --bg: #0d1412; --surface: #151e1b; --ink: #e8f0ec; --line: #64756e;
  --accent: #58d0a4; --on-accent: #05231a; --danger: #ff8f85; }} }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--bg); color: var(--ink); }}
form {{ width: min(22rem, 90vw); display: grid; gap: .875rem; }}
h1 {{ font-size: 1.75rem; margin: 0 0 .5rem; }}
input, button {{ font: inherit; padding: .75rem 1rem; border-radius: .75rem; }}
input {{ border: 1px solid var(--line); background: var(--surface); color: inherit; }}
button {{ background: var(--accent); color: var(--on-accent); border: 0; font-weight: 700; cursor: pointer; }}
:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
p {{ margin: 0; color: var(--danger); }}
</style>
</head>
<body>
<main>
<form method="post" action="login">
<h1>Parley</h1>
<label for="token">Access token of this server</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
{notice}<button type="submit">Log in</button>
</form>
</main>
</body>
</html>
"""


def login_page(notice: str | None = None) -> str:
    """The page as HTML; ``notice`` says what went wrong the last time."""
    return _PAGE.format(notice=f'<p role="alert">{escape(notice)}</p>\n' if notice else "")
