//! Trying again: what to do where content is cold or memory is short.
//!
//! The layers below change nothing then and say so. Here, where no lock of a node is held, the
//! tier is asked to help (it may do I/O and wait), and the operation is tried again. Where nothing
//! can go, the operation is *written through*: it runs in memory that is kept back, and what it made
//! goes cold before anybody else gets that. Without a tier every fault is passed on as it is.

use smallvec::SmallVec;

use crate::base::error::{ErrorKind, Fault};
use crate::base::long_wait::long_wait;
use crate::base::sync::{Arc, thread};
use crate::handle::node::content;
use crate::handle::wait::Wait;
use crate::memory::shared::{Missing, Shared};
use crate::memory::small::Wish;
use crate::memory::tier::{Cold, ColdPart, Residents};
use crate::namespace::inode::Inode;

/// So often a tier may claim to have helped, and others be faster, before the operation is written
/// through or given up.
const TURNS: usize = 256;
/// So often others may change a file while it is taken in.
pub(crate) const RELOADS: usize = 3;
/// So often what is cold may be looked for in vain.
const LOOKS: usize = 1 << 16;
/// What one call asks the tier for at the most, in bytes.
const BATCH_BYTES: usize = 8 << 20;

/// How much was read, and how long the content was at that moment.
pub(crate) struct Seen {
    pub(crate) count: usize,
    pub(crate) len: u64,
}

/// Parts of a range that are cold, by where they begin in it.
type Parts = SmallVec<[Missing; 2]>;
/// Parts that are to be looked at again, with what the tier said of them if it failed.
type Undone = SmallVec<[(Missing, Option<Fault>); 2]>;

/// Runs an operation on a file until it does not lack cold content or memory; where no memory
/// can be had it is written through. What it makes must be tracked.
#[inline]
pub(crate) fn retry<R>(
    node: &Arc<Inode>,
    wait: Wait,
    mut attempt: impl FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    match attempt() {
        Err(fault) => retry_slowly(node, wait, fault, &mut attempt, write_through),
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
        Err(fault) => retry_slowly(node, wait, fault, &mut attempt, |_, fault, _| {
            Err(short(fault))
        }),
        done => done,
    }
}

/// What to say of a file that is never the same twice.
#[cold]
pub(crate) fn never_the_same() -> Fault {
    Fault::text(
        ErrorKind::ExternalChange,
        "others keep changing the file while it is read",
    )
}

/// Runs an operation on a file, and again if somebody else changed the host's file that it mirrors and that was taken in.
#[inline]
pub(crate) fn reloading<R>(
    node: &Arc<Inode>,
    mut attempt: impl FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    match attempt() {
        Err(fault) if fault.kind() == ErrorKind::ExternalChange => {
            reload_slowly(node, fault, &mut attempt)
        }
        done => done,
    }
}

#[cold]
fn reload_slowly<R>(
    node: &Arc<Inode>,
    mut fault: Fault,
    attempt: &mut dyn FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    let Some(changes) = &node.volume().changes else {
        return Err(fault);
    };
    for _ in 0..RELOADS {
        long_wait(|| changes.reload(node, fault))?;
        fault = match attempt() {
            Err(fault) if fault.kind() == ErrorKind::ExternalChange => fault,
            done => return done,
        };
    }
    Err(fault)
}

/// What else to try where no memory can be had, or no content be kept long enough.
type Otherwise<R> =
    fn(&Arc<Inode>, Fault, &mut dyn FnMut() -> Result<R, Fault>) -> Result<R, Fault>;

