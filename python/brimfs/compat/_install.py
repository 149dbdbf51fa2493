"""Makes the names of older packages lead to the packages here."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `name` and all below it as the modules of the package here."""

    def __init__(self, name: str, target: str) -> None:
        self.name = name
        self._target = target

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self.name and not fullname.startswith(self.name + "."):
            return None
        real = self._target + fullname[len(self.name) :]
        try:
            if importlib.util.find_spec(real) is None:
                return None
        except ModuleNotFoundError:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._target + spec.name[len(self.name) :])
        _spec_of[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It is loaded already, under its own name, and keeps what it says of itself.
        for name, spec in list(_spec_of.items()):
            if spec is not None and spec.name == module.__name__:
                module.__spec__ = spec
                module.__loader__ = spec.loader
                module.__package__ = spec.parent
                del _spec_of[name]


_spec_of: dict[str, importlib.machinery.ModuleSpec | None] = {}


def install(name: str) -> None:
    """Make `import NAME` find `brimfs.compat.NAME`, for the rest of the process. Twice is fine.

    Raises `ImportError` if another package of that name was imported before.
    """
    target = f"brimfs.compat.{name}"
    package = importlib.import_module(target)
    loaded = sys.modules.get(name)
    if loaded is package:
        return
    if loaded is not None:
        raise ImportError(
            f"another package called {name} was imported before: {loaded.__file__}", name=name
        )
    sys.meta_path.insert(0, _Finder(name, target))
    importlib.import_module(name)
