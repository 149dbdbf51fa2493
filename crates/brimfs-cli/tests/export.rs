//! `brimfs export`: what arrives, and what is left alone.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use common::{MIB, Store, brimfs, failure, noise, said};
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_whole_store_arrives_as_it_is() {
    let store = Store::usual();
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("new");
    let told = said(&["export", store.name(), text(&target)]);
    assert!(
        told.starts_with(
            "Copied 5 files (10.5 MiB), 2 directories, 2 symbolic links, 1 hard link to "
        ),
        "{told}"
    );
    let first = target.join("docs/a.txt");
    assert_eq!(
        std::fs::read(&first).unwrap(),
        b"first line\nno newline at the end"
    );
    let known = first.metadata().unwrap();
    assert_eq!(known.mode() & 0o7777, 0o640);
    assert_eq!((known.mtime(), known.mtime_nsec()), (981_173_106, 7));
    assert_eq!(known.nlink(), 2);
    assert_eq!(
        known.ino(),
        target.join("second name").metadata().unwrap().ino()
    );
    assert_eq!(
        std::fs::read_link(target.join("link")).unwrap(),
        Path::new("docs/a.txt")
    );
    assert_eq!(
        std::fs::read_link(target.join("dangling")).unwrap(),
        Path::new("/nowhere")
    );
    let deep = target.join("docs/deep");
    assert_eq!(deep.metadata().unwrap().mode() & 0o7777, 0o500);
    assert!(std::fs::read(deep.join("large")).unwrap() == noise(5 * MIB / 2, 1));
    assert_eq!(
        std::fs::read(target.join(OsStr::from_bytes(b"b\xffd"))).unwrap(),
        b"bytes"
    );
    let holes = std::fs::read(target.join("holes")).unwrap();
    assert_eq!(holes.len(), 8 * MIB);
    assert_eq!(&holes[4 * MIB..4 * MIB + 6], b"middle");
    assert_eq!(holes.iter().filter(|byte| **byte != 0).count(), 6);
    assert!(target.join("holes").metadata().unwrap().blocks() * 512 < 2 * MIB as u64);
}

#[test]
fn a_part_or_a_file_goes_into_the_directory() {
    let store = Store::usual();
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("part");
    said(&["export", store.name(), "/docs", text(&target)]);
    assert!(target.join("a.txt").exists());
    let target = place.path().join("file");
    let told = said(&[
        "export",
        "--json",
        store.name(),
        "/docs/a.txt",
        text(&target),
    ]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["files"], 1);
    assert_eq!(std::fs::read(target.join("a.txt")).unwrap().len(), 32);
    let target = place.path().join("none");
    let errors = failure(&["export", store.name(), "/missing", text(&target)]);
    assert!(
        errors.contains("\"/missing\": no such file or directory"),
        "{errors}"
    );
    assert!(!target.exists());
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let store = Store::usual();
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("empty"), "mine").unwrap();
    std::fs::write(place.path().join("other"), "mine too").unwrap();
    let before = place.path().metadata().unwrap().mode();
    let errors = failure(&["export", store.name(), text(place.path())]);
    assert!(
        errors.contains("the directory is not empty; --force"),
        "{errors}"
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
    said(&["export", "--force", store.name(), text(place.path())]);
    assert_eq!(std::fs::read(place.path().join("empty")).unwrap(), b"");
    assert_eq!(
        std::fs::read(place.path().join("other")).unwrap(),
        b"mine too"
    );
    assert_eq!(place.path().metadata().unwrap().mode(), before);
    // Once more over what is there now.
    said(&["export", "--force", store.name(), text(place.path())]);
    assert_eq!(
        std::fs::read(place.path().join("docs/a.txt"))
            .unwrap()
            .len(),
        32
    );
}

#[test]
fn links_in_the_directory_lead_nowhere() {
    let store = Store::usual();
    let place = tempfile::tempdir().unwrap();
    let (target, outside) = (place.path().join("target"), place.path().join("outside"));
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    std::fs::create_dir(&target).unwrap();
    std::fs::write(outside.join("kept"), "kept").unwrap();
    symlink(&outside, target.join("docs")).unwrap();
    symlink(outside.join("kept"), target.join("empty")).unwrap();
    said(&["export", "--force", store.name(), text(&target)]);
    assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"kept");
    assert_eq!(std::fs::read_dir(outside.join("deep")).unwrap().count(), 0);
    assert!(target.join("docs").symlink_metadata().unwrap().is_dir());
    assert!(target.join("docs/a.txt").exists());
}

#[test]
fn nobody_becomes_somebody_else_by_an_exported_file() {
    let store = Store::with(|fs| {
        fs.write("/tool", "#!").unwrap();
        fs.set_permissions("/tool", 0o6755).unwrap();
    });
    let place = tempfile::tempdir().unwrap();
    said(&["export", store.name(), text(place.path())]);
    let mode = place
        .path()
        .join("tool")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn a_damaged_file_is_said_and_the_others_arrive() {
    let store = Store::usual();
    let (file, at) = store.find(&noise(5 * MIB / 2, 1)[MIB..MIB + 64]);
    Store::flip(&file, at);
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("new");
    let output = brimfs(&["export", store.name(), text(&target)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.starts_with("brimfs: /docs/deep/large: the stored data is damaged"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(!target.join("docs/deep/large").exists());
    assert!(target.join("docs/a.txt").exists());
    assert!(target.join("holes").exists());
}

#[test]
fn the_store_itself_is_no_place_to_export_to() {
    let store = Store::usual();
    let inside = store.path().join("inside");
    for target in [text(store.path()), text(&inside)] {
        let errors = failure(&["export", "--force", store.name(), target]);
        assert!(errors.contains("lies in the store itself"), "{errors}");
    }
    assert!(!inside.exists());
}
