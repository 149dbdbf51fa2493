"""`python -m brimfs.compat NAME SCRIPT ARGUMENTS…`: a program of an older package, on brimfs."""

from __future__ import annotations

import os
import runpy
import sys

from brimfs.compat import _install

_NAMES = ("dmemfs", "memfs")
_USAGE = f"usage: python -m brimfs.compat {{{','.join(_NAMES)}}} (SCRIPT | -m MODULE) [ARGUMENT...]"


def main() -> int:
    """Run the program that the command line names. Returns the exit code of wrong usage."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    is_module = arguments[1:2] == ["-m"]
    if len(arguments) < (3 if is_module else 2) or arguments[0] not in _NAMES:
        print(_USAGE, file=sys.stderr)
        return 2
    _install.install(arguments[0])
    if is_module:
        sys.argv = arguments[2:]
        # As `python -m` has it, the modules of the working directory can be imported.
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[2], run_name="__main__", alter_sys=True)
        return 0
    script = arguments[1]
    if not os.path.exists(script):
        print(f"brimfs.compat: no such file: {script}", file=sys.stderr)
        return 2
    sys.argv = arguments[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
