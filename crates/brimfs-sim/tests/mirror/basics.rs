//! Opening a tree as it is, changing it, finding it again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use brimfs::{ErrorKind, FileSystem, Layout, XattrMode};

use super::world::{Node, Place, builder, tree_of};

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8 ^ seed).collect()
}

#[test]
fn a_tree_is_opened_as_it_is_and_read_lazily() {
    let place = Place::new();
    place.put("a.txt", "hello");
    place.put("deep/er/b.bin", bytes(3_000_000, 1));
    place.put("empty", "");
    symlink("a.txt", place.path("link")).unwrap();
    fs::create_dir(place.path("nothing")).unwrap();
    let fs = place.open();
    assert_eq!(fs.stats().tier.reads_through + fs.stats().tier.swaps_in, 0);
    assert_eq!(fs.metadata("/deep/er/b.bin").unwrap().len(), 3_000_000);
    assert_eq!(fs.stats().tier.disk.map_or(0, |disk| disk.read), 0);
    assert_eq!(tree_of(&fs), place.tree());
    assert_eq!(fs.read("/link").unwrap(), "hello");
    let mut part = [0; 100];
    fs.open("/deep/er/b.bin")
        .unwrap()
        .read_at(2_000_000, &mut part)
        .unwrap();
    assert_eq!(part[..], bytes(3_000_000, 1)[2_000_000..2_000_100]);
    assert!(fs.external_changes().is_empty());
}

#[test]
fn what_changes_is_on_the_host_after_a_sync() {
    let place = Place::new();
    place.put("keep", "same");
    place.put("change", "old");
    place.put("gone", "x");
    place.put("d/moved", bytes(2_500_000, 2));
    let kept = place.inode("keep");
    let fs = place.open();
    fs.write("/change", "new").unwrap();
    fs.remove_file("/gone").unwrap();
    fs.create_dir_all("/n/e/w").unwrap();
    fs.write("/n/e/w/big", bytes(5_000_001, 3)).unwrap();
    fs.write("/n/little", "").unwrap();
    fs.rename("/d/moved", "/n/moved").unwrap();
    fs.symlink("../change", "/n/link").unwrap();
    assert_eq!(
        place.get("change"),
        b"old",
        "nothing is written before a commit"
    );
    fs.sync().unwrap();
    assert_eq!(tree_of(&fs), place.tree());
    assert_eq!(place.inode("keep"), kept, "what did not change stays");
    let side: Vec<_> = fs::read_dir(place.path(".brimfs"))
        .unwrap()
        .flatten()
        .collect();
    assert!(
        side.iter()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with("t-"))
    );
    fs.close().unwrap();
    let fs = place.open();
    assert!(
        fs.external_changes().is_empty(),
        "{:?}",
        fs.external_changes()
    );
    assert_eq!(tree_of(&fs), place.tree());
}

#[test]
fn side_data_comes_back_with_the_tree() {
    let place = Place::new();
    place.put("a", "abc");
    let fs = place.open();
    fs.set_priority("/a", 8).unwrap();
    fs.set_xattr("/a", "user.x", b"y", XattrMode::Set).unwrap();
    fs.set_permissions("/a", 0o640).unwrap();
    fs.write("/b", bytes(100_000, 9)).unwrap();
    fs.set_permissions("/b", 0o600).unwrap();
    let numbers = ["/a", "/b"].map(|path| fs.metadata(path).unwrap().ino());
    let times = ["/a", "/b"].map(|path| fs.metadata(path).unwrap().modified());
    fs.close().unwrap();
    assert_eq!(
        fs::metadata(place.path("a")).unwrap().permissions().mode() & 0o777,
        0o640
    );
    let fs = place.open();
    assert_eq!(fs.priority("/a").unwrap(), 8);
    assert_eq!(fs.xattr("/a", "user.x").unwrap(), b"y");
    assert_eq!(
        ["/a", "/b"].map(|path| fs.metadata(path).unwrap().ino()),
        numbers
    );
    assert_eq!(
        ["/a", "/b"].map(|path| fs.metadata(path).unwrap().modified()),
        times
    );
    let host = fs::metadata(place.path("b")).unwrap();
    assert_eq!(
        (host.mtime(), host.mtime_nsec() as u32),
        (times[1].seconds, times[1].nanos)
    );
    assert!(fs.external_changes().is_empty());
}

