//! What leaves memory first: eviction policies behind one trait.
//!
//! A pure layer: it is told of chunks that become resident, and says which of
//! them to give up. It sees identities, sizes and priorities, never a byte, a
//! file, a disk or the time of day, and may call `base` only. So the simulator
//! runs the very code that the filesystem runs.
//!
//! # The life of a chunk
//!
//! ```text
//!            admit                victim               evicted
//!   (none) ────────▶  queued  ──────────────▶ leaving ─────────▶ (none, a ghost remains)
//!                     ▲    │                      │
//!             release │    │ hold          refuse │       remove, from anywhere:
//!                     │    ▼                      │       (none, no ghost)
//!                     parked  ◀───────────────────┘
//! ```
//!
//! [`Policy::admit`] gives a [`Slot`], which the caller keeps with the chunk. Accesses are noted with
//! [`Hits::touch`], by any thread and without a lock. Everything else is called under one
//! lock of the caller.
//!
//! [`Policy::victim`] takes a chunk out of its queue and *offers* it. The caller
//! moves its bytes, which may take a while and happen for many victims at once, and says
//! [`Policy::evicted`] — or [`Policy::refuse`], because the chunk is viewed, pinned or in flight. A
//! refused chunk is not offered again, so a loop over victims ends, until
//! [`Policy::release`] or [`Policy::release_refused`] puts it back where it stood: first in line among
//! its equals. Both are O(1) per refusal.
//!
//! With a [`Settings::pin_ceiling`] chunks of the two highest priorities are parked as *pinned* and never offered, as
//! long as they take no more than that. What is beyond it is queued, and counts as [`PRIORITY_BOOSTED_MAX`]; it is pinned
//! if there is room by the time its turn comes.
//!
//! A slot that no chunk has is answered with `false` or `None` and changes nothing.
//!
//! # Memory
//!
//! 30 bytes per chunk (an entry of 28, a counter of two; counters come in segments that
//! double, so 32 at worst), 12 per ghost, and about 30 KiB for the queues of G2.
//! [`Policy::footprint`] says how much it is. The ghosts of G2 and S3-FIFO are bounded twice: by age,
//! and by number; there are at most as many places as chunks when the table last grew, at least 64.
//! Entries and counters are kept when chunks go and used again.

pub(crate) mod g2;
pub(crate) mod ghost;
pub(crate) mod hits;
pub(crate) mod lru;
pub(crate) mod managed;
pub(crate) mod ring;
pub(crate) mod s3fifo;
pub(crate) mod score;
pub(crate) mod shelf;
pub(crate) mod sieve;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use hits::Hits;
pub use score::{
    PRIORITY_BOOSTED_MAX, PRIORITY_DEFAULT, PRIORITY_MAX, PRIORITY_PINNED, SWAP_IN_COST_DEFAULT,
    weight,
};
pub use table::Slot;

use managed::Managed;

/// What a policy is told of a chunk that becomes resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Who it is, the same whenever it comes back; ghosts go by it. Any numbers will do: they are mixed.
    pub id: u64,
    /// Its bytes. Counts as 1 where it is divided by.
    pub size: u32,
    /// 0 to 10, [`PRIORITY_DEFAULT`] if nobody said; above 10 counts as 10.
    pub priority: u8,
    /// Whether it could be given up without writing it; see [`Policy::set_clean`].
    pub clean: bool,
    /// [`Explained::accesses`] of it when somebody else's policy had it, 0 if none did. What has some counts as
    /// remembered, as of one look that found them.
    pub accesses: u8,
}

/// A chunk that the policy offers for eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    pub slot: Slot,
    /// As admitted.
    pub id: u64,
    /// In bytes, as admitted or last resized.
    pub size: u32,
    /// As admitted or last set.
    pub clean: bool,
}

