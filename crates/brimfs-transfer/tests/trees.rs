//! Trees of the host, in and out.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use brimfs::ErrorKind;
use brimfs_transfer::{
    Conflict, ExportOptions, ImportOptions, Limits, Links, Transferred, export_tree, import_tree,
};
use common::filesystem;

fn host() -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir_all(host.path().join("d/e")).unwrap();
    fs::write(host.path().join("d/a"), vec![3; 2_500_000]).unwrap();
    fs::write(host.path().join("d/e/b"), "b").unwrap();
    fs::set_permissions(host.path().join("d/a"), fs::Permissions::from_mode(0o4750)).unwrap();
    host
}

fn into(conflict: Conflict, links: Links) -> ExportOptions {
    ExportOptions {
        conflict,
        links,
        ..ExportOptions::default()
    }
}

#[test]
fn a_tree_goes_in_and_comes_out_the_same() {
    let (host, fs) = (host(), filesystem());
    for atomic in [true, false] {
        let options = ImportOptions {
            atomic,
            ..ImportOptions::default()
        };
        let done = import_tree(
            &fs,
            host.path(),
            "/in",
            &options,
            &mut |_, _| true,
            &mut |_| true,
        );
        let expected = Transferred {
            files: 2,
            directories: 2,
            bytes: 2_500_001,
            ..Transferred::default()
        };
        assert_eq!(done.unwrap(), expected);
        let known = fs.metadata("/in/d/a").unwrap();
        let there = fs::metadata(host.path().join("d/a")).unwrap();
        assert_eq!((known.mode(), known.len()), (0o750, 2_500_000));
        let modified = known.modified();
        assert_eq!(
            (modified.seconds, i64::from(modified.nanos)),
            (there.mtime(), there.mtime_nsec())
        );
        let out = tempfile::tempdir().unwrap();
        let options = into(Conflict::Raise, Links::Reject);
        let to = out.path().join("new");
        let done = export_tree(&fs, "/in", &to, &options, &mut |_, _| true, &mut |_| true);
        assert_eq!(done.unwrap(), expected);
        assert_eq!(fs::read(to.join("d/a")).unwrap(), vec![3; 2_500_000]);
        let copy = fs::metadata(to.join("d/a")).unwrap();
        assert_eq!(
            (copy.mtime_nsec(), copy.mode() & 0o7777),
            (there.mtime_nsec(), 0o750)
        );
        fs.remove_dir_all("/in").unwrap();
    }
    fs.audit().unwrap();
}

