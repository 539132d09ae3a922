"""From a trained run to answers: graphs, engines, prediction and the server.

``from neurogaze_fast.deploy import Predictor, open_engine`` is all other programs need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurogaze_fast.deploy.engines.open import open_engine
    from neurogaze_fast.deploy.face import Face as Prediction
    from neurogaze_fast.deploy.predictor import Predictor

__all__ = ["Prediction", "Predictor", "open_engine"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the options of a command are shown without loading torch.
    if name == "open_engine":
        from neurogaze_fast.deploy.engines.open import open_engine as found
    elif name in __all__:
        from neurogaze_fast.deploy import predictor

        found = getattr(predictor, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