/// What a policy is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that chunks may take; see [`Policy::set_capacity`].
    pub capacity: u64,
    /// What bringing any chunk back costs beside its bytes: latency times bandwidth, in bytes. G2 only.
    pub swap_in_cost: u64,
    /// Accesses after which a chunk counts as one priority higher, at most 8. G2 only.
    ///
    /// Whenever the policy looks at a chunk, because it might go, it halves the accesses it
    /// remembers and adds those since it last looked; the boost holds while that sum reaches
    /// the threshold. `None` switches it off.
    pub boost_threshold: Option<u8>,
    /// Whether the bytes that a dirty chunk would have to write when it goes are part of its value (no latency:
    /// writes go in batches). G2 only. Off by default: on public traces and generated loads with 5 to 60 % of
    /// writes it saved at most 3.6 % of the cost of a cell, mostly nothing, and lost up to 6 % in others.
    pub dirty_counts: bool,
    /// How many bytes chunks from [`PRIORITY_PINNED`] on may take before they are offered as victims; see
    /// [`Policy::set_pin_ceiling`]. 0, the default, makes their priority a weight like any other.
    pub pin_ceiling: u64,
}

impl Settings {
    /// The defaults for so many bytes: swap-in cost 128 KiB, boost after 10 accesses, dirty like clean, no pins.
    pub fn new(capacity: u64) -> Self {
        Settings {
            capacity,
            swap_in_cost: SWAP_IN_COST_DEFAULT,
            boost_threshold: Some(10),
            dirty_counts: false,
            pin_ceiling: 0,
        }
    }
}

/// The policies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Greedy-dual in two stages, the default: the only one that knows sizes, costs and priorities.
    #[default]
    G2,
    /// Least recently used.
    Lru,
    /// SIEVE (Zhang et al., NSDI 2024).
    Sieve,
    /// S3-FIFO (Yang et al., SOSP 2023).
    S3Fifo,
}

impl PolicyKind {
    /// All of them, the default first.
    pub const ALL: [PolicyKind; 4] = [
        PolicyKind::G2,
        PolicyKind::Lru,
        PolicyKind::Sieve,
        PolicyKind::S3Fifo,
    ];

