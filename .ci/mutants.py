#!/usr/bin/env python3
"""Takes away each flush, checksum comparison and barrier of the product, and sees a test fail.

What has to be durable before something else is written is also exchanged with it.

Finds the sites itself, by the patterns in KINDS, in the parts of the product that a store's
durability stands on. A copy of the tree is built once with a switch at every site; then
each is switched off in turn, and the tests that should notice run until one fails. Fails if no
test does, and if a kind has fewer sites than there were known to be: a pattern that finds nothing
proves nothing.

A test that fails is tried again with nothing switched off. If it fails then too, it is unstable:
it notices nothing, the other tests go on, and the end is an error that names it.

Where nothing can fail, the line above the site says so and why, after the words of UNNOTICEABLE.
Such sites are tried and listed too, and it is an error if a test notices one after all.

    .ci/mutants.py --list                    the sites
    .ci/mutants.py                           all of them
    .ci/mutants.py --sample 10 --seed 7      some, drawn
    .ci/mutants.py --only writer.rs:219      those whose place contains this
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mutant_kinds import DURABLE_THEN, KINDS, Pattern

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = Path("crates/brimfs/src")
SWITCH = "crate::base::mutant::is"
TRIAL_SECONDS = 300
# Images of each moment that the suites of crashes try at first, and before they give up.
FEW = 8
MANY = 64
# Tests that noticed something lately and are tried alone before all others.
LATELY = 6
# What a program says of a test that fails. The line may begin with what a test printed.
FAILED = re.compile(r"test (\S+)(?: - should panic)? \.\.\. .*?FAILED$", re.M)
# How a program ends if one did.
TESTS_FAILED = 101
# How a comment begins that says why no test can notice a site.
UNNOTICEABLE = "// Nothing fails without it: "

SWITCH_SOURCE = """//! Which site is switched off: the number in `BRIMFS_MUTANT`.

use std::sync::OnceLock;