#[test]
fn filters_and_changes_decide_what_is_copied() {
    let (host, fs) = (host(), filesystem());
    let options = ImportOptions::default();
    let mut asked = Vec::new();
    let mut filter = |path: &[u8], is_directory| {
        asked.push((path.to_vec(), is_directory));
        path != b"d/e"
    };
    import_tree(&fs, host.path(), "/in", &options, &mut filter, &mut |_| {
        true
    })
    .unwrap();
    assert_eq!(
        asked,
        [
            (b"d".to_vec(), true),
            (b"d/a".to_vec(), false),
            (b"d/e".to_vec(), true)
        ]
    );
    assert!(!fs.exists("/in/d/e"));
    let changed = ExportOptions {
        changed_only: true,
        ..into(Conflict::Overwrite, Links::Reject)
    };
    for (write, files) in [(false, 0), (true, 1), (false, 0)] {
        if write {
            fs.write_slice("/in/d/a", b"new").unwrap();
        }
        let done = export_tree(
            &fs,
            "/in",
            host.path(),
            &changed,
            &mut |_, _| true,
            &mut |_| true,
        );
        assert_eq!(done.unwrap().files, files);
    }
    assert_eq!(fs::read(host.path().join("d/a")).unwrap(), b"new");
    assert_eq!(fs::read(host.path().join("d/e/b")).unwrap(), b"b");
    let options = into(Conflict::Raise, Links::Reject);
    let done = export_tree(
        &fs,
        "/in",
        host.path(),
        &options,
        &mut |_, _| true,
        &mut |_| true,
    );
    assert_eq!(done.unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn nothing_leaves_through_a_link() {
    let (host, fs) = (host(), filesystem());
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), "outside").unwrap();
    symlink(outside.path(), host.path().join("l")).unwrap();
    symlink(outside.path().join("x"), host.path().join("f")).unwrap();
    for (links, kind) in [
        (Links::Reject, ErrorKind::UnsafeArchive),
        (Links::Keep, ErrorKind::UnsafeArchive),
    ] {
        let options = ImportOptions {
            links,
            ..ImportOptions::default()
        };
        let done = import_tree(
            &fs,
            host.path(),
            "/in",
            &options,
            &mut |_, _| true,
            &mut |_| true,
        );
        assert_eq!(done.unwrap_err().kind(), kind);
        assert!(!fs.exists("/in"));
    }
    let options = ImportOptions {
        links: Links::Skip,
        ..ImportOptions::default()
    };
    let done = import_tree(
        &fs,
        host.path(),
        "/in",
        &options,
        &mut |_, _| true,
        &mut |_| true,
    );
    assert_eq!(done.unwrap().skipped, 2);
    // Out again, where links are in the way.
    fs.create_dir("/in/l").unwrap();
    fs.write_slice("/in/l/x", b"inside").unwrap();
    let options = into(Conflict::Overwrite, Links::Reject);
    let done = export_tree(
        &fs,
        "/in",
        host.path(),
        &options,
        &mut |_, _| true,
        &mut |_| true,
    );
    assert_eq!(done.unwrap_err().kind(), ErrorKind::NotADirectory);
    fs.remove_dir_all("/in/l").unwrap();
    fs.write_slice("/in/f", b"inside").unwrap();
    export_tree(
        &fs,
        "/in",
        host.path(),
        &options,
        &mut |_, _| true,
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(fs::read(outside.path().join("x")).unwrap(), b"outside");
    assert_eq!(fs::read(host.path().join("f")).unwrap(), b"inside");
    fs.symlink("/etc/passwd", "/in/s").unwrap();
    let keep = into(Conflict::Overwrite, Links::Keep);
    let done = export_tree(
        &fs,
        "/in",
        host.path(),
        &keep,
        &mut |_, _| true,
        &mut |_| true,
    );
    assert_eq!(done.unwrap_err().kind(), ErrorKind::UnsafeArchive);
    assert!(!host.path().join("s").exists());
    fs.audit().unwrap();
}

#[test]
fn links_inside_are_kept_on_request() {
    let (host, fs) = (host(), filesystem());
    symlink("d/a", host.path().join("l")).unwrap();
    let options = ImportOptions {
        links: Links::Keep,
        ..ImportOptions::default()
    };
    import_tree(
        &fs,
        host.path(),
        "/in",
        &options,
        &mut |_, _| true,
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(fs.read_link("/in/l").unwrap(), b"d/a");
    let keep = into(Conflict::Overwrite, Links::Keep);
    let out = tempfile::tempdir().unwrap();
    export_tree(&fs, "/in", out.path(), &keep, &mut |_, _| true, &mut |_| {
        true
    })
    .unwrap();
    assert_eq!(
        fs::read_link(out.path().join("l")).unwrap().to_str(),
        Some("d/a")
    );
}

#[test]
fn who_cancels_or_fails_leaves_nothing_half_made() {
    let (host, fs) = (host(), filesystem());
    let options = ImportOptions::default();
    let mut calls = 0;
    let mut report = |_: &brimfs_transfer::Progress<'_>| {
        calls += 1;
        calls < 3
    };
    let done = import_tree(
        &fs,
        host.path(),
        "/x/in",
        &options,
        &mut |_, _| true,
        &mut report,
    );
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(fs.read_dir("/").unwrap().count(), 0);
    let limits = Limits {
        entries: 3,
        ..Limits::default()
    };
    let limited = ImportOptions { limits, ..options };
    let done = import_tree(
        &fs,
        host.path(),
        "/x/in",
        &limited,
        &mut |_, _| true,
        &mut |_| true,
    );
    assert_eq!(done.unwrap_err().kind(), ErrorKind::ArchiveLimit);
    let missing = host.path().join("missing");
    let done = import_tree(&fs, &missing, "/x", &options, &mut |_, _| true, &mut |_| {
        true
    });
    assert_eq!(done.unwrap_err().kind(), ErrorKind::NotFound);
    import_tree(
        &fs,
        host.path(),
        "/in",
        &options,
        &mut |_, _| true,
        &mut |_| true,
    )
    .unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut calls = 0;
    let mut report = |_: &brimfs_transfer::Progress<'_>| {
        calls += 1;
        calls < 3
    };
    let options = into(Conflict::Raise, Links::Reject);
    let done = export_tree(
        &fs,
        "/in",
        out.path(),
        &options,
        &mut |_, _| true,
        &mut report,
    );
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(fs::read_dir(out.path().join("d")).unwrap().count(), 0);
    fs.audit().unwrap();
}
