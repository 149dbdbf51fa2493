//! What is packed comes out the same, and counters are right whatever happens on the way.

mod common;

use std::collections::BTreeMap;
use std::io::Read;

use brimfs::{ErrorKind, FileSystem};
use brimfs_transfer::{
    ArchiveOptions, Conflict, ExtractOptions, Format, Limits, Links, Source, Target, archive,
    extract,
};
use common::filesystem;
use proptest::prelude::*;

type Tree = BTreeMap<Vec<String>, Option<Vec<u8>>>;

/// Names mapped to content, or to nothing for directories; none lies below a file.
fn trees() -> impl Strategy<Value = Tree> {
    let name = prop_oneof![
        "[a-c]{1,2}",
        "[ -.0-~äß]{1,90}".prop_filter("dots", |name| {
            name != "."
                && name != ".."
                && !name.contains('\\')
                && name.as_bytes().get(1) != Some(&b':')
        })
    ];
    let content = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..2000),
        1 => (0..3usize << 20, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let node = (prop::collection::vec(name, 1..5), prop::option::of(content));
    prop::collection::vec(node, 0..12).prop_map(|nodes| {
        let mut tree = Tree::new();
        for (path, content) in nodes {
            let blocked =
                (1..=path.len()).any(|len| matches!(tree.get(&path[..len]), Some(Some(_))));
            let has_below = tree.keys().any(|known| known.starts_with(&path));
            if !(blocked || content.is_some() && has_below) {
                for len in 1..path.len() {
                    tree.entry(path[..len].to_vec()).or_insert(None);
                }
                tree.insert(path, content);
            }
        }
        tree
    })
}

fn grow(fs: &FileSystem, root: &str, tree: &Tree) {
    for (path, content) in tree {
        let path = format!("{root}/{}", path.join("/"));
        match content {
            Some(content) => fs.write_slice(&path, content).unwrap(),
            None => fs.create_dir_all(&path).unwrap(),
        }
    }
}

fn look(fs: &FileSystem, root: &str) -> Tree {
    let below = |path: &[u8]| {
        let path = str::from_utf8(path).unwrap();
        path[root.len() + 1..]
            .split('/')
            .map(str::to_owned)
            .collect()
    };
    let walk = fs.walk(root).unwrap().filter(|entry| entry.depth() > 0);
    walk.map(|entry| {
        let content = entry
            .metadata()
            .is_file()
            .then(|| fs.read(entry.path()).unwrap().to_vec());
        (below(entry.path()), content)
    })
    .collect()
}

fn unlimited() -> ExtractOptions {
    let limits = Limits {
        ratio: f64::INFINITY,
        ..Limits::default()
    };
    ExtractOptions {
        limits,
        links: Links::Keep,
        ..ExtractOptions::default()
    }
}

/// A stream that gives little at a time.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let len = to.len().min(1000);
        self.0.read(&mut to[..len])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_format_gives_back_what_it_took(tree in trees(), atomic: bool) {
        let fs = filesystem();
        fs.create_dir("/tree").unwrap();
        grow(&fs, "/tree", &tree);
        for format in Format::ALL {
            let mut bytes = Vec::new();
            let options = ArchiveOptions { format: Some(*format), level: Some(1), ..Default::default() };
            let packed = archive(&fs, &[b"/tree"], Target::Stream(&mut bytes), &options, &mut |_| true).unwrap();
            let options = ExtractOptions { atomic, ..unlimited() };
            let mut stream = Dribble(&bytes);
            let sources = [
                Source::Bytes(bytes.clone().into()),
                Source::Stream(&mut stream),
            ];
            for source in sources {
                let done = extract(&fs, source, "/out", &options, &mut |_| true).unwrap();
                prop_assert_eq!(done, packed);
                prop_assert_eq!(&look(&fs, "/out/tree"), &tree);
                let times = |path: &str| fs.metadata(path).unwrap().modified().seconds;
                prop_assert_eq!(times("/out/tree"), times("/tree"));
                fs.remove_dir_all("/out").unwrap();
            }
        }
        fs.audit().unwrap();
    }

    #[test]
    fn a_full_quota_leaves_everything_as_it_was(tree in trees(), short in 1u64..5000, atomic: bool) {
        let source = filesystem();
        source.create_dir("/tree").unwrap();
        grow(&source, "/tree", &tree);
        let stored = source.stats().quota_used;
        prop_assume!(stored >= short);
        for format in [Format::Zip, Format::TarZst] {
            let mut bytes = Vec::new();
            let options = ArchiveOptions { format: Some(format), level: Some(1), ..Default::default() };
            archive(&source, &[b"/tree"], Target::Stream(&mut bytes), &options, &mut |_| true).unwrap();
            let fs = FileSystem::builder().memory_limit(1 << 30).quota(stored - short).build().unwrap();
            let options = ExtractOptions { atomic, ..unlimited() };
            let done = extract(&fs, Source::Bytes(bytes.into()), "/a/b/out", &options, &mut |_| true);
            let error = done.unwrap_err();
            prop_assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
            prop_assert!(error.path().unwrap().starts_with(b"/a/b/out/"), "{}", error);
            if atomic {
                prop_assert_eq!(fs.stats().quota_used, 0);
                prop_assert!(!fs.exists("/a"));
            }
            fs.audit().unwrap();
        }
    }

    #[test]
    fn what_was_there_stays_if_one_name_is_taken(tree in trees(), taken: prop::sample::Index) {
        let files: Vec<_> = tree.iter().filter(|(_, content)| content.is_some()).collect();
        prop_assume!(!files.is_empty());
        let path = files[taken.index(files.len())].0.join("/");
        let fs = filesystem();
        fs.create_dir("/tree").unwrap();
        grow(&fs, "/tree", &tree);
        let mut bytes = Vec::new();
        let options = ArchiveOptions { format: Some(Format::Tar), ..Default::default() };
        archive(&fs, &[b"/tree"], Target::Stream(&mut bytes), &options, &mut |_| true).unwrap();
        let there = format!("/out/tree/{path}");
        fs.create_dir_all(&there[..there.rfind('/').unwrap()]).unwrap();
        fs.write_slice(&there, b"there before").unwrap();
        let before = look(&fs, "/out");
        for conflict in [Conflict::Raise, Conflict::Skip, Conflict::Overwrite] {
            let options = ExtractOptions { conflict, ..unlimited() };
            let done = extract(&fs, Source::Bytes(bytes.clone().into()), "/out", &options, &mut |_| true);
            if conflict == Conflict::Raise {
                prop_assert_eq!(done.unwrap_err().kind(), ErrorKind::AlreadyExists);
                prop_assert_eq!(&look(&fs, "/out"), &before);
                continue;
            }
            done.unwrap();
            let mut now = look(&fs, "/out/tree");
            if conflict == Conflict::Skip {
                prop_assert_eq!(fs.read(&there).unwrap(), &b"there before"[..]);
                now.insert(files[taken.index(files.len())].0.clone(), files[taken.index(files.len())].1.clone());
            }
            prop_assert_eq!(&now, &tree);
        }
        fs.audit().unwrap();
    }
}

