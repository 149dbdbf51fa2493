//! A tree 100,000 directories deep, on a small stack: nothing recurses on depth.
#![cfg(not(feature = "shuttle"))]

use brimfs::FileSystem;

const DEPTH: usize = 100_000;
/// A recursion needs some 100 bytes a level even optimised: this is room for 2,600 levels.
const STACK_BYTES: usize = 256 << 10;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let thread = thread.spawn(test).expect("a thread can be started");
    thread.join().expect("the test passes");
}

fn filesystem() -> FileSystem {
    // A budget of its own: other tests run meanwhile.
    FileSystem::builder()
        .memory_limit(1 << 30)
        .build()
        .expect("a filesystem")
}

/// `/top/d/d/…/d` with a file at the end.
fn deep_tree() -> (FileSystem, Vec<u8>) {
    let fs = filesystem();
    let path = format!("/top{}", "/d".repeat(DEPTH - 1));
    fs.create_dir_all(&path).expect("a deep tree");
    fs.write(format!("{path}/file"), &b"deep down"[..])
        .expect("a file at the end");
    (fs, path.into_bytes())
}

#[test]
fn a_deep_tree_is_created_walked_copied_renamed_and_removed() {
    on_a_small_stack(|| {
        let (fs, path) = deep_tree();
        let empty = filesystem().stats().resident;
        assert_eq!(fs.stats().directories, DEPTH as u64 + 1);

        let mut depth = 0;
        let mut entries = 0;
        for entry in fs.walk("/top").expect("a walk") {
            entries += 1;
            depth = depth.max(entry.depth());
        }
        assert_eq!((entries, depth), (DEPTH + 1, DEPTH));

        fs.copy_dir_all("/top", "/copy").expect("a copy");
        assert_eq!(fs.stats().directories, 2 * DEPTH as u64 + 1);
        assert_eq!(fs.stats().quota_used, 9, "the copy shares the content");

        fs.rename("/copy", "/renamed").expect("a rename");
        let below = [b"/renamed", &path[4..], b"/file"].concat();
        assert_eq!(
            fs.read(&below).expect("the copied file").as_ref(),
            b"deep down"
        );
        let inside = [&path[..], b"/inside"].concat();
        let into_itself = fs.rename("/top", &inside).expect_err("into itself");
        assert_eq!(into_itself.kind(), brimfs::ErrorKind::InvalidArgument);
        assert_eq!(fs.canonicalize(&path).expect("a path"), path);
        fs.audit().expect("a clean audit");

        fs.remove_dir_all("/top").expect("removal");
        fs.remove_dir_all("/renamed").expect("removal");
        fs.clear_caches();
        let stats = fs.stats();
        assert_eq!((stats.nodes, stats.quota_used), (1, 0));
        assert_eq!(stats.resident, empty);
    });
}

#[test]
fn a_filesystem_is_dropped_with_a_deep_tree_in_it() {
    on_a_small_stack(|| {
        let (fs, _) = deep_tree();
        drop(fs);
    });
}

#[test]
fn a_deep_tree_is_dropped_by_the_last_handle() {
    on_a_small_stack(|| {
        let (fs, path) = deep_tree();
        let file = fs.open([&path[..], b"/file"].concat()).expect("a handle");
        drop(fs);
        assert_eq!(file.len(), 9);
    });
}