#[test]
fn accesses_come_back_and_the_host_hears_nothing_of_them() {
    let place = Place::new();
    place.put("a", bytes(100_000, 1));
    place.put("b", bytes(100_000, 2));
    let fs = place.open();
    let accesses = |fs: &FileSystem| ["/a", "/b"].map(|path| fs.explain(path).unwrap().accesses);
    (0..12).for_each(|_| drop(fs.read("/a").unwrap()));
    assert_eq!(accesses(&fs), [10, 0]);
    fs.close().unwrap();
    let fs = place.open();
    assert_eq!(accesses(&fs), [10, 0]);
    // The times of a first access are noted.
    fs.read("/b").unwrap();
    fs.sync().unwrap();
    fs.read("/b").unwrap();
    let counted = accesses(&fs);
    assert!(counted[1] > 0);
    // What others do meanwhile is not undone for a count.
    let mode = fs::Permissions::from_mode(0o604);
    fs::set_permissions(place.path("b"), mode).unwrap();
    fs.close().unwrap();
    let host = fs::metadata(place.path("b")).unwrap();
    assert_eq!(host.permissions().mode() & 0o777, 0o604);
    assert_eq!(accesses(&place.open()), counted);
}

#[test]
fn directories_change_places() {
    let place = Place::new();
    for name in ["a/1", "a/in/2", "b/3", "c/4"] {
        place.put(name, name);
    }
    let fs = place.open();
    // All of it in one commit: a and b swap, c goes into a, and a file takes the name of c.
    fs.rename("/a", "/t").unwrap();
    fs.rename("/b", "/a").unwrap();
    fs.rename("/t", "/b").unwrap();
    fs.rename("/c", "/a/c").unwrap();
    fs.write("/c", "a file").unwrap();
    fs.rename("/b/in", "/in").unwrap();
    fs.remove_dir_all("/b").unwrap();
    fs.sync().unwrap();
    assert_eq!(tree_of(&fs), place.tree());
    // A file's name for a directory, and the reverse.
    fs.remove_file("/c").unwrap();
    fs.create_dir("/c").unwrap();
    fs.write("/c/x", "x").unwrap();
    fs.remove_dir_all("/in").unwrap();
    fs.write("/in", "in").unwrap();
    fs.sync().unwrap();
    assert_eq!(tree_of(&fs), place.tree());
    fs.close().unwrap();
    let fs = place.open();
    assert!(fs.external_changes().is_empty());
    assert_eq!(tree_of(&fs), place.tree());
}

#[test]
fn hard_links_are_hard_links_of_the_host() {
    let place = Place::new();
    place.put("a", bytes(5000, 1));
    fs::hard_link(place.path("a"), place.path("b")).unwrap();
    let fs = place.open();
    assert_eq!(
        fs.metadata("/a").unwrap().ino(),
        fs.metadata("/b").unwrap().ino()
    );
    fs.hard_link("/a", "/c").unwrap();
    fs.sync().unwrap();
    assert_eq!(place.inode("a"), place.inode("c"));
    fs.write("/b", bytes(6000, 2)).unwrap();
    fs.sync().unwrap();
    assert_eq!(place.inode("a"), place.inode("b"));
    assert_eq!(place.inode("a"), place.inode("c"));
    assert_eq!(place.get("c"), bytes(6000, 2));
    fs.remove_file("/a").unwrap();
    fs.close().unwrap();
    let fs = place.open();
    assert!(
        fs.external_changes().is_empty(),
        "{:?}",
        fs.external_changes()
    );
    assert_eq!(fs.metadata("/b").unwrap().nlink(), 2);
    assert_eq!(tree_of(&fs), place.tree());
}

#[test]
fn a_file_that_lost_its_name_is_read_as_long_as_it_is_open() {
    let place = Place::new();
    place.put("big", bytes(4_000_000, 5));
    place.put("small", bytes(3000, 6));
    let fs = place.open();
    let (big, small) = (fs.open("/big").unwrap(), fs.open("/small").unwrap());
    fs.remove_file("/big").unwrap();
    fs.remove_file("/small").unwrap();
    fs.sync().unwrap();
    assert!(place.tree().is_empty());
    let mut found = vec![0; 4_000_000];
    assert_eq!(big.read_at(0, &mut found).unwrap(), 4_000_000);
    assert_eq!(found, bytes(4_000_000, 5));
    assert_eq!(small.read_at(0, &mut found).unwrap(), 3000);
    assert_eq!(found[..3000], bytes(3000, 6));
}

#[test]
fn a_copy_outlives_its_original() {
    let place = Place::new();
    place.put("a", bytes(4_000_000, 5));
    let fs = place.open();
    fs.copy("/a", "/b").unwrap();
    fs.write("/a", "short").unwrap();
    fs.sync().unwrap();
    assert_eq!(tree_of(&fs), place.tree());
    assert_eq!(place.get("b"), bytes(4_000_000, 5));
}

