"""MLflow's server with pages that open on model training; `dyt-bench ui` starts it.

Started by a browser that has no settings of its own, MLflow's pages are those for language model
applications, on which nothing of a suite is shown, and its assistant takes a quarter of the window.
The first page therefore carries a script that stores other settings, unless there are some. They
are not documented: the tests open the pages in a browser.

The server is also that of ``mlflow server --app-name dyt-bench``.
"""

import json

from flask import Response, request
from mlflow.server import app as pages

_SETTINGS = {
    "mlflow.workflowType_v1": "machine_learning",
    # It opens once in each browser, unless it has done so.
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
}
_SCRIPT = (
    f"<script>for (const [key, value] of Object.entries({json.dumps(_SETTINGS)}))"
    "localStorage.getItem(key) ?? localStorage.setItem(key, JSON.stringify(value))</script>"
)


@pages.after_request
def set_up(response: Response) -> Response:
    """Add the script to the page that loads all others."""
    if request.endpoint == "serve" and response.mimetype == "text/html":
        response.direct_passthrough = False  # it is a file's
        page = response.get_data(as_text=True)
        response.set_data(page.replace("<head>", f"<head>{_SCRIPT}", 1))
    return response


# Imported last: it wraps the pages above as they are.
from mlflow.server.fastapi_app import app as app  # noqa: E402
