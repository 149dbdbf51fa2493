//! Stores that an earlier version wrote: they are read for ever, and what a later version wrote is refused.
//!
//! `tests/fixtures/format-1` has them, and what is in them. A fixture is one file: of each file of the store its name,
//! its length, and the blocks that are not all zeroes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use brimfs::face::check_directory;
use brimfs::face::disk::Directory;
use brimfs::{Compression, Durability, ErrorKind, FileSystem, OpenOptions, XattrMode};
use brimfs_sim::medium::{Medium, Random};

use super::overlays::overlays;
use super::tree::{Contents, tree_with};
use super::world::{ROOMY, Settings};

const BLOCK: usize = 4096;
const MAGIC: &[u8] = b"brimfs fixture\n";
const NAMES: [&str; 5] = ["empty", "every-kind", "compressed", "unclosed", "overlays"];

/// A fixture's segments are longer than new ones.
const SETTINGS: Settings = Settings {
    memory: 64 << 20,
    durability: Durability::Manual,
    disk: Some(8 << 20),
};

fn place(file: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("fixtures/format-1").join(file)
}

fn pack(medium: &Medium) -> Vec<u8> {
    let mut packed = MAGIC.to_vec();
    for name in medium.names().iter().filter(|name| *name != "lock") {
        let raw = medium.raw(name);
        let blocks = raw.chunks(BLOCK).enumerate();
        let blocks: Vec<_> = blocks
            .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
            .collect();
        packed.extend((name.len() as u32).to_le_bytes());
        packed.extend(name.as_bytes());
        packed.extend((raw.len() as u64).to_le_bytes());
        packed.extend((blocks.len() as u32).to_le_bytes());
        for (number, block) in blocks {
            packed.extend((number as u32).to_le_bytes());
            packed.extend((block.len() as u32).to_le_bytes());
            packed.extend(block);
        }
    }
    packed
}

fn unpack(packed: &[u8]) -> Medium {
    let medium = Medium::new();
    let mut rest = packed.strip_prefix(MAGIC).expect("a fixture");
    let mut take = |len: usize| {
        let (taken, behind) = rest.split_at_checked(len)?;
        rest = behind;
        Some(taken)
    };
    while let Some(len) = take(4) {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four")) as usize;
        let name = take(number(len)).expect("a name").to_vec();
        let name = String::from_utf8(name).expect("text");
        let len = take(8).expect("a length").try_into().expect("eight");
        let mut raw = vec![0; u64::from_le_bytes(len) as usize];
        for _ in 0..number(take(4).expect("a count")) {
            let start = number(take(4).expect("a place")) * BLOCK;
            let len = number(take(4).expect("a length"));
            raw[start..start + len].copy_from_slice(take(len).expect("a block"));
        }
        drop(medium.create(&name).expect("created"));
        medium.damage(&name, |bytes| *bytes = raw);
    }
    medium
}

fn fixture(name: &str) -> (Medium, String) {
    let packed = std::fs::read(place(&format!("{name}.store"))).expect("a fixture");
    let text = std::fs::read_to_string(place(&format!("{name}.txt"))).expect("its text");
    (unpack(&packed), text)
}

/// What is in a store, as the fixtures' texts have it: content by its FNV-1a.
fn text(fs: &FileSystem) -> String {
    let mut contents = Contents::new();
    for entry in fs.walk("/").expect("walked") {
        if entry.metadata().is_file() {
            let bytes = fs.read(entry.path()).expect("read");
            let digest = bytes
                .iter()
                .fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
                    (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
                });
            contents.insert(entry.path().to_vec(), digest);
        }
    }
    let tree = tree_with(fs, &contents).expect("a tree");
    tree.0.iter().map(|line| format!("{line}\n")).collect()
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = (0..len.div_ceil(8)).flat_map(|_| random.number().to_le_bytes());
    words.take(len).collect()
}

#[test]
fn fixtures_are_what_they_were() {
    for name in NAMES {
        let (medium, expected) = fixture(name);
        let report = check_directory(Arc::new(medium.clone()), &mut |_| {}).expect("checked");
        assert!(report.is_sound(), "{name}: {:#?}", report.problems);
        assert_eq!(report.format, 1);
        medium.set_read_only(true);
        let readers = SETTINGS.builder().read_only(true);
        let fs = readers
            .open_in(Arc::new(medium.clone()))
            .expect("opened for reading");
        assert_eq!(text(&fs), expected, "{name}, for reading");
        drop(fs);
        medium.set_read_only(false);
        let fs = SETTINGS.open(&medium).expect("opened");
        assert_eq!(text(&fs), expected, "{name}, for writing");
        fs.write("/new", noise(100_000, 9)).expect("written");
        fs.close().expect("closed");
        let fs = SETTINGS.open(&medium).expect("opened again");
        assert_eq!(fs.read("/new").expect("read")[..], noise(100_000, 9));
        fs.remove_file("/new").expect("removed");
        let without_root = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
        assert_eq!(
            without_root(&text(&fs)),
            without_root(&expected),
            "{name}, later"
        );
    }
}

#[test]
fn a_fixture_has_overlays_of_several_layers() {
    let (medium, _) = fixture("overlays");
    let layers: BTreeSet<u32> = overlays(&medium).iter().map(|layer| layer.layer).collect();
    assert!(layers.len() > 1, "{layers:?}");
}

