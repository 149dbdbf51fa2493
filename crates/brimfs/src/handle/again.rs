//! Trying again: what to do where content is cold or memory is short.
//!
//! The layers below change nothing then and say so. Here, where no lock of a node is held, the
//! tier is asked to help (it may do I/O and wait), and the operation is tried again. Without a
//! tier every fault is passed on as it is.

use crate::base::error::{ErrorKind, Fault};
use crate::base::long_wait::long_wait;
use crate::base::sync::{Arc, thread};
use crate::handle::wait::Wait;
use crate::memory::shared::{Missing, Shared};
use crate::memory::small;
use crate::memory::tier::{Cold, Residents};
use crate::namespace::inode::Inode;

/// So often a tier may claim to have helped before it counts as broken.
const ATTEMPTS: usize = 1 << 16;

/// Runs an operation on a file until it does not lack cold content or memory.
#[inline]
pub(crate) fn retry<R>(
    node: &Arc<Inode>,
    wait: Wait,
    mut attempt: impl FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    match attempt() {
        Err(fault) => retry_slowly(node, wait, fault, &mut attempt),
        done => done,
    }
}

#[cold]
fn retry_slowly<R>(
    node: &Arc<Inode>,
    wait: Wait,
    mut fault: Fault,
    attempt: &mut dyn FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    for attempts in 0..ATTEMPTS {
        if attempts > 0 {
            // Somebody else is in the way, or faster.
            thread::yield_now();
        }
        help(node, wait, fault)?;
        fault = match attempt() {
            Err(fault) => fault,
            done => return done,
        };
    }
    Err(gave_up())
}

/// Asks the tier for what was missing. Gives back a fault that no tier can help with.
fn help(node: &Arc<Inode>, wait: Wait, fault: Fault) -> Result<(), Fault> {
    let account = node.account();
    let Some(index) = fault.missing() else {
        return small::reclaim(account, wait != Wait::Now, fault);
    };
    match account.budget.tier() {
        Some(_) if wait == Wait::Now => Err(ErrorKind::WouldBlock.into()),
        Some(tier) => long_wait(|| tier.fault_in(&holder(node), index)),
        None => Err(fault),
    }
}

#[cold]
fn gave_up() -> Fault {
    Fault::text(
        ErrorKind::Io,
        "the cold tier keeps taking away what it brought back",
    )
}

fn holder(node: &Arc<Inode>) -> Arc<dyn Residents> {
    node.clone()
}

/// Reads all of `to` from content that nobody changes, cold or not; no lock is held.
pub(crate) fn read_shared(
    node: &Arc<Inode>,
    shared: &Shared,
    offset: u64,
    to: &mut [u8],
) -> Result<usize, Fault> {
    let mut done = 0;
    for _ in 0..ATTEMPTS.saturating_add(to.len()) {
        let missing = match shared.read(offset + done as u64, &mut to[done..]) {
            Ok(count) => return Ok(done + count),
            Err(missing) => missing,
        };
        done += missing.done;
        let Missing {
            len, index, start, ..
        } = missing;
        if let Some(cold) = missing.cold {
            let part = &mut to[done..done + len];
            if read_cold(node, index, cold, start, part)? {
                done += len;
            } else {
                thread::yield_now();
            }
        }
    }
    Err(gave_up())
}

/// Reads a part of a cold unit; `false` if it is to be looked at again.
pub(crate) fn read_cold(
    node: &Arc<Inode>,
    index: u64,
    cold: Cold,
    offset: usize,
    to: &mut [u8],
) -> Result<bool, Fault> {
    node.volume().operations.missed();
    match node.account().budget.tier() {
        Some(tier) => long_wait(|| tier.read_cold(&holder(node), index, cold, offset, to)),
        None => Err(Fault::miss(index)),
    }
}
