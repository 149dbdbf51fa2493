//! The disk fails, or is full, at every call.

use brimfs::ErrorKind;
use brimfs::face::Fault;
use brimfs_sim::disk::{Failure, Plan};
use brimfs_sim::medium::{Image, Medium};

use super::world::{OPTIONS, Step, User, found};

const WORKLOAD: [Step; 14] = [
    Step::Append(10),
    Step::Sync,
    Step::Append(9000),
    Step::Append(10),
    Step::Sync,
    Step::Checkpoint,
    Step::Append(30_000),
    Step::Sync,
    Step::Append(10),
    Step::Sync,
    Step::Close,
    Step::Append(10),
    Step::Sync,
    Step::Restart,
];

fn text(fault: Fault) -> String {
    fault.during("commit").to_string()
}

/// Whether the writer refuses, which it does for good, and in the same words.
fn refuses(user: &mut User) -> bool {
    let first = match user.step(Step::Sync) {
        Ok(()) => return false,
        Err(fault) => text(fault),
    };
    assert!(first.contains("refuses writes until reopened"), "{first}");
    assert_eq!(
        text(user.step(Step::Append(10)).expect_err("refused")),
        first
    );
    assert_eq!(
        text(user.step(Step::Checkpoint).expect_err("refused")),
        first
    );
    true
}

fn check(user: &User, what: &str) {
    for medium in [user.medium.clone(), user.medium.crash(&Image::default())] {
        let checked = match found(&medium) {
            Ok((_, tokens)) => user.promise.check(&tokens.whole),
            Err(fault) => Err(text(fault)),
        };
        if let Err(problem) = checked {
            panic!("{what}: {problem}");
        }
    }
}

#[test]
fn every_call_may_fail_in_every_way() {
    let mut whole = User::new(&Medium::new(), OPTIONS);
    whole.open().expect("a disk that works");
    WORKLOAD
        .iter()
        .for_each(|step| whole.step(*step).expect("a disk that works"));
    let (mut refused, mut failed) = (0, 0);
    for failure in Failure::ALL {
        for call in 0..whole.medium.calls() {
            let what = format!("{failure:?} at call {call}");
            let mut user = User::new(&Medium::new(), OPTIONS);
            user.medium.plan(Some(Plan {
                call,
                failure,
                lasting: false,
            }));
            if user.open().is_err() {
                check(&user, &what);
                user.open().expect("it failed once only");
            }
            for step in WORKLOAD {
                let Err(fault) = user.step(step) else {
                    continue;
                };
                failed += 1;
                let transient = matches!(failure, Failure::Short | Failure::Interrupted);
                assert!(!transient, "{what}: {step:?} failed: {}", text(fault));
                check(&user, &what);
                if user.writer.is_none() {
                    user.open().expect("it failed once only");
                } else if refuses(&mut user) {
                    refused += 1;
                    check(&user, &what);
                    user.open().expect("it failed once only");
                }
                user.step(step)
                    .unwrap_or_else(|fault| panic!("{what}: {step:?} again: {}", text(fault)));
            }
            check(&user, &what);
        }
    }
    println!("{failed} failures, {refused} of them poisoned the writer");
    assert!(refused > 20 && failed > refused);
}

#[test]
fn a_full_disk_refuses_before_anything_is_written_and_forgives_when_there_is_space() {
    for blocks in 4..40 {
        let mut user = User::new(&Medium::new(), OPTIONS);
        user.medium.set_capacity(Some(4096 * blocks));
        while let Err(fault) = user.open() {
            assert_eq!(fault.kind(), ErrorKind::DiskFull, "{}", text(fault));
            user.medium.set_capacity(Some(4096 * (blocks + 6)));
        }
        let full = loop {
            match user.step(Step::Append(5000)) {
                Ok(()) => {}
                Err(fault) => break fault,
            }
        };
        assert_eq!(full.kind(), ErrorKind::DiskFull, "{}", text(full));
        let before = user.promise.appended.len();
        let again = user.step(Step::Append(20_000)).expect_err("still full");
        assert_eq!(again.kind(), ErrorKind::DiskFull, "{}", text(again));
        assert_eq!(user.promise.appended.len(), before);
        user.sync().expect("what was accepted has its space");

        user.medium.set_capacity(None);
        user.step(Step::Append(5000)).expect("there is space again");
        user.step(Step::Close).expect("nothing is wrong any more");
        check(&user, "full");
    }
}

#[test]
fn closing_needs_no_space() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    user.medium.set_capacity(Some(0));
    while user.step(Step::Append(10)).is_ok() {}
    user.writer
        .take()
        .expect("open")
        .close()
        .expect("its space was kept");
    user.promise.durable = user.promise.appended.len();
    let (recovered, tokens) = found(&user.medium.crash(&Image::default())).expect("whole");
    assert!(recovered.closed);
    user.promise
        .check(&tokens.whole)
        .expect("everything is there");
}

#[test]
fn reading_a_store_changes_nothing() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    WORKLOAD
        .iter()
        .for_each(|step| user.step(*step).expect("a disk that works"));
    let medium = user.medium.crash(&Image::default());
    medium.set_read_only(true);
    let (_, tokens) = found(&medium).expect("readable");
    assert_eq!(tokens.whole, user.promise.appended);
    let refused = user.after_crash(&medium).open().expect_err("read-only");
    assert_eq!(refused.kind(), ErrorKind::Io);
}
