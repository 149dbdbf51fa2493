//! Zip archives that lie, lead out, or blow up.

mod common;

use brimfs::ErrorKind;
use brimfs_transfer::{BadNames, Conflict, ExtractOptions, Limits, Links};
use common::{ZipEntry, attempt, refused, zip};

fn options() -> ExtractOptions {
    ExtractOptions::default()
}

fn limits(limits: Limits) -> ExtractOptions {
    ExtractOptions {
        limits,
        ..options()
    }
}

#[test]
fn an_honest_zip_is_extracted() {
    let large = vec![7; 3 << 20];
    let archive = zip(&[
        ZipEntry {
            mode: 0o040_750,
            ..ZipEntry::stored(b"d/", b"")
        },
        ZipEntry::stored(b"d/a", b"alpha"),
        ZipEntry {
            mode: 0o104_755,
            ..ZipEntry::deflated(b"e/f/b", &large)
        },
    ]);
    let (fs, done) = attempt(&archive, &options()).unwrap();
    assert_eq!((done.files, done.directories), (2, 1));
    assert_eq!(done.bytes, 5 + large.len() as u64);
    assert_eq!(fs.read("/out/d/a").unwrap(), &b"alpha"[..]);
    assert_eq!(fs.read("/out/e/f/b").unwrap(), large);
    assert_eq!(fs.metadata("/out/d").unwrap().mode(), 0o750);
    let known = fs.metadata("/out/e/f/b").unwrap();
    assert_eq!(
        (known.mode(), known.modified().seconds),
        (0o755, 981_173_106)
    );
}

#[test]
fn an_empty_zip_is_an_empty_directory() {
    let (fs, done) = attempt(&zip(&[]), &options()).unwrap();
    assert_eq!(done.files, 0);
    assert_eq!(fs.read_dir("/out").unwrap().count(), 0);
}

#[test]
fn names_that_lead_out_are_refused_or_renamed() {
    for (name, renamed) in [
        (&b"../x"[..], "_/x"),
        (b"a/../../x", "a/_/_/x"),
        (b"/etc/x", "etc/x"),
        (b"..\\x", ".._x"),
        (b"a\\..\\..\\x", "a_.._.._x"),
        (b"\\x", "_x"),
        (b"C:/x", "x"),
        (b"c:x", "x"),
        (b"a\0b", "a_b"),
        (b"", "_"),
    ] {
        let archive = zip(&[ZipEntry::stored(name, b"1")]);
        let text = refused(&archive, &options(), ErrorKind::UnsafeArchive);
        assert!(text.contains("the name"), "{text}");
        let rename = ExtractOptions {
            bad_names: BadNames::Rename,
            ..options()
        };
        let (fs, _) = attempt(&archive, &rename).unwrap();
        assert_eq!(fs.read(format!("/out/{renamed}")).unwrap(), &b"1"[..]);
    }
}

#[test]
fn links_and_devices_are_refused_or_skipped() {
    let link = ZipEntry {
        mode: 0o120_777,
        ..ZipEntry::stored(b"l", b"a")
    };
    let device = ZipEntry {
        mode: 0o020_666,
        ..ZipEntry::stored(b"v", b"")
    };
    let skip = ExtractOptions {
        links: Links::Skip,
        ..options()
    };
    for entry in [&link, &device] {
        let archive = zip(&[ZipEntry::stored(b"a", b"1"), entry.clone()]);
        refused(&archive, &options(), ErrorKind::UnsafeArchive);
        let (fs, done) = attempt(&archive, &skip).unwrap();
        assert_eq!((done.files, done.skipped), (1, 1));
        assert!(!fs.exists("/out/l") && !fs.exists("/out/v"));
    }
    let keep = ExtractOptions {
        links: Links::Keep,
        ..options()
    };
    let (fs, done) = attempt(&zip(&[link, ZipEntry::stored(b"a", b"1")]), &keep).unwrap();
    assert_eq!((done.files, done.symlinks), (1, 1));
    assert_eq!(fs.read_link("/out/l").unwrap(), b"a");
    refused(&zip(&[device]), &keep, ErrorKind::UnsafeArchive);
}