pub(crate) fn is(number: u32) -> bool {
    static OFF: OnceLock<Option<u32>> = OnceLock::new();
    let read = || std::env::var("BRIMFS_MUTANT").ok()?.parse().ok();
    *OFF.get_or_init(read) == Some(number)
}
"""


# Where the sites are, with the tests that should notice: a program and a filter.
PLACES: dict[str, tuple[tuple[str, str], ...]] = {
    "journal": (("brimfs", "journal::"), ("journal", ""), ("persist", "")),
    "cold/segment": (("brimfs", "cold::"), ("segments", ""), ("persist", "")),
    "cold/host_files.rs": (("brimfs", "cold::host_files::"), ("mirror", "")),
    "persist": (("brimfs", "persist::"), ("persist", ""), ("mirror", "")),
    "io": (("brimfs", "io::"), ("segments", "real")),
}
PROGRAMS = ("journal", "segments", "persist", "mirror")
ORDERS_LEAST = 7


# The tests that notice such a site soonest, as filters of all programs.
SOONEST = {
    "flush": ["crash"],
    "checksum": ["damage"],
    "barrier": ["faults", "poison", "named"],
    "order": ["crash"],
}


@dataclass(frozen=True)
class Site:
    """A place in the product."""

    number: int
    kind: str
    part: str
    path: Path
    start: int
    end: int
    line: int
    text: str
    put: str
    # Of statements that are exchanged: where the first ends, and where the second begins.
    parts: tuple[int, int] | None = None
    # Why no test can notice it.
    excuse: str | None = None

    def __str__(self) -> str:
        place = f"{self.path.relative_to(PRODUCT)}:{self.line}"
        return f"{self.number:3} {self.kind:8} {place:34} {self.text}"


def product_part(source: str) -> str:
    """The source without its tests."""
    return source.split("\n#[cfg(test)]\nmod tests {")[0]


def in_comment(source: str, at: int) -> bool:
    line = source[source.rfind("\n", 0, at) + 1 : at]
    return "//" in line


def find() -> list[Site]:
    """All sites, in the order of files and lines."""
    sites: list[Site] = []
    for part in PLACES:
        place = ROOT / PRODUCT / part
        for path in sorted(place.rglob("*.rs")) if place.is_dir() else [place]:
            if path.name == "tests.rs":
                continue
            source = product_part(path.read_text())
            for kind, pattern, match in matches(source):
                line = source.count("\n", 0, match.start()) + 1
                text = " ".join(match.group().split())
                if match.group().startswith(" "):
                    line = source.count("\n", 0, match.start("do")) + 1
                put = match.expand(pattern.put.replace("{{", "{").replace("}}", "}"))
                number = len(sites) + 1
                put = put.replace("{off}", f"{SWITCH}({number})")
                start, end = match.span()
                excuse = excuse_above(source, line)
                sites.append(
                    Site(
                        number,
                        kind,
                        part,
                        path.relative_to(ROOT),
                        start,
                        end,
                        line,
                        text,
                        put,
                        None,
                        excuse,
                    )
                )
            for match in DURABLE_THEN.finditer(source):
                if in_comment(source, match.end("second") - 1):
                    continue
                first, second = (" ".join(match[one].split()) for one in ("first", "second"))
                line = source.count("\n", 0, match.start()) + 1
                parts = (match.end("first"), match.start("second"))
                number = len(sites) + 1
                text = f"{second} before {first}"
                put = f"{SWITCH}({number})"
                sites.append(
                    Site(
                        number,
                        "order",
                        part,
                        path.relative_to(ROOT),
                        *match.span(),
                        line,
                        text,
                        put,
                        parts,
                        excuse_above(source, line, "// In any order: "),
                    )
                )
    return sites


def excuse_above(source: str, line: int, words: str = UNNOTICEABLE) -> str | None:
    """What a comment right above a line says of it."""
    said: list[str] = []
    for above in reversed(source.splitlines()[: line - 1]):
        text = above.strip()
        if not text.startswith("//"):
            return None
        if text.startswith(words):
            return " ".join([text.removeprefix(words), *said])
        said.insert(0, text.removeprefix("//").strip())
    return None


def render(source: str, sites: list[Site], start: int, end: int) -> str:
    """A part of the source with the switches of the sites in it."""
    written, at = [], start
    for site in sorted(sites, key=lambda site: (site.start, -site.end)):
        if site.start < at or site.end > end:
            continue
        written.append(source[at : site.start])
        if site.parts is None:
            written.append(site.put)
        else:
            inner = [other for other in sites if other is not site]
            first = render(source, inner, site.start, site.parts[0])
            between = render(source, inner, *site.parts)
            second = render(source, inner, site.parts[1], site.end)
            written.append(f"if {site.put} {{\n{between}{second}{first}}} else {{\n")
            written.append(f"{first}{between}{second}}}\n")
        at = site.end
    written.append(source[at:end])
    return "".join(written)


def matches(source: str) -> Iterator[tuple[str, Pattern, re.Match[str]]]:
    found = [
        (match.start(), kind.name, pattern, match)
        for kind in KINDS
        for pattern in kind.patterns
        for match in re.finditer(pattern.find, source)
        if not in_comment(source, match.start("on") if "on" in match.groupdict() else match.start())
    ]
    end = 0
    for start, kind, pattern, match in sorted(found, key=lambda one: one[0]):
        if start >= end:
            yield kind, pattern, match
            end = match.end()


def check_counts(sites: list[Site]) -> bool:
    """Whether the patterns find what there was known to be."""
    right = True
    for name, least in [*((kind.name, kind.least) for kind in KINDS), ("order", ORDERS_LEAST)]:
        count = sum(site.kind == name for site in sites)
        print(f"{count} of kind {name}, at least {least} expected")
        right &= count >= least
    for kind in KINDS:
        for pattern in kind.patterns:
            used = any(
                re.search(pattern.find, ROOT.joinpath(site.path).read_text()) for site in sites
            )
            if not used:
                print(f"  nothing matches {pattern.find}")
                right = False
    return right


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if name and ROOT.joinpath(name).is_file()]


def write_tree(tree: Path, sites: list[Site]) -> None:
    """A copy of the tree with all switches. What did not change keeps its time, for cargo."""
    contents = {Path(name): ROOT.joinpath(name).read_bytes() for name in tracked()}
    for path in {site.path for site in sites}:
        source = ROOT.joinpath(path).read_text()
        own = [site for site in sites if site.path == path]
        contents[path] = render(source, own, 0, len(source)).encode()
    base = PRODUCT / "base"
    contents[base / "mutant.rs"] = SWITCH_SOURCE.encode()
    contents[base / "mod.rs"] += b"pub(crate) mod mutant;\n"
    for old in [path for path in tree.rglob("*") if path.is_file()]:
        if old.relative_to(tree) not in contents:
            old.unlink()
    for path, content in contents.items():
        place = tree / path
        if place.exists() and place.read_bytes() == content:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        shutil.copymode(ROOT / path if (ROOT / path).exists() else ROOT / base / "mod.rs", place)


def build(tree: Path, target: Path) -> dict[str, Path]:
    """The programs with the tests, by name."""
    command = ["cargo", "test", "--no-run", "--locked", "--message-format=json"]
    command += ["--package", "brimfs", "--package", "brimfs-sim", "--lib"]
    command += [option for name in PROGRAMS for option in ("--test", name)]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "RUSTFLAGS": "-Aunused_parens"}
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        for line in done.stdout.splitlines():
            rendered = json.loads(line).get("message", {})
            if isinstance(rendered, dict) and rendered.get("level") == "error":
                print(rendered.get("rendered"))
        raise SystemExit("the tree with the switches does not build")
    programs = {}
    for line in done.stdout.splitlines():
        said = json.loads(line)
        if said.get("executable") and said["profile"]["test"]:
            programs[said["target"]["name"]] = Path(said["executable"])
    return programs


@dataclass
class Bench:
    """The programs with the tests, and which tests say nothing."""

    programs: dict[str, Path]
    tree: Path
    # They failed with a site switched off, and with nothing switched off too.
    unstable: list[str] = field(default_factory=list)

    def noticed(self, name: str, arguments: list[str], mutant: int, images: int) -> str | None:
        """The first test that fails because of a site, or why the program ended otherwise."""
        with contextlib.closing(self.failures(name, arguments, mutant, images)) as failures:
            for failure in failures:
                if not self.is_unstable(name, arguments, images, failure):
                    return failure
        return None

    def is_unstable(self, name: str, arguments: list[str], images: int, failure: str) -> bool:
        """Whether it fails with nothing switched off too. Other tests of the program go on."""
        is_test = is_name(failure)
        if is_test:
            arguments = ["--exact", failure]
        said = " ".join([name, failure] if is_test else [name, *arguments, failure])
        if said in self.unstable:
            return True
        with contextlib.closing(self.failures(name, arguments, 0, images)) as failures:
            fails_too = any(is_test or other == failure for other in failures)
        if fails_too:
            print(f"unstable, it fails with nothing switched off too: {said}", flush=True)
            self.unstable.append(said)
        return fails_too

    def failures(
        self, name: str, arguments: list[str], mutant: int, images: int
    ) -> Generator[str, None, None]:
        """The tests that fail, as soon as they do, and why the program ended otherwise."""
        environment = {**os.environ, "BRIMFS_MUTANT": str(mutant), "BRIMFS_IMAGES": str(images)}
        environment["CARGO_MANIFEST_DIR"] = str(self.tree / "crates/brimfs-sim")
        with subprocess.Popen(
            [self.programs[name], *arguments],
            cwd=self.tree / "crates/brimfs-sim",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield from failures_of(process)
            finally:
                process.kill()


def is_name(failure: str) -> bool:
    """Whether a failure is that of one test, and not of a whole program."""
    return " " not in failure


def failures_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """The tests of a program that fail. What is done between them is no time of the program's."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    end = time.monotonic() + TRIAL_SECONDS
    said, read_to = "", 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            more = process.stdout.read()
            if not more:
                break
            said += more
            while failed := FAILED.search(said, read_to):
                read_to = failed.end()
                paused = time.monotonic()
                yield failed[1]
                end += time.monotonic() - paused
        else:
            yield "a test that did not end"
            return
    status = process.wait()
    # Of the tests that failed it was said already.
    if status != 0 and not (status == TESTS_FAILED and read_to):
        yield f"a program that ended with {status}"


