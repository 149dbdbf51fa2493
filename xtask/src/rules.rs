//! The rules as data: what a change of the house's order would edit.

/// Where the core crate's modules lie.
pub const CORE_SOURCE: &str = "crates/brimfs/src/";

/// A top-level module of the core, and how high it stands.
#[derive(Debug)]
pub struct Layer {
    pub rank: u32,
    pub modules: &'static [&'static str],
}

/// From the top down. Arrows go down; within a rank they form no circle.
pub const LAYERS: &[Layer] = &[
    // The facades: what users and the other faces see of `fs`.
    layer(9, &["lib", "face"]),
    layer(8, &["fs", "options"]),
    layer(7, &["snapshot"]),
    layer(6, &["persist"]),
    layer(5, &["handle"]),
    layer(4, &["namespace"]),
    layer(3, &["mover"]),
    layer(2, &["journal", "cold", "memory", "policy"]),
    layer(1, &["io"]),
    layer(0, &["base"]),
];

/// The rank in which modules may use each other both ways: they are one facade.
pub const FACADE_RANK: u32 = 8;

/// Arrows that point down or sideways and are wrong all the same.
pub const FORBIDDEN_ARROWS: &[(&str, &str, &str)] = &[
    ("policy", "io", "the policy knows no bytes and no disk"),
    ("policy", "cold", "the policy knows no bytes and no disk"),
    ("policy", "memory", "the policy knows no bytes and no disk"),
    ("policy", "journal", "the policy knows no bytes and no disk"),
    ("memory", "cold", "mover alone sees memory and cold"),
    ("cold", "memory", "mover alone sees memory and cold"),
];

const fn layer(rank: u32, modules: &'static [&'static str]) -> Layer {
    Layer { rank, modules }
}

/// An outside path that one place of the core owns.
#[derive(Debug)]
pub struct Seam {
    /// The first segments of the path.
    pub path: &'static [&'static str],
    /// Paths inside the core's `src`: a file, or a directory with its `/`.
    pub owners: &'static [&'static str],
    pub reason: &'static str,
}

const LOCKS: &str =
    "locks, atomics and threads come from base/sync.rs, so that shuttle can replace them";
const HOST: &str = "everything of the host goes through io, so that a simulation can replace it";

pub const SEAMS: &[Seam] = &[
    seam(&["parking_lot"], &["base/sync.rs"], LOCKS),
    seam(&["std", "sync", "Mutex"], &["base/sync.rs"], LOCKS),
    seam(&["std", "sync", "RwLock"], &["base/sync.rs"], LOCKS),
    seam(&["std", "sync", "Condvar"], &["base/sync.rs"], LOCKS),
    seam(&["std", "thread"], &["base/sync.rs"], LOCKS),
    // A fork handler may touch nothing but a real atomic, and a static needs a constant one.
    seam(
        &["std", "sync", "atomic"],
        &["base/sync.rs", "base/fork.rs", "handle/lock/holders.rs"],
        LOCKS,
    ),
    seam(&["std", "fs"], &["io/"], HOST),
    seam(&["std", "net"], &[], HOST),
    seam(&["std", "process"], &["base/fork.rs"], HOST),
];

const fn seam(
    path: &'static [&'static str],
    owners: &'static [&'static str],
    reason: &'static str,
) -> Seam {
    Seam {
        path,
        owners,
        reason,
    }
}

/// Where `unsafe` may stand: a file, a directory with its `/`, or a prefix that ends in `*`.
pub const UNSAFE_FILES: &[&str] = &[
    "crates/brimfs/src/memory/pool*",
    "crates/brimfs/src/memory/foreign.rs",
    "crates/brimfs/src/memory/residence.rs",
    "crates/brimfs/src/handle/view.rs",
    "crates/brimfs/src/handle/lock/holders.rs",
    // Forks, to test what a forked child sees.
    "crates/brimfs/src/handle/lock/tests.rs",
    "crates/brimfs/src/base/clock.rs",
    "crates/brimfs/src/base/spin.rs",
    "crates/brimfs/src/base/fork.rs",
    "crates/brimfs/src/io/",
    // Calls of the interpreter's C interface.
    "crates/brimfs-python/src/buffer.rs",
    "crates/brimfs-python/src/gil.rs",
    "crates/brimfs-python/src/raw.rs",
    "crates/brimfs-python/src/raw/",
    // Tables of the raw methods of a class, each for its own class.
    "crates/brimfs-python/src/file/hot.rs",
    "crates/brimfs-python/src/filesystem/hot.rs",
    // Calls of the operating system that std has no name for.
    "crates/brimfs-sim/src/drivers/host.rs",
    // Forks, to test what becomes of the thread that spills.
    "crates/brimfs-sim/tests/fork.rs",
    "crates/brimfs-sim/src/drivers/tmpfs.rs",
    // Counts what the process allocates.
    "crates/brimfs-sim/tests/decoder_memory.rs",
    // What sanitizers must report.
    "crates/brimfs-sim/tests/sanitizer_canary.rs",
    "crates/brimfs-bench/src/clock.rs",
];

pub const FILE_LINES_MAX: usize = 600;
/// A stub declares one compiled module: no text but signatures, and it cannot be split.
pub const STUB_LINES_MAX: usize = 1000;
pub const FUNCTION_LINES_MAX: usize = 80;

/// Lines above `unsafe` in which its SAFETY comment stands.
pub const SAFETY_LINES: usize = 3;

/// Texts that no tracked file holds. Split, so that this list does not hold them either.
pub const FORBIDDEN_TEXTS: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/fa", "rm/"), "a path of one machine"),
    (concat!(".lib", "rary"), "a path of one machine"),
];

/// Macros that no finished code calls.
pub const FORBIDDEN_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// All that a user of the core crate takes with it, on any platform.
pub const CORE_DEPENDENCIES: &[&str] = &[
    "brimfs",
    "aes-gcm",
    "bytes",
    "crc32c",
    "foldhash",
    "getrandom",
    "graviola",
    "hashbrown",
    "libc",
    "lz4_flex",
    "parking_lot",
    "smallvec",
    "triomphe",
    "zeroize",
    // Of aes-gcm.
    "aead",
    "aes",
    "block-buffer",
    "cipher",
    "cmov",
    "cpubits",
    "cpufeatures",
    "crypto-common",
    "ctr",
    "ctutils",
    "ghash",
    "hybrid-array",
    "inout",
    "polyval",
    "typenum",
    "universal-hash",
    // Of getrandom.
    "r-efi",
    // Of parking_lot.
    "bitflags",
    "cfg-if",
    "lock_api",
    "parking_lot_core",
    "redox_syscall",
    "scopeguard",
    "windows-link",
];
