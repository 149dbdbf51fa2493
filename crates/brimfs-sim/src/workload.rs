//! Random sequences of operations.
//!
//! Names are few, so that operations meet: most paths are one or two of four
//! letters. A small share of paths is weird. Offsets and lengths crowd around
//! the borders of blocks and chunks, where mistakes are.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::model::{BLOCK, CHUNK};
use crate::op::{Data, Op, OpenHow, Raw, RenameHow, SLOTS, Whence, XattrHow};

/// What a sequence is mostly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Directories, links, renames.
    Names,
    /// Bytes of few files, handles, holes, copies.
    Content,
    /// Some of everything.
    Mixed,
}

impl Flavor {
    /// The flavor of sequence `number`: each comes round in turn.
    pub fn of(number: u64) -> Self {
        [Flavor::Names, Flavor::Content, Flavor::Mixed][(number % 3) as usize]
    }
}

/// One operation of a sequence.
pub fn operation(flavor: Flavor) -> BoxedStrategy<Op> {
    let (names, bytes) = match flavor {
        Flavor::Names => (8, 2),
        Flavor::Content => (1, 12),
        Flavor::Mixed => (5, 5),
    };
    prop_oneof![
        names => any_name_op(),
        bytes => any_content_op(),
    ]
    .boxed()
}

fn any_name_op() -> BoxedStrategy<Op> {
    prop_oneof![
        30 => tree_op(),
        20 => rename_op(),
        15 => link_op(),
        15 => attribute_op(),
        20 => question_op(),
    ]
    .boxed()
}

fn tree_op() -> BoxedStrategy<Op> {
    prop_oneof![
        8 => (path(), mode()).prop_map(|(path, mode)| Op::Mkdir { path, mode }),
        7 => path().prop_map(|path| Op::MkdirAll { path }),
        2 => path().prop_map(|path| Op::Rmdir { path }),
        2 => path().prop_map(|path| Op::Unlink { path }),
        1 => path().prop_map(|path| Op::RmTree { path }),
        3 => (plain_path(), fresh_path()).prop_map(|(from, to)| Op::CopyTree { from, to }),
        5 => (path(), data()).prop_map(|(path, data)| Op::WriteAll { path, data, adopt: true }),
        2 => path().prop_map(|path| Op::Touch { path }),
    ]
    .boxed()
}

fn rename_op() -> BoxedStrategy<Op> {
    let how = prop_oneof![
        4 => Just(RenameHow::Replace),
        1 => Just(RenameHow::NoReplace),
        1 => Just(RenameHow::Exchange),
    ];
    let from = prop_oneof![2 => plain_path(), 1 => path()];
    (from, path(), how)
        .prop_map(|(from, to, how)| Op::Rename { from, to, how })
        .boxed()
}

fn link_op() -> BoxedStrategy<Op> {
    let target = prop_oneof![
        6 => path(),
        2 => name().prop_map(Raw),
        1 => vec(name(), 1..3).prop_map(|names| Raw([b"../".as_slice(), &names.join(&b'/')].concat())),
    ];
    prop_oneof![
        4 => (target, found_path()).prop_map(|(target, link)| Op::Symlink { target, link }),
        4 => (plain_path(), fresh_path()).prop_map(|(existing, new)| Op::Link { existing, new }),
        2 => plain_path().prop_map(|path| Op::ReadLink { path }),
        1 => path().prop_map(|path| Op::Canonicalize { path }),
    ]
    .boxed()
}

fn attribute_op() -> BoxedStrategy<Op> {
    let id = || option::of(0..3u32);
    let how = prop_oneof![
        8 => Just(XattrHow::Set),
        1 => Just(XattrHow::Create),
        1 => Just(XattrHow::Replace),
    ];
    let xattr = || prop_oneof![4 => Just("user.a"), 1 => Just("user.b")].prop_map(Raw::from);
    let value = (any::<u8>(), 0..40u32).prop_map(|(seed, len)| Data { seed, len });
    prop_oneof![
        3 => (plain_path(), mode()).prop_map(|(path, mode)| Op::Chmod { path, mode }),
        1 => (plain_path(), id(), id(), any::<bool>())
            .prop_map(|(path, uid, gid, follow)| Op::Chown { path, uid, gid, follow }),
        3 => (plain_path(), 0..1_000_000_000i64, any::<bool>())
            .prop_map(|(path, modified, follow)| Op::SetTimes { path, modified, follow }),
        3 => (plain_path(), xattr(), value, how)
            .prop_map(|(path, name, value, how)| Op::SetXattr { path, name, value, how }),
        1 => (plain_path(), xattr()).prop_map(|(path, name)| Op::GetXattr { path, name }),
        1 => plain_path().prop_map(|path| Op::ListXattrs { path }),
        1 => (plain_path(), xattr()).prop_map(|(path, name)| Op::RemoveXattr { path, name }),
    ]
    .boxed()
}