def trials(site: Site) -> Iterator[tuple[str, list[str], int]]:
    """Programs, filters and numbers of images, the quickest first."""
    places = PLACES[site.part]
    for name, only in places:
        yield name, [only] if name == "brimfs" else SOONEST[site.kind], FEW
    for name, only in places:
        if name != "brimfs":
            yield name, [only] if only else [], FEW
    for name, _ in places:
        if name in ("segments", "persist"):
            yield name, ["crash"], MANY


def attempt(site: Site, bench: Bench, lately: list[tuple[str, str]]) -> str | None:
    own = {name for name, _ in PLACES[site.part]}
    alone = [(name, test) for name, test in lately if name in own]
    for name, test in alone[:LATELY]:
        if bench.noticed(name, ["--exact", test], site.number, FEW):
            remember(lately, name, test)
            return f"{name} {test}"
    for name, filters, images in trials(site):
        if failure := bench.noticed(name, filters, site.number, images):
            if is_name(failure):
                remember(lately, name, failure)
            return f"{name} {failure}"
    return None


def remember(lately: list[tuple[str, str]], name: str, test: str) -> None:
    """Puts a test first."""
    if (name, test) in lately:
        lately.remove((name, test))
    lately.insert(0, (name, test))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--list", action="store_true", help="list the sites and end")
    parser.add_argument("--sample", type=int, help="try only so many, drawn")
    parser.add_argument("--seed", type=int, default=int(time.time()) // 86400, help="how they are")
    parser.add_argument("--only", action="append", help="try those whose place contains this")
    parser.add_argument("--budget", type=float, help="begin no other after so many minutes")
    options = parser.parse_args()

    sites = find()
    for site in sites:
        print(site)
    if not check_counts(sites):
        return 1
    if options.list:
        return 0
    chosen = sites
    if options.only:
        chosen = [site for site in sites if any(part in str(site) for part in options.only)]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
        print(f"reproduce: .ci/mutants.py --sample {options.sample} --seed {options.seed}")

    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "mutants"
    tree = target / "tree"
    tree.mkdir(parents=True, exist_ok=True)
    write_tree(tree, sites)
    bench = Bench(build(tree, target / "build"), tree)
    if not options.only:
        for name in bench.programs:
            with contextlib.closing(bench.failures(name, [], 0, FEW)) as failures:
                if test := next(failures, None):
                    print(f"with nothing taken away {name} {test} fails")
                    return 1

    began = time.monotonic()
    survivors = []
    lately: list[tuple[str, str]] = []
    wrong = 0
    for site in chosen:
        if options.budget and time.monotonic() - began > options.budget * 60:
            print("the time is over")
            break
        start = time.monotonic()
        test = attempt(site, bench, lately)
        seconds = time.monotonic() - start
        print(f"{site}\n      {test or 'NO TEST NOTICES'} ({seconds:.1f} s)", flush=True)
        if test is None:
            survivors.append(site)
        elif site.excuse:
            print(f"      but above it: {site.excuse}")
            wrong += 1
    minutes = (time.monotonic() - began) / 60
    print(
        f"{len(survivors)} of {len(chosen)} sites are noticed by no test, in {minutes:.1f} minutes"
    )
    for site in survivors:
        print(f"{site}\n      {site.excuse or 'and nothing says why'}")
    if bench.unstable:
        print("error: these fail with nothing switched off too, and so notice nothing:")
        for unstable in bench.unstable:
            print(f"      {unstable}")
    return 1 if wrong or bench.unstable or any(not site.excuse for site in survivors) else 0


if __name__ == "__main__":
    sys.exit(main())
