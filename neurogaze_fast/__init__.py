"""NeuroGaze-Distill, fast: facial-expression models that learn with a brain prior.

Importing the package is cheap: nothing heavier than the standard library is loaded until a
submodule asks for it. ``neurogaze_fast.analyse(photo)`` says what faces express; the commands are
``neurogaze-fast predict``, ``train`` and so on, or modules: ``python -m neurogaze_fast.train``.

Shape letters used in every docstring: B batch, C emotions, D embedding width, K bank cells,
N items, H and W height and width.
"""

from typing import TYPE_CHECKING, Any

from neurogaze_fast.footprint import switch_off_reports

if TYPE_CHECKING:
    from neurogaze_fast.deploy.analysis import Faces as Faces
    from neurogaze_fast.deploy.analysis import analyse as analyse

__version__ = "0.2.0"

switch_off_reports()


def __getattr__(name: str) -> Any:
    if name in ("analyse", "Faces"):
        from neurogaze_fast.deploy import analysis

        return getattr(analysis, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