#[test]
fn links_that_are_kept_lead_nowhere_else() {
    let keep = ExtractOptions {
        links: Links::Keep,
        ..options()
    };
    for target in [&b"../x"[..], b"/etc", b"d/../../x", b""] {
        let link = ZipEntry {
            mode: 0o120_777,
            ..ZipEntry::stored(b"l", target)
        };
        refused(&zip(&[link]), &keep, ErrorKind::UnsafeArchive);
    }
    let link = ZipEntry {
        mode: 0o120_777,
        ..ZipEntry::stored(b"d", b"e")
    };
    let through = zip(&[link, ZipEntry::stored(b"d/a", b"1")]);
    let text = refused(&through, &keep, ErrorKind::BadArchive);
    assert!(text.contains("a directory is where"), "{text}");
}

#[test]
fn a_name_is_one_thing_only() {
    let twice = zip(&[ZipEntry::stored(b"a", b"1"), ZipEntry::stored(b"./a", b"2")]);
    let text = refused(&twice, &options(), ErrorKind::BadArchive);
    assert!(text.contains("there twice"), "{text}");
    for (conflict, expected) in [(Conflict::Overwrite, b"2"), (Conflict::Skip, b"1")] {
        let chosen = ExtractOptions {
            conflict,
            ..options()
        };
        let (fs, _) = attempt(&twice, &chosen).unwrap();
        assert_eq!(fs.read("/out/a").unwrap(), &expected[..]);
    }
    for pair in [
        [ZipEntry::stored(b"a", b"1"), ZipEntry::stored(b"a/b", b"2")],
        [ZipEntry::stored(b"a/b", b"1"), ZipEntry::stored(b"a", b"2")],
        [ZipEntry::stored(b"a", b"1"), ZipEntry::stored(b"a/", b"")],
    ] {
        for conflict in [Conflict::Raise, Conflict::Overwrite, Conflict::Skip] {
            let chosen = ExtractOptions {
                conflict,
                ..options()
            };
            refused(&zip(&pair), &chosen, ErrorKind::BadArchive);
        }
    }
}

#[test]
fn limits_hold_before_anything_is_unpacked() {
    let many: Vec<_> = (0..5)
        .map(|n| ZipEntry::stored(format!("{n}").as_bytes(), b"12345678"))
        .collect();
    let archive = zip(&many);
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
        let told = refused(&archive, &limits(set), ErrorKind::ArchiveLimit);
        assert!(told.contains(text), "{told}");
    }
    let exact = Limits {
        entries: 5,
        total_bytes: 40,
        file_bytes: 8,
        ..Limits::default()
    };
    attempt(&archive, &limits(exact)).unwrap();
    let deep = zip(&[ZipEntry::stored(b"a/b/c", b"")]);
    attempt(
        &deep,
        &limits(Limits {
            depth: 3,
            ..Limits::default()
        }),
    )
    .unwrap();
    refused(
        &deep,
        &limits(Limits {
            depth: 2,
            ..Limits::default()
        }),
        ErrorKind::ArchiveLimit,
    );
}

#[test]
fn a_bomb_is_refused_by_its_ratio() {
    let bomb = zip(&[ZipEntry::deflated(b"a", &vec![0; 32 << 20])]);
    let text = refused(&bomb, &options(), ErrorKind::ArchiveLimit);
    assert!(text.contains("more than 200 bytes for each"), "{text}");
    let generous = Limits {
        ratio: f64::INFINITY,
        ..Limits::default()
    };
    attempt(&bomb, &limits(generous)).unwrap();
    // One that lies about its size is stopped where the lie ends.
    let mut liar = ZipEntry::deflated(b"a", &vec![0; 32 << 20]);
    liar.size = 10;
    let text = refused(&zip(&[liar]), &options(), ErrorKind::BadArchive);
    assert!(text.contains("more content than is declared"), "{text}");
}