fn question_op() -> BoxedStrategy<Op> {
    prop_oneof![
        3 => found_path().prop_map(|path| Op::ListDir { path }),
        1 => found_path().prop_map(|path| Op::Walk { path }),
        2 => pattern().prop_map(|pattern| Op::Glob { pattern }),
        3 => found_path().prop_map(|path| Op::Stat { path }),
        2 => found_path().prop_map(|path| Op::Lstat { path }),
        2 => found_path().prop_map(|path| Op::Exists { path }),
    ]
    .boxed()
}

fn any_content_op() -> BoxedStrategy<Op> {
    prop_oneof![
        30 => file_op(),
        60 => handle_op(),
        12 => view_op(),
    ]
    .boxed()
}

fn file_op() -> BoxedStrategy<Op> {
    prop_oneof![
        7 => (plain_path(), data(), any::<bool>())
            .prop_map(|(path, data, adopt)| Op::WriteAll { path, data, adopt }),
        3 => plain_path().prop_map(|path| Op::ReadAll { path }),
        3 => (plain_path(), data()).prop_map(|(path, data)| Op::Append { path, data }),
        3 => (plain_path(), offset()).prop_map(|(path, len)| Op::Truncate { path, len }),
        4 => (plain_path(), plain_path()).prop_map(|(from, to)| Op::Copy { from, to }),
        1 => plain_path().prop_map(|path| Op::Unlink { path }),
        1 => (plain_path(), plain_path())
            .prop_map(|(from, to)| Op::Rename { from, to, how: RenameHow::Replace }),
    ]
    .boxed()
}

fn handle_op() -> BoxedStrategy<Op> {
    let slot = any_slot;
    prop_oneof![
        9 => (slot(), plain_path(), open_how())
            .prop_map(|(slot, path, how)| Op::Open { slot, path, how }),
        1 => slot().prop_map(|slot| Op::Close { slot }),
        4 => (slot(), length()).prop_map(|(slot, len)| Op::Read { slot, len }),
        5 => (slot(), data()).prop_map(|(slot, data)| Op::Write { slot, data }),
        3 => (slot(), whence()).prop_map(|(slot, to)| Op::Seek { slot, to }),
        4 => (slot(), offset(), length()).prop_map(|(slot, at, len)| Op::ReadAt { slot, at, len }),
        6 => (slot(), offset(), data()).prop_map(|(slot, at, data)| Op::WriteAt { slot, at, data }),
        3 => (slot(), offset()).prop_map(|(slot, len)| Op::SetLen { slot, len }),
        2 => (slot(), offset(), length())
            .prop_map(|(slot, at, len)| Op::Allocate { slot, at, len: len.into() }),
        4 => (slot(), offset(), length())
            .prop_map(|(slot, at, len)| Op::PunchHole { slot, at, len: len.into() }),
        1 => (slot(), offset()).prop_map(|(slot, at)| Op::SeekData { slot, at }),
        1 => (slot(), offset()).prop_map(|(slot, at)| Op::SeekHole { slot, at }),
        1 => slot().prop_map(|slot| Op::HandleStat { slot }),
    ]
    .boxed()
}

fn view_op() -> BoxedStrategy<Op> {
    let slot = any_slot;
    prop_oneof![
        3 => (slot(), plain_path()).prop_map(|(slot, path)| Op::View { slot, path }),
        2 => slot().prop_map(|slot| Op::ReadView { slot }),
        1 => slot().prop_map(|slot| Op::DropView { slot }),
    ]
    .boxed()
}

/// Mostly the first: handles and views are rarely worth more than one at a time.
fn any_slot() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0), 3 => Just(1), 1 => 2..SLOTS]
}

fn open_how() -> BoxedStrategy<OpenHow> {
    let flag = |percent: u32| (0..100u32).prop_map(move |drawn| drawn < percent);
    (
        flag(90),
        flag(85),
        flag(15),
        flag(5),
        flag(80),
        flag(4),
        flag(8),
        mode(),
    )
        .prop_map(
            |(read, write, append, truncate, create, create_new, no_follow, mode)| OpenHow {
                read,
                write,
                append,
                truncate,
                create,
                create_new,
                no_follow,
                mode,
            },
        )
        .boxed()
}