#[test]
fn a_part_of_a_large_file_changes() {
    let place = Place::new();
    let mut expected = bytes(10 << 20, 7);
    place.put("big", &expected);
    let fs = place.open();
    let file = brimfs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fs, "/big")
        .unwrap();
    for at in [0, 1_048_570, 7_000_000] {
        file.write_at(at, b"changed").unwrap();
        expected[at as usize..at as usize + 7].copy_from_slice(b"changed");
        fs.sync().unwrap();
        assert!(place.get("big") == expected, "{at}");
    }
    drop(file);
    assert!(fs.read("/big").unwrap() == expected[..]);
}

#[test]
fn files_larger_than_memory_go_to_the_host() {
    let place = Place::new();
    let fs = builder().memory_limit(16 << 20).open(place.root()).unwrap();
    let file = fs.create("/large").unwrap();
    let piece = bytes(1 << 20, 3);
    for at in 0..40 {
        file.write_at(at << 20, &piece).unwrap();
    }
    drop(file);
    fs.write("/other", piece.clone()).unwrap();
    fs.sync().unwrap();
    assert_eq!(fs::metadata(place.path("large")).unwrap().len(), 40 << 20);
    assert!(place.get("large").chunks(1 << 20).all(|part| part == piece));
    let mut found = vec![0; 1 << 20];
    let file = fs.open("/large").unwrap();
    for at in (0..40).rev() {
        file.read_at(at << 20, &mut found).unwrap();
        assert!(found == piece, "{at}");
    }
}

#[test]
fn holes_stay_holes() {
    let place = Place::new();
    let fs = place.open();
    let file = fs.create("/sparse").unwrap();
    file.write_at(50 << 20, b"end").unwrap();
    drop(file);
    fs.close().unwrap();
    let host = fs::metadata(place.path("sparse")).unwrap();
    assert_eq!(host.len(), (50 << 20) + 3);
    assert!(host.blocks() * 512 < 4 << 20, "{}", host.blocks());
}

#[test]
fn one_at_a_time_and_readers_change_nothing() {
    let place = Place::new();
    place.put("a", "abc");
    let reader = builder().read_only(true).open(place.root()).unwrap();
    assert!(
        !place.path(".brimfs").exists(),
        "reading leaves nothing behind"
    );
    assert_eq!(reader.read("/a").unwrap(), "abc");
    assert_eq!(
        reader.write("/a", "x").unwrap_err().kind(),
        ErrorKind::ReadOnly
    );
    drop(reader);
    let fs = place.open();
    let error = builder().open(place.root()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreInUse, "{error}");
    fs.write("/b", "b").unwrap();
    fs.close().unwrap();
    let reader = builder().read_only(true).open(place.root()).unwrap();
    assert_eq!(tree_of(&reader), place.tree());
}

#[test]
fn layouts_are_not_mixed_up() {
    let place = Place::new();
    place.open().close().unwrap();
    let segments = FileSystem::builder().memory_limit(64 << 20);
    let error = segments.clone().open(place.root()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let error = segments.clone().open(place.path(".brimfs")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let other = Place::new();
    segments
        .clone()
        .open(other.root())
        .unwrap()
        .close()
        .unwrap();
    let error = segments
        .layout(Layout::Mirror)
        .open(other.root())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn the_name_of_the_side_directory_is_taken() {
    let place = Place::new();
    let fs = place.open();
    fs.write("/a", "a").unwrap();
    for error in [
        fs.write("/.brimfs", "x").unwrap_err(),
        fs.create_dir("/.brimfs").unwrap_err(),
        fs.rename("/a", "/.brimfs").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    }
    fs.create_dir("/d").unwrap();
    fs.write("/d/.brimfs", "below it is a name like any other")
        .unwrap();
    fs.sync().unwrap();
    assert_eq!(tree_of(&fs), place.tree());
}

#[test]
fn sockets_and_pipes_are_passed_over() {
    let place = Place::new();
    place.put("a", "a");
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    let fs = place.open();
    assert_eq!(fs.external_changes().skipped, 1);
    assert_eq!(tree_of(&fs).keys().collect::<Vec<_>>(), ["/a"]);
    assert_eq!(tree_of(&fs)["/a"], Node::File(b"a".to_vec()));
    fs.write("/a", "b").unwrap();
    fs.close().unwrap();
    assert!(place.path("socket").exists());
}
