"""Two versions in one process, each with its own copy of the package that both of them call `pinet_kedro`."""

import sys
from types import ModuleType
from typing import Any, ClassVar

from mlflow.pyfunc import load_model

_PACKAGE = "pinet_kedro"


class OwnCode:
    """A version as MLflow's application takes a model; before it works, its modules take the place of another's.

    A function that has been loaded keeps its own modules in any case. The exchange is for imports while it works.
    A worker answers one request after the other, so nothing else runs in between.
    """

    _current: ClassVar[dict[str, ModuleType]] = {}  # the active version's modules
    _seen: ClassVar[int] = 0  # modules in the process after the last exchange

    def __init__(self, folder: str) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._activate()
        self._model = load_model(folder)
        self.metadata = self._model.metadata
        self.input_example = self._model.input_example

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """The model's answer."""
        if OwnCode._current is not self._modules:
            self._activate()
        return self._model.predict(data, params=params)

    def _activate(self) -> None:
        if len(sys.modules) != OwnCode._seen:  # otherwise nothing was imported since the last exchange
            found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == _PACKAGE}
            OwnCode._current.clear()
            OwnCode._current.update(found)
        for name in OwnCode._current:
            del sys.modules[name]
        sys.modules.update(self._modules)
        OwnCode._current, OwnCode._seen = self._modules, len(sys.modules)
