//! Random appends, reads, releases and compactions against a map.

use brimfs::ErrorKind;
use brimfs::face::segment::{Compression, Options, Protection, RECORD_MAX};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::world::{SEGMENT, World, options};

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<usize>),
    Load(Vec<usize>),
    Read(usize, u16, u16),
    ReadMany(Vec<(usize, u16, u16)>),
    Release(usize),
    ReleaseMost(u8),
    Compact(u64, usize),
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => 1usize..200,
        3 => 4000usize..4200,
        2 => (16usize << 10) - 2..(16 << 10) + 3,
        2 => 20_000usize..100_000,
        1 => 300_000..=RECORD_MAX,
        1 => Just(RECORD_MAX),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let range = || (any::<usize>(), any::<u16>(), any::<u16>());
    prop_oneof![
        5 => prop::collection::vec(len(), 1..12).prop_map(Op::Append),
        3 => prop::collection::vec(len(), 1..12).prop_map(Op::Load),
        3 => range().prop_map(|(record, offset, len)| Op::Read(record, offset, len)),
        2 => prop::collection::vec(range(), 1..12).prop_map(Op::ReadMany),
        5 => any::<usize>().prop_map(Op::Release),
        1 => (2u8..6).prop_map(Op::ReleaseMost),
        2 => (1u64..4 << 20, 0usize..4).prop_map(|(budget, dying)| Op::Compact(budget, dying)),
    ]
}

fn setup() -> impl Strategy<Value = Options> {
    let protection = prop_oneof![Just(Protection::Encrypted), Just(Protection::Checksummed)];
    let compression = prop_oneof![Just(Compression::None), Just(Compression::Lz4)];
    let buffers = prop_oneof![
        Just((2, 28 << 10)),
        Just((3, 64 << 10)),
        Just((8, 280 << 10))
    ];
    (protection, compression, buffers, 0usize..3).prop_map(
        |(protection, compression, buffers, helpers)| {
            let mut options = options(12 * SEGMENT);
            options.protection = protection;
            options.compression = compression;
            (options.buffers, options.buffer_bytes) = buffers;
            options.helpers = helpers;
            options
        },
    )
}

/// A record and a range in it that is not empty, from any numbers.
fn range(world: &World, choice: (usize, u16, u16)) -> Option<(u64, usize, usize)> {
    let (record, offset, len) = choice;
    let number = world.pick(record)?;
    let whole = world.kept[&number].extent.len();
    let offset = offset as usize * 37 % whole;
    let rest = whole - offset;
    Some((number, offset, (len as usize * 41 % rest).max(1)))
}

type Append = fn(&mut World, &[usize]) -> Result<(), ErrorKind>;

fn append(world: &mut World, lens: &[usize], append: Append) {
    match append(world, lens) {
        Ok(()) => return,
        Err(kind) => assert_eq!(kind, ErrorKind::DiskLimit),
    }
    world.check();
    world
        .compact(u64::MAX, 0)
        .expect("a disk that does not fail");
    let live = world.store.stats().live_bytes;
    let more: usize = lens.iter().sum();
    // A segment holds one or two of the longest records, so up to half of it may be lost.
    let roomy = (live + more as u64) * 9 / 4 + 4 * SEGMENT < 12 * SEGMENT;
    match append(world, lens) {
        Ok(()) => {}
        Err(kind) => assert!(kind == ErrorKind::DiskLimit && !roomy, "{live} + {more}"),
    }
}

fn apply(world: &mut World, op: &Op) {
    match op {
        Op::Append(lens) => append(world, lens, World::append),
        Op::Load(lens) => append(world, lens, World::load),
        Op::Read(record, offset, len) => {
            if let Some((number, offset, len)) = range(world, (*record, *offset, *len)) {
                assert_eq!(world.read(number, offset, len), Ok(()));
            }
        }
        Op::ReadMany(choices) => {
            let ranges: Vec<_> = choices
                .iter()
                .filter_map(|choice| range(world, *choice))
                .collect();
            assert!(world.read_many(&ranges).iter().all(Result::is_ok));
        }
        Op::Release(record) => {
            if let Some(number) = world.pick(*record) {
                world.release(number);
            }
        }
        Op::ReleaseMost(keep) => {
            let numbers: Vec<u64> = world.kept.keys().copied().collect();
            for number in numbers
                .into_iter()
                .filter(|number| number % u64::from(*keep) != 0)
            {
                world.release(number);
            }
        }
        Op::Compact(budget, dying) => {
            world
                .compact(*budget, *dying)
                .expect("a disk that does not fail");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_store_does_what_a_map_does() {
    let cases = number("BRIMFS_CASES").unwrap_or(300);
    let seed = number("BRIMFS_SEED").unwrap_or(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).unwrap_or(u32::MAX),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(
        &(setup(), prop::collection::vec(op(), 1..60)),
        |(options, ops)| {
            let mut world = World::new(options);
            for op in &ops {
                apply(&mut world, op);
                world.check();
            }
            world.finish();
            Ok(())
        },
    );
    if let Err(error) = outcome {
        panic!(
            "reproduce: BRIMFS_SEED={seed} BRIMFS_CASES={cases} cargo test -p brimfs-sim --test segments\n{error}"
        );
    }
}
