"""NeuroGaze-Distill, fast: facial-expression models that learn with a brain prior.

Importing the package is cheap: nothing heavier than the standard library is loaded until a
submodule asks for it. The commands are modules, e.g. ``python -m neurogaze_fast.train --help``.

Shape letters used in every docstring: B batch, C emotions, D embedding width, K bank cells,
N items, H and W height and width.
"""

from neurogaze_fast.footprint import switch_off_reports

__version__ = "0.1.0"

switch_off_reports()
