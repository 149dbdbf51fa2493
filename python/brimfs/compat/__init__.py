"""The interfaces of two older packages, `dmemfs` and `memfs`, on brimfs.

`brimfs.compat.dmemfs` and `brimfs.compat.memfs` are used like the packages themselves. Their
`install()` makes `import dmemfs` and `import memfs` find them, and

    python -m brimfs.compat dmemfs script.py ARGUMENTS…

runs a program that way without a change to it.
"""
