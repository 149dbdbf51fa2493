//! What all locks of the process share: the queues and the list of holders.
//!
//! A forked child starts with fresh ones. Those of its parent may be locked by
//! threads that do not exist in the child, and name waiters that never leave.

use super::holders::Registries;
use super::queue::Table;

#[derive(Debug)]
struct Shared {
    table: Table,
    registries: Registries,
    #[cfg(not(feature = "shuttle"))]
    generation: u32,
    /// The state of the next process down a line of forks.
    #[cfg(not(feature = "shuttle"))]
    child: std::sync::OnceLock<&'static Shared>,
}

pub(super) fn table() -> &'static Table {
    &shared().table
}

pub(super) fn registries() -> &'static Registries {
    &shared().registries
}

#[cfg(not(feature = "shuttle"))]
impl Shared {
    const fn new(generation: u32) -> Self {
        Shared {
            table: Table::new(),
            registries: Registries::new(),
            generation,
            child: std::sync::OnceLock::new(),
        }
    }
}

#[cfg(not(feature = "shuttle"))]
fn shared() -> &'static Shared {
    static FIRST: Shared = Shared::new(0);
    let generation = crate::base::fork::generation();
    let mut shared = &FIRST;
    while shared.generation != generation {
        // A child that never used a lock has no link of its own: the next one is for
        // whoever asks first, and only the process of that generation can ask.
        shared = shared
            .child
            .get_or_init(|| Box::leak(Box::new(Shared::new(generation))));
    }
    shared
}

#[cfg(feature = "shuttle")]
fn shared() -> &'static Shared {
    // One per explored schedule.
    shuttle::lazy_static! {
        static ref SHARED: Shared = Shared {
            table: Table::new(),
            registries: Registries::new(),
        };
    }
    &SHARED
}