    /// As in options and on the command line: `g2`, `lru`, `sieve`, `s3fifo`.
    pub fn name(self) -> &'static str {
        match self {
            PolicyKind::G2 => "g2",
            PolicyKind::Lru => "lru",
            PolicyKind::Sieve => "sieve",
            PolicyKind::S3Fifo => "s3fifo",
        }
    }

    #[doc(hidden)]
    /// Whether a caller that must make room for one chunk should admit it first, so that it may be the
    /// one that goes. Reclaim in the background lets newcomers compete under any policy; the textbooks
    /// of the others have it the other way round.
    pub fn newcomers_compete(self) -> bool {
        self == PolicyKind::G2
    }

    /// A policy of this kind without chunks.
    #[doc(hidden)]
    pub fn build(self, settings: Settings) -> Box<dyn Policy> {
        match self {
            PolicyKind::G2 => Box::new(Managed::<g2::G2>::new(settings)),
            PolicyKind::Lru => Box::new(Managed::<lru::Lru>::new(settings)),
            PolicyKind::Sieve => Box::new(Managed::<sieve::Sieve>::new(settings)),
            PolicyKind::S3Fifo => Box::new(Managed::<s3fifo::S3Fifo>::new(settings)),
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no policy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy(String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = PolicyKind::ALL.map(PolicyKind::name).join(", ");
        write!(f, "{:?} is no policy; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownPolicy {}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let mut all = PolicyKind::ALL.into_iter();
        all.find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

/// In which of a policy's queues a chunk is, or was before it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// New, and not yet proven (S3-FIFO: small). The only queue of LRU and SIEVE.
    Probation,
    /// Accessed again, or remembered when it came back.
    Main,
}

/// Where a chunk is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Waiting for its turn.
    Queued,
    /// Offered as a victim.
    Leaving,
    /// Refused or held.
    Parked,
    /// Not to be offered, because of its priority.
    Pinned,
}

/// Why a chunk stands where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explained {
    /// In bytes, as admitted or last resized.
    pub size: u32,
    pub standing: Standing,
    pub queue: Queue,
    /// The frequency that its place counts on.
    pub frequency: u8,
    /// Accesses since the policy last looked, as far as they count, with those that it remembers: what the boost
    /// goes by, be it now or when it looks next.
    pub accesses: u8,
    /// As admitted or last set.
    pub priority: u8,
    /// As it counts now, with the boost.
    pub priority_counted: u8,
    /// As it will count when the policy looks at the chunk next.
    pub priority_expected: u8,
    pub clean: bool,
    /// What one byte of it is worth: 1 is a large chunk of priority 4, in memory for one access.
    /// 0 for policies that do not value.
    pub value: f64,
    /// In the same unit: how much of its value is left before it is due. Every eviction of its queue takes
    /// some from all that are in it. 0 for policies that do not value.
    pub left: f64,
}

/// Decides which chunk leaves memory. See the module's documentation.
///
/// Calls cost O(1) amortised unless said otherwise, allocate only to grow, and accept any values.
pub trait Policy: fmt::Debug + Send {
    fn kind(&self) -> PolicyKind;

    /// The counters, to be cloned and shared by everybody who accesses chunks.
    fn hits(&self) -> &Hits;

    /// A chunk became resident. Its slot is nobody else's until it is evicted or removed.
    fn admit(&mut self, chunk: Chunk) -> Slot;

    /// For callers that hold the lock at an access, after [`Hits::touch`]: lets LRU be exact.
    ///
    /// Without it LRU gives a touched chunk a second chance when its turn comes (which is
    /// CLOCK). The other policies never need it. A caller may note hits aside and report them in batches.
    fn on_hit(&mut self, slot: Slot);

    /// Takes the chunk that should go next out of its queue and offers it. `None` if all that
    /// remain are leaving or parked.
    ///
    /// Chunks found touched are queued anew on the way, each at most once per touch; so the cost is O(1) amortised
    /// over touches, and bounded while others keep touching.
    fn victim(&mut self) -> Option<Victim>;

    /// Offers the chunk that was pinned last, for a caller that asks for those too. `None` if none is pinned.
    fn pinned_victim(&mut self) -> Option<Victim>;

    /// The chunk went; it is remembered as a ghost. The slot is free. Also for chunks that were not
    /// offered, if the caller chose them itself.
    fn evicted(&mut self, slot: Slot) -> bool;

    /// The chunk that was offered cannot go now; it is parked.
    fn refuse(&mut self, slot: Slot) -> bool;

    /// Parks a queued chunk, as for a pin: it is not offered until [`Policy::release`], and that queues it anew.
    fn hold(&mut self, slot: Slot) -> bool;

    /// Puts a parked chunk back. A refused one stands first among its equals, as before it was offered.
    fn release(&mut self, slot: Slot) -> bool;

    /// Puts all refused chunks back, in their order: O(refused). Held ones stay.
    fn release_refused(&mut self);

    /// The chunk was deleted or truncated away: no ghost. The slot is free.
    fn remove(&mut self, slot: Slot) -> bool;

    /// The chunk has another size, in bytes. G2 values and queues it anew.
    fn resize(&mut self, slot: Slot, size: u32) -> bool;

    /// The chunk has another priority. G2 values and queues it anew.
    fn set_priority(&mut self, slot: Slot, priority: u8) -> bool;

    /// Whether the chunk could be given up without writing it.
    ///
    /// Victims carry it. If [`Settings::dirty_counts`], G2 values dirty chunks higher from when they are next
    /// queued; the call itself moves nothing.
    fn set_clean(&mut self, slot: Slot, clean: bool) -> bool;

    /// From now on chunks may take so many bytes. Evicts nothing by itself: the caller asks for victims.
    fn set_capacity(&mut self, bytes: u64);

    /// Forgets all chunks and ghosts. Only the counters of accesses keep their memory.
    fn start_over(&mut self);
    /// From now on so many bytes of chunks can be pinned, to the byte: those that are too many are queued by the
    /// next [`Policy::victim`], the last ones first.
    fn set_pin_ceiling(&mut self, bytes: u64);

    /// Chunks that have a slot.
    fn len(&self) -> u32;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the chunks that have a slot: leaving and parked ones included.
    fn bytes(&self) -> u64;

    /// The memory that the policy itself takes, in bytes.
    fn footprint(&self) -> u64;

    /// Why the chunk stands where it stands.
    fn explain(&self, slot: Slot) -> Option<Explained>;
}
