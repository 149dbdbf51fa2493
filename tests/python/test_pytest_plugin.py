"""The fixtures for pytest, as a project that has brimfs installed sees them."""

import re
import sqlite3
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "pytest.md"


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider", *options)


def test_what_the_page_shows_works(pytester: pytest.Pytester) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 2
    run(pytester, "\n".join(snippets)).assert_outcomes(passed=5)


def test_each_test_has_a_filesystem_of_its_own(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import pytest

        made = []
        pytestmark = pytest.mark.brim(quota="1MiB", max_nodes=10)

        @pytest.mark.parametrize("number", range(2))
        def test_fresh(brim, number):
            assert brim.listdir("/") == []
            brim.write_text("/a", "x")
            assert brim.stats().quota_limit == 1 << 20
            made.append(brim)

        @pytest.mark.brim(quota="2MiB")
        def test_nearer_markers_go_first(brim, brim_factory):
            other = brim_factory(max_nodes=20)
            made.extend([brim, other])
            assert [fs.stats().quota_limit for fs in (brim, other)] == [2 << 20] * 2
            for number in range(15):
                other.touch(f"/{number}")
            with pytest.raises(OSError):
                for number in range(15):
                    brim.touch(f"/{number}")

        def test_all_are_closed():
            assert len(made) == 4 and all(fs.closed for fs in made)
        """,
    )
    done.assert_outcomes(passed=4)


@pytest.mark.parametrize("marker", ['brim("1MiB")', 'brim(quoat="1MiB")'])
def test_a_marker_that_is_wrong_says_so(pytester: pytest.Pytester, marker: str) -> None:
    done = run(pytester, f"import pytest\n@pytest.mark.{marker}\ndef test_it(brim): pass")
    done.assert_outcomes(errors=1)
    done.stdout.re_match_lines([".*(by name only|quoat).*"])


def test_what_a_failed_test_held_is_exported(pytester: pytest.Pytester) -> None:
    out = pytester.path / "out"
    source = """
        import os
        import pytest

        def test_passes(brim):
            brim.write_text("/passes", "x")

        @pytest.mark.parametrize("name", ["../../a", "b"])
        def test_fails(brim, name):
            brim.mkdir("/d/e", parents=True)
            brim.write_text("/d/e/a.csv", "id")
            brim.symlink("e/a.csv", "/d/link")
            if name != "b":
                brim.symlink("/etc/passwd", "/out")
            assert False

        def test_of_two(brim, brim_factory):
            brim.write_text("/one", "1")
            brim_factory().write_text("/two", "2")
            raise KeyError

        @pytest.fixture
        def broken(brim):
            brim.write_text("/set-up", "x")
            raise OSError("broken")

        def test_set_up(broken): pass

        def test_closes(brim):
            brim.close()
            assert False
        """
    for _ in range(2):
        done = run(pytester, source, "--brim-export", str(out))
        done.assert_outcomes(passed=1, failed=4, errors=1)
        found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir())
        plain = [re.sub(r"-[0-9a-f]{8}/", "/", name) for name in found]
        prefix = "test_what_a_failed_test_held_is_exported.py-"
        assert plain == [
            f"{prefix}{name}"
            for name in [
                "test_fails-..-..-a/d/e/a.csv",
                "test_fails-b/d/e/a.csv",
                "test_fails-b/d/link",
                "test_of_two/1/one",
                "test_of_two/2/two",
                "test_set_up/set-up",
            ]
        ]
        done.stdout.fnmatch_lines(
            ["*brimfs exported*", "*: without links (*", "*test_fails*: 1 files, 2 bytes"]
        )
        done.stdout.fnmatch_lines(["*not written, the test closed that filesystem"])


def test_nothing_is_exported_unasked(pytester: pytest.Pytester) -> None:
    done = run(pytester, "def test_fails(brim):\n    brim.write_text('/a', 'x')\n    assert False")
    done.assert_outcomes(failed=1)
    done.stdout.no_fnmatch_line("*brimfs exported*")
    assert not list(pytester.path.rglob("a"))


def test_each_test_has_a_database_of_its_own(pytester: pytest.Pytester) -> None:
    out = pytester.path / "out"
    done = run(
        pytester,
        """
        import threading
        import pytest

        made = []

        @pytest.fixture(scope="session")
        def brim_sqlite_schema():
            def make(connection):
                made.append(connection)
                connection.execute("CREATE TABLE t (x)")
                connection.execute("INSERT INTO t VALUES (1)")
            return make

        def rows(connection):
            return [row[0] for row in connection.execute("SELECT x FROM t")]

        @pytest.mark.parametrize("number", range(3))
        def test_own(brim_sqlite, number):
            assert rows(brim_sqlite) == [1]
            brim_sqlite.execute("INSERT INTO t VALUES (?)", (number,))
            brim_sqlite.commit()
            assert len(made) == 1

        def test_in_a_thread(brim_sqlite):
            found = []
            thread = threading.Thread(target=lambda: found.extend(rows(brim_sqlite)))
            thread.start()
            thread.join()
            assert found == [1]

        def test_fails(brim_sqlite):
            brim_sqlite.execute("INSERT INTO t VALUES (7)")
            brim_sqlite.commit()
            assert False
        """,
        "--brim-export",
        str(out),
    )
    done.assert_outcomes(passed=4, failed=1)
    (database,) = out.rglob("database.sqlite")
    with sqlite3.connect(database) as connection:
        assert [row[0] for row in connection.execute("SELECT x FROM t")] == [1, 7]
    connection.close()


def test_without_a_schema_the_database_is_empty(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        def test_empty(brim_sqlite):
            assert brim_sqlite.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        """,
    )
    done.assert_outcomes(passed=1)
