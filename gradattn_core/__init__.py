"""Find wrong labels in image datasets and show why: the core, without Prefect and without Streamlit.

What most programs need is offered here and imported when it is asked for::

    import gradattn_core as ga

    result = ga.audit_images("photos/")
"""

import importlib
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from gradattn_core.face import __version__ as __version__
from gradattn_core.face import lazily

if TYPE_CHECKING:
    from gradattn_core.config import AuditConfig as AuditConfig
    from gradattn_core.dataset.decoding import read_image as read_image
    from gradattn_core.errors import DatasetError as DatasetError
    from gradattn_core.errors import GradattnError as GradattnError
    from gradattn_core.errors import ModelError as ModelError
    from gradattn_core.errors import StoreError as StoreError
    from gradattn_core.interpret.explanation import explain_image as explain_image
    from gradattn_core.interpret.maps import interpret_images as interpret_images
    from gradattn_core.notebook.calling import audit_images as audit_images
    from gradattn_core.notebook.calling import open_audit as open_audit
    from gradattn_core.notebook.result import AuditResult as AuditResult
    from gradattn_core.ranking.noise import class_pairs as class_pairs
    from gradattn_core.ranking.noise import noise_estimate as noise_estimate
    from gradattn_core.ranking.suspicion import rank_labels as rank_labels
    from gradattn_core.store.store import Store as Store

if "IPython" in sys.modules:
    # What timm loads would tell every notebook without ipywidgets to install them, for bars that nobody asked for.
    with suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("tqdm.auto")

_HOMES = {
    "AuditConfig": "config",
    "AuditResult": "notebook.result",
    "DatasetError": "errors",
    "GradattnError": "errors",
    "ModelError": "errors",
    "Store": "store.store",
    "StoreError": "errors",
    "audit_images": "notebook.calling",
    "class_pairs": "ranking.noise",
    "explain_image": "interpret.explanation",
    "interpret_images": "interpret.maps",
    "noise_estimate": "ranking.noise",
    "open_audit": "notebook.calling",
    "rank_labels": "ranking.suspicion",
    "read_image": "dataset.decoding",
}
__all__ = [*_HOMES]
__getattr__ = lazily(__name__, {name: f"{__name__}.{home}" for name, home in _HOMES.items()})


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
