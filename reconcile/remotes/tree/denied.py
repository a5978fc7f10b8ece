"""That nothing of our folder is for the web, where DEST is what a web server serves that runs as our user."""

from __future__ import annotations

from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.steps import Burst, Recipe
from reconcile.remotes.tree.verbs import Close, Handle, Status, Write

_HTACCESS = b"""# reconcile: nothing in here is for the web
<IfModule mod_authz_core.c>
  Require all denied
</IfModule>
<IfModule !mod_authz_core.c>
  Order allow,deny
  Deny from all
</IfModule>
"""


def deny(site: Site) -> Recipe[None]:
    """Have it serve nothing of that; if it was said already, or that fails, it is as it was."""
    opened: Handle | Status = yield site.open_new(site.layout.workdir + b"/.htaccess", 0o600)
    if isinstance(opened, Handle):
        yield Burst(iter([Write(opened.handle, 0, _HTACCESS), Close(opened.handle)]))
