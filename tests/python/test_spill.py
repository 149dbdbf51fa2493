"""Content that finds no memory goes to a disk and comes back."""

import random
import threading

import pytest

import brimfs

MIB = 1 << 20


def content(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


@pytest.fixture
def spilling(tmp_path):
    with brimfs.FileSystem(memory_limit="16MiB", spill_dir=tmp_path, lock_timeout=30) as fs:
        yield fs


def check_limits(fs):
    stats = fs.stats()
    assert stats.resident_peak <= stats.memory_limit


def test_ten_times_the_limit_comes_back_whole(spilling, tmp_path):
    sizes = [100, 700, 5_000, 70_000, 400_000, MIB, 3 * MIB]
    files = {}
    while sum(map(len, files.values())) < 160 * MIB:
        number = len(files)
        data = content(number, sizes[number % len(sizes)])
        path = f"/f{number}"
        files[path] = data
        match number % 3:
            case 0:
                spilling.write_bytes(path, data)
            case 1:
                spilling.write_bytes(path, bytearray(data))
            case 2:
                with spilling.open(path, "wb") as file:
                    for start in range(0, len(data), 50_000):
                        file.write(data[start : start + 50_000])
        check_limits(spilling)
    assert list(tmp_path.iterdir()) == [], "what is spilled has no name"
    order = list(files)
    random.Random(1).shuffle(order)
    for number, path in enumerate(order):
        match number % 4:
            case 0:
                assert spilling.read_bytes(path) == files[path]
            case 1:
                with spilling.open(path, "rb") as file:
                    assert b"".join(iter(lambda: file.read(40_000), b"")) == files[path]
            case 2:
                with spilling.open(path, "rb") as file:
                    room = bytearray(len(files[path]))
                    at = 0
                    piece = bytearray(4096)
                    while count := file.readinto(piece):
                        room[at : at + count] = piece[:count]
                        at += count
                    assert room == files[path]
            case 3:
                with spilling.view(path) as view:
                    assert memoryview(view) == files[path]
        check_limits(spilling)
    spilling._audit()


def test_a_file_larger_than_memory_is_changed_at_random(spilling):
    model = bytearray(content(1, 64 * MIB))
    spilling.write_bytes("/large", bytes(model))
    chance = random.Random(2)
    with spilling.open("/large", "r+b") as file:
        for number in range(300):
            at = chance.randrange(len(model) - 70_000)
            data = content(number, chance.choice([1, 100, 4096, 70_000]))
            model[at : at + len(data)] = data
            file.seek(at)
            file.write(data if number % 2 else bytearray(data))
        for _ in range(300):
            at = chance.randrange(len(model))
            file.seek(at)
            assert file.read(5_000) == model[at : at + 5_000]
    assert spilling.read_bytes("/large") == model
    check_limits(spilling)


def test_many_threads_share_memory_that_is_too_small(spilling):
    errors = []

    def work(worker):
        try:
            for number in range(60):
                data = content(worker * 1000 + number, 300_000)
                spilling.write_bytes(f"/{worker}-{number}", data)
                other = number // 2
                wanted = content(worker * 1000 + other, 300_000)
                assert spilling.read_bytes(f"/{worker}-{other}") == wanted
                with spilling.open(f"/{worker}-{other}", "rb") as file:
                    piece = bytearray(10_000)
                    file.seek(150_000)
                    assert file.readinto(piece) == len(piece)
                    assert piece == wanted[150_000:160_000]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    check_limits(spilling)
    spilling._audit()


def test_lines_and_text_of_cold_files(spilling):
    text = "".join(f"line {number}\n" for number in range(20_000))
    for number in range(100):
        with spilling.open(f"/{number}.txt", "w") as file:
            file.write(text)
    for number in range(0, 100, 7):
        with spilling.open(f"/{number}.txt") as file:
            assert list(file) == text.splitlines(keepends=True)
        with spilling.open(f"/{number}.txt", "rb") as file:
            assert file.readline() == b"line 0\n"


def test_without_spilling_full_memory_is_an_error():
    with brimfs.FileSystem(memory_limit="8MiB", spill_dir=False) as fs:
        with pytest.raises(brimfs.MemoryLimitExceeded):
            fs.write_bytes("/a", bytearray(9 * MIB))
        assert not fs.exists("/a")


def test_a_full_disk_is_an_error_of_the_writer_and_loses_nothing(tmp_path):
    with brimfs.FileSystem(memory_limit="16MiB", spill_dir=tmp_path, disk_limit="32MiB") as fs:
        kept = {}
        with pytest.raises(OSError) as raised:
            for number in range(1000):
                kept[f"/{number}"] = content(number, MIB)
                fs.write_bytes(f"/{number}", kept[f"/{number}"])
        assert raised.value.filename == f"/{len(kept) - 1}"
        del kept[f"/{len(kept) - 1}"]
        assert len(kept) > 20
        for path, data in kept.items():
            assert fs.read_bytes(path) == data
        fs.remove("/0")
        fs.remove("/1")
        fs.write_bytes("/again", kept["/2"])
        assert fs.read_bytes("/again") == kept["/2"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"spill_dir": True}, TypeError, "not True"),
        ({"spill_dir": 5}, TypeError, "spill_dir"),
        ({"spill_dir": False, "disk_limit": "1GiB"}, ValueError, "disk_limit"),
        ({"disk_limit": -1}, ValueError, "disk_limit"),
        ({"memory_limit": "1MiB"}, ValueError, "spilling"),
    ],
)
def test_options_that_make_no_sense(options, error, text):
    with pytest.raises(error, match=text):
        brimfs.FileSystem(**options)


@pytest.mark.parametrize(
    ("place", "reason"),
    [("missing", "No such file"), ("file", "not a directory"), ("/dev/shm", "lies in memory")],
)
def test_a_spill_directory_that_is_none_is_refused_at_once(tmp_path, place, reason):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=f"{place}.*{reason}"):
        brimfs.FileSystem(memory_limit="8MiB", spill_dir=tmp_path / place)


def test_a_disk_limit_without_room_for_two_segments_is_refused_at_once():
    with pytest.raises(ValueError, match="two segments"):
        brimfs.FileSystem(disk_limit="1MiB")


def test_the_limit_can_change_while_content_is_stored(spilling):
    spilling.set_memory_limit("64MiB")
    files = {f"/{number}": content(number, 400_000) for number in range(100)}
    for path, data in files.items():
        spilling.write_bytes(path, data)
    spilling.set_memory_limit("12MiB")
    stats = spilling.stats()
    assert stats.resident <= stats.memory_limit == 12 << 20
    assert stats.cold_bytes > 20 << 20
    for path, data in files.items():
        assert spilling.read_bytes(path) == data
    with pytest.raises(ValueError, match="limit"):
        spilling.set_memory_limit("lots")
    with pytest.raises(brimfs.MemoryLimitExceeded, match="in use, which is more than 100"):
        spilling.set_memory_limit(100)
    assert spilling.stats().memory_limit == 12 << 20