fn mode() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => Just(0o666u32),
        4 => Just(0o777u32),
        1 => Just(0o600u32),
        1 => Just(0o000u32),
        1 => Just(0o1755u32),
    ]
}

fn whence() -> impl Strategy<Value = Whence> {
    let by =
        || prop_oneof![4 => -40_000..40_000i64, 1 => Just(0i64), 1 => -3_000_000..3_000_000i64];
    prop_oneof![
        offset().prop_map(Whence::Start),
        by().prop_map(Whence::Current),
        by().prop_map(Whence::End),
    ]
}

fn data() -> impl Strategy<Value = Data> {
    (any::<u8>(), length()).prop_map(|(seed, len)| Data { seed, len })
}

/// Lengths: mostly small, sometimes around a block, rarely around a chunk.
fn length() -> impl Strategy<Value = u32> {
    let block = BLOCK as u32;
    let chunk = CHUNK as u32;
    prop_oneof![
        1 => Just(0u32),
        16 => 1..700u32,
        10 => (1..4u32, 0..3u32).prop_map(move |(blocks, past)| blocks * block + past - 1),
        6 => 1..5 * block,
        2 => (1..3u32, 0..3u32).prop_map(move |(chunks, past)| chunks * chunk + past - 1),
        1 => 1..3 * chunk,
    ]
}

/// Offsets and lengths of files: like [`length`], and now and then far out.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0u64),
        40 => length().prop_map(u64::from),
        4 => (1..6u64, 0..3u64).prop_map(|(chunks, past)| chunks * CHUNK + past - 1),
        1 => (1..40u64, 0..5_000u64).prop_map(|(far, past)| (far << 32) + past),
    ]
}

/// One of few short paths: for operations on content, which should find something.
fn plain_path() -> impl Strategy<Value = Raw> {
    prop_oneof![
        30 => letter().prop_map(|name| Raw([b"/".as_slice(), &name].concat())),
        3 => (letter(), letter())
            .prop_map(|(dir, name)| Raw([b"/".as_slice(), &dir, b"/", &name].concat())),
        1 => path(),
    ]
}

/// Half of these lead to something.
fn found_path() -> impl Strategy<Value = Raw> {
    prop_oneof![plain_path(), path()]
}

/// Where likely nothing is yet.
fn fresh_path() -> impl Strategy<Value = Raw> {
    let fresh = (prop_oneof![Just(""), Just("/a"), Just("/b")], 0..6u32)
        .prop_map(|(dir, number)| Raw(format!("{dir}/copy{number}").into_bytes()));
    prop_oneof![3 => fresh, 1 => path()]
}

fn letter() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(b"a".to_vec()),
        3 => Just(b"b".to_vec()),
        2 => Just(b"c".to_vec()),
        1 => Just(b"d".to_vec()),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        60 => letter(),
        2 => Just(b".".to_vec()),
        3 => Just(b"..".to_vec()),
        1 => Just(b"\xff\xfe".to_vec()),
        1 => Just(b"...".to_vec()),
        1 => Just(b"a b\\c".to_vec()),
        1 => Just(vec![b'n'; 255]),
        1 => Just(vec![b'n'; 256]),
    ]
}

fn path() -> impl Strategy<Value = Raw> {
    let slashes = || prop_oneof![30 => Just("/"), 1 => Just("//")];
    let names = prop_oneof![
        16 => vec(name(), 1..2),
        14 => vec(name(), 2..3),
        4 => vec(name(), 3..5),
    ];
    let usual = (
        names,
        slashes(),
        prop_oneof![12 => Just("/"), 2 => Just("")],
        prop_oneof![
            14 => Just(""),
            1 => Just("/"),
        ],
    );
    prop_oneof![
        100 => usual.prop_map(|(names, between, before, after)| {
            let inner = names.join(between.as_bytes());
            Raw([before.as_bytes(), &inner, after.as_bytes()].concat())
        }),
        1 => Just(Raw::from("/")),
        1 => Just(Raw::from("")),
        1 => Just(Raw::from("//")),
        1 => Just(Raw(b"/a\0b".to_vec())),
    ]
}

fn pattern() -> impl Strategy<Value = Raw> {
    let part = prop_oneof![
        4 => Just("*"),
        3 => Just("**"),
        2 => Just("?"),
        1 => Just("[ab]"),
        1 => Just("[!a]"),
        1 => Just("[a-c]"),
        1 => Just("a*"),
        3 => Just("a"),
        2 => Just("b"),
    ];
    vec(part, 1..4).prop_map(|parts| Raw(format!("/{}", parts.join("/")).into_bytes()))
}