#[test]
fn entries_that_share_bytes_are_refused() {
    let shared = ZipEntry {
        shares: Some(0),
        ..ZipEntry::stored(b"a", b"12345678")
    };
    let conflict = ExtractOptions {
        conflict: Conflict::Overwrite,
        ..options()
    };
    let archive = zip(&[ZipEntry::stored(b"a", b"12345678"), shared]);
    let text = refused(&archive, &conflict, ErrorKind::BadArchive);
    assert!(text.contains("overlap"), "{text}");
    let local = ZipEntry {
        local_name: Some(b"b".to_vec()),
        ..ZipEntry::stored(b"a", b"1")
    };
    let text = refused(&zip(&[local]), &options(), ErrorKind::BadArchive);
    assert!(text.contains("another name"), "{text}");
}

#[test]
fn what_is_encrypted_or_packed_otherwise_is_not_supported() {
    let encrypted = ZipEntry {
        flags: 1,
        ..ZipEntry::stored(b"a", b"1")
    };
    let text = refused(&zip(&[encrypted]), &options(), ErrorKind::Unsupported);
    assert!(text.contains("encrypted"), "{text}");
    let aes = ZipEntry {
        method: 99,
        ..ZipEntry::stored(b"a", b"1")
    };
    refused(&zip(&[aes]), &options(), ErrorKind::Unsupported);
    let imploded = ZipEntry {
        method: 6,
        ..ZipEntry::stored(b"a", b"1")
    };
    refused(&zip(&[imploded]), &options(), ErrorKind::Unsupported);
}

#[test]
fn lies_about_content_are_found() {
    let wrong_crc = ZipEntry {
        crc: 1,
        ..ZipEntry::deflated(b"a", b"content")
    };
    let text = refused(&zip(&[wrong_crc]), &options(), ErrorKind::BadArchive);
    assert!(text.contains("checksum"), "{text}");
    let longer = ZipEntry {
        size: 8,
        ..ZipEntry::deflated(b"a", b"content")
    };
    refused(&zip(&[longer]), &options(), ErrorKind::BadArchive);
    let shorter = ZipEntry {
        size: 6,
        ..ZipEntry::deflated(b"a", b"content")
    };
    refused(&zip(&[shorter]), &options(), ErrorKind::BadArchive);
    let mut garbage = ZipEntry::deflated(b"a", b"content");
    garbage.packed = vec![0xff; 20];
    refused(&zip(&[garbage]), &options(), ErrorKind::BadArchive);
    refused(
        &zip(&[ZipEntry::stored(b"d/", b"1")]),
        &options(),
        ErrorKind::BadArchive,
    );
}

#[test]
fn a_truncated_zip_is_refused_wherever_it_ends() {
    let archive = zip(&[
        ZipEntry::stored(b"a", b"12345678"),
        ZipEntry::deflated(b"d/b", &[5; 300]),
    ]);
    attempt(&archive, &options()).unwrap();
    for end in 0..archive.len() {
        refused(&archive[..end], &options(), ErrorKind::BadArchive);
    }
}

#[test]
fn damage_never_goes_further_than_an_error() {
    let archive = zip(&[
        ZipEntry::stored(b"a", b"12345678"),
        ZipEntry::deflated(b"d/b", &[5; 300]),
    ]);
    for at in 0..archive.len() {
        for bit in 0..8 {
            let mut damaged = archive.clone();
            damaged[at] ^= 1 << bit;
            // A name, a time or a mode may be another one; what is extracted is sound all the same.
            if let Ok((_, done)) = attempt(&damaged, &options()) {
                assert!(done.bytes <= 308);
            }
        }
    }
}
