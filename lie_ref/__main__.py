"""`python -m lie_ref COMMAND`, the same as `lie-ref COMMAND`."""

import sys

from .cli import main

sys.exit(main())
