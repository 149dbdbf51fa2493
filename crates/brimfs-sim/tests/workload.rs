//! Do the random sequences reach what they are there for? A comparison in which
//! everything ends in `ENOENT` would prove nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

use brimfs_sim::model::{Limits, Model, Verdict};
use brimfs_sim::op::Op;
use brimfs_sim::run::{Plan, explore};

const SEQUENCES: u64 = 300;

#[derive(Default)]
struct Tally {
    /// Operations by name: how many succeeded, how many failed.
    ops: BTreeMap<String, (u64, u64)>,
    errors: BTreeMap<i32, u64>,
    only_brimfs: u64,
    skipped: u64,
}

impl Tally {
    fn count(&mut self, op: &Op, verdict: Verdict) {
        let answer = match verdict {
            Verdict::All(answer) => answer,
            Verdict::BrimfsOnly(answer) => {
                self.only_brimfs += 1;
                answer
            }
            Verdict::Skip => {
                self.skipped += 1;
                return;
            }
        };
        let text = format!("{op:?}");
        let name = text.split([' ', '{']).next().unwrap_or_default();
        let (succeeded, failed) = self.ops.entry(name.to_owned()).or_default();
        match answer {
            Ok(_) => *succeeded += 1,
            Err(failure) => {
                *failed += 1;
                *self.errors.entry(failure.errno).or_default() += 1;
            }
        }
    }
}

#[test]
fn sequences_reach_what_they_are_for() {
    let tally = Mutex::new(Tally::default());
    let plan = Plan {
        seed: 1,
        cases: SEQUENCES,
        failures: 1,
    };
    explore("workload", plan, 100, |seed, ops| {
        let mut model = Model::new(Limits {
            quota: (seed % 2 == 0).then_some(64 << 10),
            max_nodes: (seed % 5 == 0).then_some(9),
        });
        let mut tally = tally.lock().expect("no panic while it is held");
        for op in ops.iter().filter(|op| !matches!(op, Op::CheckAll)) {
            let verdict = model.apply(op);
            tally.count(op, verdict);
        }
        Ok(())
    });
    let tally = tally.into_inner().expect("no panic while it was held");
    let total = SEQUENCES * 100;
    for (op, (succeeded, failed)) in &tally.ops {
        println!("{op}: {succeeded} succeeded, {failed} failed");
        assert!(
            *succeeded >= 3,
            "{op} hardly ever succeeds: {succeeded} times"
        );
    }
    assert_eq!(tally.ops.len(), 46, "an operation is never tried");
    for errno in [
        libc::ENOENT,
        libc::EEXIST,
        libc::ENOTDIR,
        libc::EISDIR,
        libc::ENOTEMPTY,
        libc::EINVAL,
        libc::ELOOP,
        libc::ENAMETOOLONG,
        libc::EBUSY,
        libc::ENOSPC,
        libc::EBADF,
        libc::ENODATA,
        libc::EPERM,
    ] {
        let count = tally.errors.get(&errno).copied().unwrap_or(0);
        println!("{}: {count}", std::io::Error::from_raw_os_error(errno));
        assert!(
            count >= 10,
            "errno {errno} hardly ever happens: {count} times"
        );
    }
    println!(
        "{} for brimfs only, {} skipped, of {total}",
        tally.only_brimfs, tally.skipped
    );
    assert!(
        tally.skipped * 20 < total,
        "{} of {total} are skipped",
        tally.skipped
    );
    assert!(
        tally.only_brimfs * 10 < total,
        "{} of {total} are compared with brimfs only",
        tally.only_brimfs
    );
}