#[test]
fn links_are_kept_as_they_are() {
    let fs = filesystem();
    fs.create_dir("/d").unwrap();
    fs.write_slice("/d/a", b"1").unwrap();
    fs.symlink("a", "/d/l").unwrap();
    for format in Format::ALL {
        let mut bytes = Vec::new();
        let mut options = ArchiveOptions {
            format: Some(*format),
            ..Default::default()
        };
        archive(
            &fs,
            &[b"/d"],
            Target::Stream(&mut bytes),
            &options,
            &mut |_| true,
        )
        .unwrap();
        extract(
            &fs,
            Source::Bytes(bytes.into()),
            "/out",
            &unlimited(),
            &mut |_| true,
        )
        .unwrap();
        assert_eq!(fs.read_link("/out/d/l").unwrap(), b"a");
        fs.remove_dir_all("/out").unwrap();
        options.links = Links::Reject;
        let mut bytes = Vec::new();
        let done = archive(
            &fs,
            &[b"/d"],
            Target::Stream(&mut bytes),
            &options,
            &mut |_| true,
        );
        assert_eq!(done.unwrap_err().kind(), ErrorKind::UnsafeArchive);
    }
}

#[test]
fn whoever_cancels_leaves_nothing_behind() {
    let fs = filesystem();
    fs.create_dir("/d").unwrap();
    for n in 0..20 {
        fs.write_slice(format!("/d/{n}"), &vec![n; 200_000])
            .unwrap();
    }
    let quota = fs.stats().quota_used;
    let mut calls = 0;
    let mut report = |_: &brimfs_transfer::Progress<'_>| {
        calls += 1;
        calls < 5
    };
    let target = Target::File(b"/d.zip");
    let error = archive(
        &fs,
        &[b"/d"],
        target,
        &ArchiveOptions::default(),
        &mut report,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(fs.read_dir("/").unwrap().count(), 1);
    // Of a zip other threads unpack too, perhaps all of it: then the caller is told once, at the end.
    for (name, told) in [("/d.zip", 1), ("/d.tar", 3)] {
        let target = Target::File(name.as_bytes());
        archive(
            &fs,
            &[b"/d"],
            target,
            &ArchiveOptions::default(),
            &mut |_| true,
        )
        .unwrap();
        let mut seen = Vec::new();
        let source = Source::File(fs.open(name).unwrap());
        let error = extract(&fs, source, "/out", &unlimited(), &mut |progress| {
            seen.push((progress.entries, progress.bytes));
            seen.len() < told
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(seen.is_sorted() && seen.len() == told, "{seen:?}");
        fs.remove_file(name).unwrap();
        assert_eq!(fs.read_dir("/").unwrap().count(), 1);
    }
    assert_eq!(fs.stats().quota_used, quota);
    fs.audit().unwrap();
}

#[test]
fn an_archive_leaves_itself_out() {
    let fs = filesystem();
    fs.write_slice("/a", b"1").unwrap();
    for _ in 0..2 {
        let done = archive(
            &fs,
            &[b"/"],
            Target::File(b"/all.tar.gz"),
            &ArchiveOptions::default(),
            &mut |_| true,
        );
        assert_eq!(done.unwrap().files, 1);
    }
    let paths: [&[u8]; 2] = [b"/a", b"/./a"];
    let target = Target::File(b"/b.zip");
    let error = archive(&fs, &paths, target, &ArchiveOptions::default(), &mut |_| {
        true
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    fs.audit().unwrap();
}
