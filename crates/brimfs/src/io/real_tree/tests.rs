//! What the calls on a tree of this machine do, and where they do not lead.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::open_tree;
use crate::io::tree::{Attributes, TreeKind};

/// As for directories: what the kernel shows of processes cannot be made durable, and whoever asks hears of that.
#[test]
fn the_system_is_asked_to_make_durable() {
    let refused = |done: io::Result<()>| {
        let error = done.expect_err("nothing there is durable");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    };
    let process = open_tree(Path::new("/proc/self"), false).expect("a process sees itself");
    refused(process.sync(b""));
    refused(process.sync(b"task"));
    refused(process.open(b"comm").expect("its name").sync());
    // Where a control group can be made, the side directory is one, whose name cannot be durable.
    for above in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new) {
        let group = above.join(format!("brimfs-tree-{}", std::process::id()));
        if !above.join("cgroup.procs").exists() || fs::create_dir(&group).is_err() {
            continue;
        }
        let tree = open_tree(&group, false).expect("a directory");
        let made = tree.side(true);
        drop(fs::remove_dir(group.join(".brimfs")));
        fs::remove_dir(&group).expect("it is empty");
        return refused(made.map(drop));
    }
    println!("SKIPPED: no control group can be made here");
}

#[test]
fn nothing_leads_out_of_the_tree() {
    let outer = tempfile::tempdir().expect("a directory");
    let (root, outside) = (outer.path().join("tree"), outer.path().join("outside"));
    for directory in [&root, &outside] {
        fs::create_dir(directory).expect("made");
    }
    fs::write(outside.join("secret"), "x").expect("written");
    fs::write(root.join("mine"), "y").expect("written");
    symlink(&outside, root.join("way")).expect("linked");
    symlink(outside.join("secret"), root.join("link")).expect("linked");
    symlink("../outside", root.join("up")).expect("linked");
    let tree = open_tree(&root, false).expect("a directory");
    let nothing = Attributes {
        mode: 0o777,
        owner: (0, 0),
        modified: None,
    };
    for path in [
        &b"way/secret"[..],
        b"up/secret",
        b"../outside/secret",
        b"way/../outside/secret",
        b"..",
        b"/etc/passwd",
        b"way/",
        b"./mine",
        b"mine\0",
    ] {
        let name = String::from_utf8_lossy(path);
        assert!(tree.open(path).is_err(), "{name}");
        assert!(tree.create(path).is_err(), "{name}");
        assert!(tree.stat(path).is_err(), "{name}");
        assert!(tree.list(path).is_err(), "{name}");
        assert!(tree.remove(path).is_err(), "{name}");
        assert!(tree.remove_directory(path).is_err(), "{name}");
        assert!(tree.make_directory(path, 0o700).is_err(), "{name}");
        assert!(tree.symlink(b"mine", path).is_err(), "{name}");
        assert!(tree.link(b"mine", path).is_err(), "{name}");
        assert!(tree.link(path, b"new").is_err(), "{name}");
        assert!(tree.rename(b"mine", path).is_err(), "{name}");
        assert!(tree.rename(path, b"new").is_err(), "{name}");
        assert!(tree.set_attributes(path, &nothing).is_err(), "{name}");
        assert!(tree.sync(path).is_err(), "{name}");
    }
    // A link itself is a name like any other, and leads nowhere.
    assert_eq!(tree.stat(b"link").expect("there").kind, TreeKind::Symlink);
    assert!(tree.open(b"link").is_err());
    assert!(tree.create(b"link").is_err());
    assert!(tree.list(b"way").is_err());
    assert!(tree.set_attributes(b"link", &nothing).is_err());
    tree.rename(b"mine", b"link").expect("the link is replaced");
    assert_eq!(fs::read(root.join("link")).expect("there"), b"y");
    tree.remove(b"way").expect("the link is removed");
    let names: Vec<_> = fs::read_dir(&outside).expect("there").flatten().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(fs::read(outside.join("secret")).expect("there"), b"x");
}
