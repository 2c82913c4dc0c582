"""Audits as Prefect flows: the only package that knows Prefect and Ray.

Prefect and Ray read their settings when they are imported, so this package's defaults have to be in the environment
before that. What the user has set there stands.
"""

import os

_DEFAULTS = {
    # A new database is migrated first, which on a busy machine takes longer than Prefect's own 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # Nothing leaves the machine unasked.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Prefect's newer page loads a tracker into the browser, whatever the server is told; the older one asks nobody.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A worker tells of its health to this machine only.
    "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
}

for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
