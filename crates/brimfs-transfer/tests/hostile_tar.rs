//! Tar archives that lie, lead out, or blow up.

mod common;

use brimfs::ErrorKind;
use brimfs_transfer::{Conflict, ExtractOptions, Format, Limits, Links};
use common::{attempt, filesystem, gz, refused, tar_entry, tar_of};

fn options() -> ExtractOptions {
    ExtractOptions::default()
}

fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    tar_entry(name, b'0', b"", content)
}

/// A record of an extended header.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut len = rest.len() + 1;
    while format!("{len}{rest}").len() != len {
        len = format!("{len}{rest}").len();
    }
    format!("{len}{rest}").into_bytes()
}

#[test]
fn an_honest_tar_is_extracted() {
    let large = vec![7; 3 << 20];
    let long = "n".repeat(150);
    let archive = tar_of(&[
        tar_entry(b"d/", b'5', b"", b""),
        file(b"d/a", b"alpha"),
        tar_entry(b"x", b'x', b"", &record("mtime", "981173106.25")),
        file(b"e/b", &large),
        tar_entry(b"l", b'L', b"", format!("{long}\0").as_bytes()),
        file(b"short", b"1"),
        tar_entry(b"x", b'x', b"", &record("path", "p/q")),
        file(b"other", b"2"),
    ]);
    for packed in [archive.clone(), gz(&archive)] {
        let (fs, done) = attempt(&packed, &options()).unwrap();
        assert_eq!((done.files, done.directories), (4, 1));
        assert_eq!(fs.read("/out/d/a").unwrap(), &b"alpha"[..]);
        assert_eq!(fs.read("/out/e/b").unwrap(), large);
        assert_eq!(fs.read(format!("/out/{long}")).unwrap(), &b"1"[..]);
        assert_eq!(fs.read("/out/p/q").unwrap(), &b"2"[..]);
        let modified = fs.metadata("/out/e/b").unwrap().modified();
        assert_eq!(
            (modified.seconds, modified.nanos),
            (981_173_106, 250_000_000)
        );
        assert_eq!(fs.metadata("/out/d").unwrap().mode(), 0o640);
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in [
        &b"../x"[..],
        b"a/../../x",
        b"/etc/x",
        b"..\\x",
        b"\\x",
        b"C:/x",
    ] {
        refused(
            &tar_of(&[file(name, b"1")]),
            &options(),
            ErrorKind::UnsafeArchive,
        );
        let name = str::from_utf8(name).unwrap();
        let renamed = tar_entry(b"x", b'x', b"", &record("path", name));
        let archive = tar_of(&[renamed, file(b"a", b"1")]);
        refused(&archive, &options(), ErrorKind::UnsafeArchive);
    }
}

#[test]
fn links_devices_and_unknown_types_are_refused() {
    for kind in *b"12346" {
        let archive = tar_of(&[file(b"a", b"1"), tar_entry(b"l", kind, b"a", b"")]);
        refused(&archive, &options(), ErrorKind::UnsafeArchive);
        let skip = ExtractOptions {
            links: Links::Skip,
            ..options()
        };
        let (_, done) = attempt(&archive, &skip).unwrap();
        assert_eq!((done.files, done.skipped), (1, 1));
    }
    for kind in *b"SMV9" {
        let archive = tar_of(&[tar_entry(b"l", kind, b"", b"")]);
        refused(&archive, &options(), ErrorKind::Unsupported);
    }
    let sparse = tar_entry(b"x", b'x', b"", &record("GNU.sparse.major", "1"));
    refused(
        &tar_of(&[sparse, file(b"a", b"")]),
        &options(),
        ErrorKind::Unsupported,
    );
}

#[test]
fn nothing_is_written_through_a_link() {
    let keep = ExtractOptions {
        links: Links::Keep,
        ..options()
    };
    let archive = tar_of(&[tar_entry(b"l", b'2', b"d", b""), file(b"l/x", b"1")]);
    let text = refused(&archive, &keep, ErrorKind::UnsafeArchive);
    assert!(text.contains("a symbolic link is where"), "{text}");
    let fs = filesystem();
    fs.create_dir_all("/out").unwrap();
    fs.create_dir("/secret").unwrap();
    fs.write_slice("/secret/x", b"before").unwrap();
    fs.symlink("/secret", "/out/l").unwrap();
    fs.symlink("/secret/x", "/out/f").unwrap();
    for atomic in [true, false] {
        let options = ExtractOptions {
            atomic,
            conflict: Conflict::Overwrite,
            ..options()
        };
        for name in [&b"l/x"[..], b"l"] {
            let archive = tar_of(&[file(name, b"1")]);
            let source = brimfs_transfer::Source::Bytes(archive.into());
            let done = brimfs_transfer::extract(&fs, source, "/out", &options, &mut |_| true);
            assert_eq!(done.is_ok(), name == b"l");
            fs.remove_file("/out/l").unwrap();
            fs.symlink("/secret", "/out/l").unwrap();
        }
        let source = brimfs_transfer::Source::Bytes(tar_of(&[file(b"f", b"new")]).into());
        brimfs_transfer::extract(&fs, source, "/out", &options, &mut |_| true).unwrap();
        assert_eq!(fs.read("/out/f").unwrap(), &b"new"[..]);
        assert_eq!(fs.read("/secret/x").unwrap(), &b"before"[..]);
        assert_eq!(fs.read_dir("/secret").unwrap().count(), 1);
        fs.audit().unwrap();
    }
}

#[test]
fn a_name_is_one_thing_only() {
    let twice = tar_of(&[file(b"a", b"1"), file(b"./a", b"2")]);
    refused(&twice, &options(), ErrorKind::BadArchive);
    for (conflict, expected) in [(Conflict::Overwrite, b"2"), (Conflict::Skip, b"1")] {
        let (fs, _) = attempt(
            &twice,
            &ExtractOptions {
                conflict,
                ..options()
            },
        )
        .unwrap();
        assert_eq!(fs.read("/out/a").unwrap(), &expected[..]);
    }
    for pair in [
        [file(b"a", b"1"), file(b"a/b", b"2")],
        [file(b"a/b", b"1"), file(b"a", b"2")],
        [file(b"a", b"1"), tar_entry(b"a/", b'5', b"", b"")],
    ] {
        refused(&tar_of(&pair), &options(), ErrorKind::BadArchive);
    }
}

#[test]
fn limits_hold_as_bytes_stream() {
    let many: Vec<_> = (0..5)
        .map(|n| file(format!("{n}").as_bytes(), b"12345678"))
        .collect();
    let archive = gz(&tar_of(&many));
    for (set, text) in [
        (
            Limits {
                entries: 4,
                ..Limits::default()
            },
            "more than 4 entries",
        ),
        (
            Limits {
                total_bytes: 39,
                ..Limits::default()
            },
            "in all files together",
        ),
        (
            Limits {
                file_bytes: 7,
                ..Limits::default()
            },
            "in one file",
        ),
    ] {
        let told = refused(
            &archive,
            &ExtractOptions {
                limits: set,
                ..options()
            },
            ErrorKind::ArchiveLimit,
        );
        assert!(told.contains(text), "{told}");
    }
}

#[test]
fn bombs_are_refused_wherever_they_hide() {
    let zeros = vec![0; 32 << 20];
    let content = gz(&tar_of(&[file(b"a", &zeros)]));
    refused(&content, &options(), ErrorKind::ArchiveLimit);
    let name = gz(&tar_of(&[
        tar_entry(b"l", b'L', b"", &zeros),
        file(b"a", b""),
    ]));
    let text = refused(&name, &options(), ErrorKind::ArchiveLimit);
    assert!(text.contains("extended header"), "{text}");
    let mut behind = tar_of(&[file(b"a", b"")]);
    behind.extend(&zeros);
    refused(&gz(&behind), &options(), ErrorKind::ArchiveLimit);
    refused(&behind, &options(), ErrorKind::ArchiveLimit);
    let skipped = gz(&tar_of(&[tar_entry(b"a", b'3', b"", &zeros)]));
    let skip = ExtractOptions {
        links: Links::Skip,
        ..options()
    };
    refused(&skipped, &skip, ErrorKind::ArchiveLimit);
    let endless = vec![tar_entry(b"x", b'x', b"", &record("comment", "1")); 100];
    refused(&tar_of(&endless), &options(), ErrorKind::BadArchive);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let mut wrong = tar_of(&[file(b"a", b"1")]);
    wrong[0] ^= 1;
    let named = ExtractOptions {
        format: Some(Format::Tar),
        ..options()
    };
    refused(&wrong, &named, ErrorKind::BadArchive);
    refused(&gz(b"no tar at all"), &options(), ErrorKind::BadArchive);
    refused(b"no archive at all", &options(), ErrorKind::BadArchive);
    refused(b"", &options(), ErrorKind::BadArchive);
    let global = tar_entry(b"g", b'g', b"", &record("path", "x"));
    refused(
        &tar_of(&[global, file(b"a", b"")]),
        &options(),
        ErrorKind::BadArchive,
    );
    let lonely = tar_entry(b"x", b'x', b"", &record("path", "x"));
    refused(&tar_of(&[lonely]), &options(), ErrorKind::BadArchive);
    let malformed = tar_entry(b"x", b'x', b"", b"99 path=x\n");
    refused(
        &tar_of(&[malformed, file(b"a", b"")]),
        &options(),
        ErrorKind::BadArchive,
    );
    // More is declared than is there.
    let mut long = tar_entry(b"x", b'x', b"", &record("size", "99999"));
    long.extend(file(b"a", b"1"));
    refused(&tar_of(&[long]), &options(), ErrorKind::BadArchive);
}

#[test]
fn a_truncated_tar_is_refused_wherever_it_ends() {
    let archive = tar_of(&[file(b"a", b"12345678"), file(b"b", &[5; 600])]);
    // One block of the end mark is enough.
    for end in 0..archive.len() - 1023 {
        let named = ExtractOptions {
            format: Some(Format::Tar),
            ..options()
        };
        refused(&archive[..end], &named, ErrorKind::BadArchive);
    }
    let packed = gz(&archive);
    for end in 0..packed.len() {
        refused(&packed[..end], &options(), ErrorKind::BadArchive);
    }
}