#[cold]
fn retry_slowly<R>(
    node: &Arc<Inode>,
    wait: Wait,
    mut fault: Fault,
    attempt: &mut dyn FnMut() -> Result<R, Fault>,
    otherwise: Otherwise<R>,
) -> Result<R, Fault> {
    let (mut reloads, mut wish) = (0, Wish::default());
    for turn in 0..TURNS {
        if turn > 0 {
            // Somebody else is in the way, or faster.
            thread::yield_now();
        }
        match help(node, wait, fault, &mut wish) {
            Err(fault) if fault.short_of_memory().is_some() => {
                return otherwise(node, fault, attempt);
            }
            Err(fault) if fault.kind() == ErrorKind::ExternalChange && reloads < RELOADS => {
                reloads += 1;
                match &node.volume().changes {
                    Some(changes) => long_wait(|| changes.reload(node, fault))?,
                    None => return Err(fault),
                }
            }
            Err(fault) => return Err(fault),
            Ok(()) => {}
        }
        fault = match attempt() {
            Err(fault) => fault,
            done => return done,
        };
    }
    otherwise(node, fault, attempt)
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
fn help(node: &Arc<Inode>, wait: Wait, fault: Fault, wish: &mut Wish) -> Result<(), Fault> {
    let account = node.account();
    let Some(index) = fault.missing() else {
        let may_wait = wait != Wait::Now;
        return wish.reclaim(account, may_wait, fault, |tier, bytes| {
            tier.try_reclaim(bytes)
        });
    };
    match account.budget.tier() {
        Some(_) if wait == Wait::Now => Err(ErrorKind::WouldBlock.into()),
        Some(tier) => long_wait(|| tier.fault_in(&holder(node), index)),
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
    loop {
        let batch = to.len().min(done + BATCH_BYTES);
        let part = &mut to[done..batch];
        let wanted = part.len();
        let count = read_batch(node, shared, offset + done as u64, part)?;
        done += count;
        if count < wanted || done == to.len() {
            return Ok(done);
        }
    }
}

/// Reads what is in memory, and all that is cold by one call of the tier.
fn read_batch(
    node: &Arc<Inode>,
    shared: &Shared,
    offset: u64,
    to: &mut [u8],
) -> Result<usize, Fault> {
    let mut missing = Parts::new();
    let count = shared.read_resident(offset, to, |part| missing.push(part));
    for _ in 0..LOOKS {
        if missing.is_empty() {
            return Ok(count);
        }
        let before = missing.len();
        let mut again = Parts::new();
        for (part, fault) in read_missing(node, &missing, to)? {
            let (at, end) = (part.done, part.done + part.len);
            let known = again.len();
            shared.read_resident(offset + at as u64, &mut to[at..end], |part| {
                again.push(Missing {
                    done: at + part.done,
                    ..part
                });
            });
            let is_there = again[known..].iter().any(|now| now.cold == part.cold);
            if let (Some(fault), true) = (fault, is_there) {
                return Err(fault);
            }
        }
        missing = again;
        if missing.len() >= before {
            thread::yield_now();
        }
    }
    Err(gave_up())
}

/// Asks the tier for the parts of `to` that are missing.
fn read_missing(node: &Arc<Inode>, missing: &Parts, to: &mut [u8]) -> Result<Undone, Fault> {
    let mut parts: SmallVec<[ColdPart<'_>; 2]> = SmallVec::new();
    let (mut rest, mut at) = (to, 0);
    for part in missing {
        let (to, behind) = rest[part.done - at..].split_at_mut(part.len);
        (rest, at) = (behind, part.done + part.len);
        if let Some(cold) = part.cold {
            parts.push(ColdPart::new(part.index, cold, part.start, to));
        }
    }
    read_cold(node, &mut parts)?;
    let mut results = parts.into_iter().map(|part| part.result);
    let again = missing.iter().filter_map(|part| {
        let result = part.cold.and_then(|_| results.next().flatten());
        match result {
            Some(Ok(())) => None,
            other => Some((*part, other.and_then(Result::err))),
        }
    });
    Ok(again.collect())
}

/// Reads parts of cold units, where there is a tier.
fn read_cold(node: &Arc<Inode>, parts: &mut [ColdPart<'_>]) -> Result<(), Fault> {
    match (node.account().budget.tier(), parts.first()) {
        (_, None) => Ok(()),
        (Some(tier), _) => long_wait(|| {
            node.volume().operations.missed();
            tier.read_cold(&holder(node), parts);
            Ok(())
        }),
        (None, Some(part)) => Err(Fault::miss(part.index)),
    }
}

impl Inode {
    /// Reads content of which something is cold. What it sees is of one moment, the length too.
    #[cold]
    pub(crate) fn read_cold(self: &Arc<Self>, offset: u64, to: &mut [u8]) -> Result<Seen, Fault> {
        let mut failed: Option<(Cold, Fault)> = None;
        for _ in 0..LOOKS {
            let (cold, len) = {
                let state = self.read();
                let content = content(&state)?;
                if let Some(shared) = content.shared() {
                    drop(state);
                    let len = shared.len();
                    let count = read_shared(self, &shared, offset, to)?;
                    return Ok(Seen { count, len });
                }
                let len = content.len();
                match content.read(offset, to) {
                    Err(fault) if fault.missing().is_some() => {}
                    done => return done.map(|count| Seen { count, len }),
                }
                // Whoever takes in what others did may change the length between two locks.
                (content.cold(0, self.who(&state).identity), len)
            };
            let Some(cold) = cold else { continue };
            if let Some((_, fault)) = failed.take_if(|(before, _)| *before == cold) {
                return Err(fault);
            }
            let len = len.min(u64::from(cold.len));
            let count = len.saturating_sub(offset).min(to.len() as u64) as usize;
            let start = offset.min(len) as usize;
            let mut part = ColdPart::new(0, cold, start, &mut to[..count]);
            if count > 0 {
                read_cold(self, std::slice::from_mut(&mut part))?;
            }
            match part.result {
                Some(Err(fault)) => failed = Some((cold, fault)),
                None if count > 0 => thread::yield_now(),
                _ => return Ok(Seen { count, len }),
            }
        }
        Err(gave_up())
    }
}