#[test]
fn an_unknown_format_is_refused_with_its_file_and_number() {
    let (medium, _) = fixture("every-kind");
    let names = medium.names();
    let last = |prefix: &str| {
        let mut of_kind = names.iter().filter(|name| name.starts_with(prefix));
        of_kind.next_back().expect("one of each kind").clone()
    };
    for name in [last("journal-"), last("checkpoint-"), last("segment-")] {
        let later = medium.fork();
        later.damage(&name, |bytes| {
            bytes[8] = 7;
            // Its checksum is not that of a header of format 1 with another number.
            bytes[60] ^= 0xff;
        });
        let fingerprint = later.fingerprint();
        let says = format!("{name} has format 7; this version reads format 1");
        for read_only in [false, true] {
            let builder = SETTINGS.builder().read_only(read_only);
            let error = builder
                .open_in(Arc::new(later.clone()))
                .expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(&says), "{error}");
        }
        assert_eq!(later.fingerprint(), fingerprint);
    }
}

/// What packs well is dense.
fn every_kind(fs: &FileSystem, is_dense: bool) {
    fs.create_dir_all("/d/deep").expect("created");
    fs.write("/d/little", "little").expect("written");
    fs.write("/empty", "").expect("written");
    fs.symlink("d/little", "/link").expect("linked");
    fs.hard_link("/d/little", "/again").expect("linked");
    fs.write(b"/not text \xff", "bytes").expect("written");
    fs.set_permissions("/d/little", 0o640).expect("set");
    fs.set_xattr("/d/little", "user.origin", b"here", XattrMode::Set)
        .expect("set");
    fs.set_priority("/d/little", 8).expect("set");
    fs.write("/d/deep/plain", noise(50_000, 1))
        .expect("written");
    fs.pin("/d/deep/plain").expect("pinned");
    let holes = fs.create("/holes").expect("created");
    holes.set_len(5 << 20).expect("set");
    holes.write_at(3 << 20, b"in the middle").expect("written");
    drop(holes);
    fs.sync().expect("synced");
    if is_dense {
        let content = vec![7; (1 << 20) + 40_000];
        fs.write("/large", content).expect("written");
    } else {
        let large = fs.create("/large").expect("created");
        large.write_at(0, &noise(20_000, 4)).expect("written");
        large.write_at(1 << 20, &noise(40_000, 5)).expect("written");
    }
    fs.sync().expect("synced");
    fs.copy("/large", "/copy").expect("copied");
}

fn later(fs: &FileSystem) {
    fs.sync().expect("synced");
    fs.write("/in another segment", noise(30_000, 2))
        .expect("written");
    fs.rename("/empty", "/d/renamed").expect("renamed");
    fs.remove_file("/again").expect("removed");
    fs.sync().expect("synced");
    let open = OpenOptions::new()
        .write(true)
        .open(fs, "/large")
        .expect("opened");
    open.write_at(8192, b"over a page").expect("written");
    drop(open);
    fs.sync().expect("synced");
}

/// Overwrites pages, many at once, until some of them have left the journal. They are nearly all zeroes, which a fixture
/// leaves out.
fn layered(fs: &FileSystem) {
    fs.write("/layered", vec![7; 200_000]).expect("written");
    fs.sync().expect("synced");
    let open = OpenOptions::new()
        .write(true)
        .open(fs, "/layered")
        .expect("opened");
    for round in 1..12 {
        let mut bytes = [0; 40 * BLOCK];
        bytes[0] = round;
        open.write_at(0, &bytes).expect("written");
        open.sync().expect("synced");
    }
    drop(open);
    fs.copy("/layered", "/copy").expect("copied");
    fs.sync().expect("synced");
}

/// Makes the fixtures of the format that is written now. For a new format: into a directory of its own, once.
#[test]
#[ignore = "writes fixtures; BRIMFS_FIXTURES names an empty directory"]
fn make_fixtures() {
    let target = std::env::var_os("BRIMFS_FIXTURES")
        .map(PathBuf::from)
        .expect("a directory");
    let save = |name: &str, medium: &Medium| {
        let fs = SETTINGS
            .builder()
            .read_only(true)
            .open_in(Arc::new(medium.fork()));
        let text = text(&fs.expect("opened"));
        std::fs::write(target.join(format!("{name}.txt")), text).expect("written");
        std::fs::write(target.join(format!("{name}.store")), pack(medium)).expect("written");
    };
    let empty = Medium::new();
    ROOMY.open(&empty).expect("opened").close().expect("closed");
    save("empty", &empty);

    let full = Medium::new();
    let fs = SETTINGS.open(&full).expect("opened");
    every_kind(&fs, false);
    for number in 0..300 {
        fs.write("/counter", number.to_string()).expect("written");
        fs.sync().expect("synced");
    }
    fs.close().expect("closed");
    let fs = SETTINGS.open(&full).expect("opened again");
    later(&fs);
    fs.close().expect("closed");
    save("every-kind", &full);

    let packed = Medium::new();
    let builder = SETTINGS.builder().compression(Compression::Lz4);
    let fs = builder.open_in(Arc::new(packed.clone())).expect("opened");
    every_kind(&fs, true);
    fs.close().expect("closed");
    save("compressed", &packed);

    let overlaid = Medium::new();
    let builder = SETTINGS.builder().compression(Compression::Lz4);
    let fs = builder.open_in(Arc::new(overlaid.clone())).expect("opened");
    layered(&fs);
    fs.close().expect("closed");
    save("overlays", &overlaid);

    let unclosed = Medium::new();
    let fs = SETTINGS.open(&unclosed).expect("opened");
    fs.write("/a", noise(20_000, 3)).expect("written");
    fs.sync().expect("synced");
    fs.write("/b", "synced").expect("written");
    fs.sync().expect("synced");
    save("unclosed", &unclosed.fork());
}
