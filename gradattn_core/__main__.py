"""``python -m gradattn_core`` is ``gradattn``."""

import sys

from gradattn_core.cli import main

sys.exit(main())
