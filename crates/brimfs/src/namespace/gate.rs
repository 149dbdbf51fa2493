//! The gate that whoever changes nodes passes, so that somebody who closes it sees whole operations only.
//!
//! It is passed before the first lock of a node and left after the last one. Passing it within
//! itself costs nothing, in any order of leaving.
//!
//! A filesystem that is kept in a directory has a gate from the start. Any other one has none until
//! somebody wants to close it: see [`Latent`].

use std::cell::Cell;

use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, thread_local};

/// Where a thread is, so that it passes a gate once.
#[derive(Clone, Copy, Default)]
struct Here {
    /// The gate that it is within, by address.
    at: usize,
    depth: u32,
    /// It changed something since it was asked last.
    has_changed: bool,
}

thread_local! {
    static HERE: Cell<Here> = const { Cell::new(Here { at: 0, depth: 0, has_changed: false }) };
}

fn here() -> Here {
    HERE.with(Cell::get)
}

fn set_here(here: Here) {
    HERE.with(|cell| cell.set(here));
}

/// Within how many passes the thread is.
pub(crate) fn depth() -> u32 {
    here().depth
}

/// Whether the thread passed a gate since this was asked last.
pub(crate) fn take_changed() -> bool {
    let here = self::here();
    if here.has_changed {
        set_here(Here {
            has_changed: false,
            ..here
        });
    }
    here.has_changed
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Gate(RwLock<()>);

impl Gate {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Passes the gate, unless the thread is within it. To be called with no lock of a node held that
    /// was taken otherwise. Who is not within it calls `wait` before.
    pub(crate) fn enter(&self, wait: impl FnOnce()) -> Pass<'_> {
        let (at, here) = (self.address(), self::here());
        if here.depth > 0 && here.at == at {
            set_here(Here {
                depth: here.depth + 1,
                ..here
            });
            return Pass {
                before: here,
                gate: None,
            };
        }
        wait();
        let gate = Some(self.0.read());
        set_here(Here {
            at,
            depth: 1,
            has_changed: true,
        });
        Pass { before: here, gate }
    }

    /// Closes the gate: returns when nobody is within it any more.
    pub(crate) fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write()
    }

    /// As [`Gate::close`], by a thread that is to change something itself.
    pub(crate) fn close_for_change(&self) -> Alone<'_> {
        let before = self::here();
        let gate = self.0.write();
        set_here(Here {
            at: self.address(),
            depth: 1,
            has_changed: true,
        });
        Alone {
            before,
            _gate: gate,
        }
    }
}

/// Being within a gate, until it is dropped.
pub(crate) struct Pass<'a> {
    before: Here,
    gate: Option<RwLockReadGuard<'a, ()>>,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let here = self::here();
        // Those within another one may be left in any order.
        let then = match self.gate {
            Some(_) => self.before,
            None => Here {
                depth: here.depth.saturating_sub(1),
                ..here
            },
        };
        set_here(Here {
            has_changed: here.has_changed,
            ..then
        });
        drop(self.gate.take());
    }
}

/// Being alone within a gate, until it is dropped.
pub(crate) struct Alone<'a> {
    before: Here,
    _gate: RwLockWriteGuard<'a, ()>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        set_here(Here {
            has_changed: true,
            ..self.before
        });
    }
}

/// A gate that nobody passes until it is wanted: changes cost a look at a flag then.
#[derive(Debug, Default)]
pub(crate) struct Latent {
    gate: Gate,
    is_wanted: AtomicBool,
}

impl Latent {
    /// Whether it is to be passed. Whoever found it was not looks again when he has the lock of his node: from then on
    /// [`Latent::want`]'s caller waits for that.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }

    /// Passes the gate, if it is wanted.
    #[inline]
    pub(crate) fn pass(&self) -> Option<Pass<'_>> {
        self.is_wanted().then(|| self.gate.enter(|| {}))
    }

    /// From now on it is passed. Those who are under way hold the lock of a node each: the caller waits until he had
    /// that of each directory once. False if it was wanted already.
    pub(crate) fn want(&self) -> bool {
        !self.is_wanted.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
}
