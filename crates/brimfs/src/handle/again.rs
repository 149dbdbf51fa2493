//! Trying again: what to do where content is cold or memory is short.
//!
//! The layers below change nothing then and say so. Here, where no lock of a node is held, the
//! tier is asked to help (it may do I/O and wait), and the operation is tried again. Where nothing
//! can go, the operation is *written through*: it runs in memory that is kept back, and what it made
//! goes cold before anybody else gets that. Without a tier every fault is passed on as it is.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::{Arc, thread};
use crate::handle::wait::Wait;
use crate::memory::shared::{Missing, Shared};
use crate::memory::small;
use crate::memory::tier::{Cold, Residents};
use crate::namespace::inode::Inode;

/// So often a tier may claim to have helped, and others be faster, before the operation is written
/// through or given up.
const TURNS: usize = 256;
/// So often what is cold may be looked for in vain.
pub(crate) const LOOKS: usize = 1 << 16;

/// Runs an operation on a file until it does not lack cold content or memory; where no memory
/// can be had it is written through. What it makes must be tracked.
#[inline]
pub(crate) fn retry<R>(
    node: &Arc<Inode>,
    wait: Wait,
    mut attempt: impl FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    match attempt() {
        Err(fault) => match retry_slowly(node, wait, fault, &mut attempt) {
            Ended::Done(result) => result,
            Ended::Short(fault) => write_through(node, fault, &mut attempt),
        },
        done => done,
    }
}

/// As [`retry`], for what is to stay in memory: without that there is a fault.
#[inline]
pub(crate) fn retry_resident<R>(
    node: &Arc<Inode>,
    wait: Wait,
    mut attempt: impl FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    match attempt() {
        Err(fault) => match retry_slowly(node, wait, fault, &mut attempt) {
            Ended::Done(result) => result,
            Ended::Short(fault) => Err(short(fault)),
        },
        done => done,
    }
}

/// How trying again ended.
enum Ended<R> {
    Done(Result<R, Fault>),
    /// No memory can be had, or no content be kept long enough.
    Short(Fault),
}

#[cold]
fn retry_slowly<R>(
    node: &Arc<Inode>,
    wait: Wait,
    mut fault: Fault,
    attempt: &mut dyn FnMut() -> Result<R, Fault>,
) -> Ended<R> {
    for turn in 0..TURNS {
        if turn > 0 {
            // Somebody else is in the way, or faster.
            thread::yield_now();
        }
        match help(node, wait, fault) {
            Err(fault) if fault.short_of_memory().is_some() => return Ended::Short(fault),
            Err(fault) => return Ended::Done(Err(fault)),
            Ok(()) => {}
        }
        fault = match attempt() {
            Err(fault) => fault,
            done => return Ended::Done(done),
        };
    }
    Ended::Short(fault)
}

/// Runs an operation in memory that is kept back. What it needs cold cannot go again meanwhile, so
/// every turn brings it further.
#[cold]
fn write_through<R>(
    node: &Arc<Inode>,
    fault: Fault,
    attempt: &mut dyn FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    let budget = &node.account().budget;
    let (Some(_loan), Some(tier)) = (budget.borrow_kept()?, budget.tier()) else {
        return Err(short(fault));
    };
    for _ in 0..TURNS {
        match attempt() {
            Err(fault) => match fault.missing() {
                Some(index) => tier.fault_in(&holder(node), index)?,
                None => return Err(fault),
            },
            done => return done,
        }
    }
    Err(gave_up())
}

/// What to say where no memory was to be had: that it is cold is nothing that a caller understands.
fn short(fault: Fault) -> Fault {
    match fault.missing() {
        Some(_) => gave_up(),
        None => fault,
    }
}

/// Asks the tier for what was missing. Gives back a fault that no tier can help with.
fn help(node: &Arc<Inode>, wait: Wait, fault: Fault) -> Result<(), Fault> {
    let account = node.account();
    let Some(index) = fault.missing() else {
        let may_wait = wait != Wait::Now;
        return small::reclaim(account, may_wait, fault, |tier, bytes| {
            tier.try_reclaim(bytes)
        });
    };
    match account.budget.tier() {
        Some(_) if wait == Wait::Now => Err(ErrorKind::WouldBlock.into()),
        Some(tier) => tier.fault_in(&holder(node), index),
        None => Err(fault),
    }
}

#[cold]
pub(crate) fn gave_up() -> Fault {
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
    for _ in 0..LOOKS.saturating_add(to.len()) {
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
    match node.account().budget.tier() {
        Some(tier) => tier.read_cold(&holder(node), index, cold, offset, to),
        None => Err(Fault::miss(index)),
    }
}
