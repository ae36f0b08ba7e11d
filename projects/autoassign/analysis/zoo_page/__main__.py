"""Write the model zoo page: ``python -m autoassign.analysis.zoo_page FILE``, as `make zoo` does."""

import sys
from pathlib import Path

from .page import model_zoo_page

Path(sys.argv[1]).write_text(model_zoo_page(), encoding="utf-8")
