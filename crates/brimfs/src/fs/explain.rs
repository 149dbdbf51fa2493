//! Why a file is where it is.

use std::fmt;
use std::time::Duration;

use crate::base::clock;
use crate::base::error::{Fault, Result};
use crate::fs::FileSystem;
use crate::handle::node;
use crate::memory::residence::NEVER_MAX;
use crate::memory::survey::{Place, Surveyed};
use crate::mover::{Moved, Mover, Ranking, Spill, SpillCause};
use crate::namespace::inode::{Inode, State};
use crate::namespace::path::AsPath;
use crate::namespace::times::Timestamp;

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::base::error::ErrorKind;

/// Why the part of a file that is in memory was not spilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// There is no disk to spill to.
    NoDisk,
    /// Memory was never short, so nothing is spilled.
    NeverShort,
    /// Up to 128 bytes stay: knowing where they are would cost as much.
    Small,
    /// A view shows it.
    Viewed,
    /// By [`FileSystem::pin`] or by its priority.
    Pinned,
    /// Other content is worth less.
    Worth,
    /// It is being moved or changed just now.
    Busy,
}

impl Kept {
    /// One word for programs: `no_disk`, `never_short`, `small`, `viewed`, `pinned`, `worth`, `busy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kept::NoDisk => "no_disk",
            Kept::NeverShort => "never_short",
            Kept::Small => "small",
            Kept::Viewed => "viewed",
            Kept::Pinned => "pinned",
            Kept::Worth => "worth",
            Kept::Busy => "busy",
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kept::NoDisk => "there is no disk to spill to",
            Kept::NeverShort => "memory was never short",
            Kept::Small => "content this small is never spilled",
            Kept::Viewed => "a view shows it",
            Kept::Pinned => "it is pinned",
            Kept::Worth => "other content is worth less",
            Kept::Busy => "it is at work just now",
        })
    }
}

/// What one byte of a file is worth to the policy, by the unit that would go first.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// 1 is a chunk of 1 MiB of priority 4 that was accessed once. 0 under policies other than
    /// [`PolicyKind::G2`](crate::PolicyKind::G2), which do not value.
    pub value: f64,
    /// How much of the value is left before the unit is due, in the same unit.
    pub left: f64,
    /// Whether it was accessed again since it came, or was remembered when it came back: what was
    /// not goes earlier.
    pub is_proven: bool,
}

/// When and why content left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastSpill {
    /// To a tenth of a second.
    pub at: Timestamp,
    /// Why.
    pub cause: SpillCause,
}

impl From<Spill> for LastSpill {
    fn from(spill: Spill) -> Self {
        LastSpill {
            at: Timestamp::from_nanos(spill.nanos),
            cause: spill.cause,
        }
    }
}

/// Where a file is and why, as of one moment; see [`FileSystem::explain`]. Reads well aloud.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// As the caller wrote it.
    pub path: Vec<u8>,
    /// Length of the file, in bytes.
    pub len: u64,
    /// What is in memory.
    pub resident: Moved,
    /// What of that has a good copy on the disk, and costs nothing to give up.
    pub clean: Moved,
    /// What is on the disk only.
    pub cold: Moved,
    /// What is neither, because it is a hole, in bytes.
    pub holes: u64,
    /// As it was set, 0 to 10.
    pub priority: u8,
    /// Whether the file is pinned, be it by its priority.
    pub pinned: bool,
    /// As it counts for the unit that is accessed most, with the boost that accesses give.
    pub priority_counted: u8,
    /// Accesses that count, of the unit in memory with the most: those since the policy last looked, up to
    /// [`priority_boost_threshold`](crate::Builder::priority_boost_threshold), and of earlier ones half for each look since.
    /// Of a file of a store that did not come in since it was opened what was recorded of it.
    pub accesses: u64,
    /// Of what is in memory and could be spilled.
    pub score: Option<Score>,
    /// The last time that something of it left memory, as long as the copy made then is good. What
    /// came back as a whole and was changed does not know any more.
    pub spilled: Option<LastSpill>,
    /// Why what is in memory is there; `None` if nothing is.
    pub kept: Option<Kept>,
}

impl FileSystem {
    /// Where a file is, what it is worth, and when and why it was spilled or why not.
    ///
    /// O(units): one for a file of up to 1 MiB, else one a mebibyte. Counts as no access.
    ///
    /// ```
    /// let fs = brimfs::FileSystem::new()?;
    /// fs.write("/a.csv", "x,y\n1,2\n")?;
    /// let why = fs.explain("/a.csv")?;
    /// assert_eq!((why.resident.bytes, why.cold.bytes, why.priority), (8, 0, 5));
    /// println!("{why}");
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::IsADirectory`] and those of bad paths.
    pub fn explain(&self, path: impl AsPath) -> Result<Explanation> {
        let path = path.as_path_bytes();
        self.with_file("explain", path, |node| self.explanation(path, node))
    }

    fn explanation(&self, path: &[u8], node: &Inode) -> Result<Explanation, Fault> {
        let state = node.read();
        let content = node::content(&state)?;
        let mut inquiry = Inquiry::new(self.mover(), path, &state);
        content.survey(|unit| inquiry.unit(unit));
        let is_active = self.volume().account.budget.active_tier().is_some();
        Ok(inquiry.conclude(content.len(), is_active))
    }
}

/// What is found out unit by unit.
struct Inquiry<'a> {
    mover: Option<&'a Mover>,
    found: Explanation,
    is_viewed: bool,
    /// Something is large enough to go.
    is_large: bool,
    /// The policy knows something of it.
    is_ranked: bool,
}

impl<'a> Inquiry<'a> {
    fn new(mover: Option<&'a Mover>, path: &[u8], state: &State) -> Self {
        let found = Explanation {
            path: path.to_vec(),
            len: 0,
            resident: Moved::default(),
            clean: Moved::default(),
            cold: Moved::default(),
            holes: 0,
            priority: state.priority(),
            pinned: state.is_pinned(),
            priority_counted: state.kept_priority(),
            accesses: u64::from(state.accesses()),
            score: None,
            spilled: None,
            kept: None,
        };
        Inquiry {
            mover,
            found,
            is_viewed: false,
            is_large: false,
            is_ranked: false,
        }
    }

    fn unit(&mut self, unit: Surveyed) {
        match unit.place {
            Place::Cold(location) => {
                self.found.cold.add(unit.bytes);
                self.spilled(self.mover.and_then(|mover| mover.spill(location)));
            }
            Place::Resident {
                slot,
                stored,
                is_whole,
                is_viewed,
            } => {
                self.found.resident.add(unit.bytes);
                self.is_viewed |= is_viewed;
                self.is_large |= unit.bytes > NEVER_MAX as u64;
                let mover = self.mover;
                let beside = mover.zip(slot.filter(|_| is_whole));
                let spill = match stored {
                    Some(location) => mover.and_then(|mover| mover.spill(location)),
                    None => beside.and_then(|(mover, slot)| mover.copy_beside(slot)),
                };
                if stored.is_some() || spill.is_some() {
                    self.found.clean.add(unit.bytes);
                }
                self.spilled(spill);
                let mover = slot.zip(self.mover);
                if let Some(ranking) = mover.and_then(|(slot, mover)| mover.ranking(slot)) {
                    self.ranked(ranking);
                }
            }
        }
    }

    fn spilled(&mut self, spill: Option<Spill>) {
        let before = self.found.spilled.map(|spilled| spilled.at);
        let later = spill
            .map(LastSpill::from)
            .filter(|later| Some(later.at) > before);
        self.found.spilled = later.or(self.found.spilled);
    }

    fn ranked(&mut self, ranking: Ranking) {
        let found = &mut self.found;
        let before = match self.is_ranked {
            true => found.accesses,
            false => 0,
        };
        self.is_ranked = true;
        found.accesses = before.max(u64::from(ranking.accesses));
        found.priority_counted = found.priority_counted.max(ranking.priority_counted);
        if found.score.is_none_or(|score| ranking.left < score.left) {
            found.score = Some(Score {
                value: ranking.value,
                left: ranking.left,
                is_proven: ranking.is_proven,
            });
        }
    }

    fn conclude(mut self, len: u64, is_active: bool) -> Explanation {
        let found = &mut self.found;
        found.len = len;
        found.holes = len.saturating_sub(found.resident.bytes + found.cold.bytes);
        found.kept = (found.resident.units > 0).then_some(match self.mover {
            None => Kept::NoDisk,
            _ if !self.is_large => Kept::Small,
            _ if !is_active => Kept::NeverShort,
            _ if self.is_viewed => Kept::Viewed,
            _ if found.pinned => Kept::Pinned,
            _ if found.score.is_some() => Kept::Worth,
            _ => Kept::Busy,
        });
        self.found
    }
}

fn plural(count: u64, one: &str) -> String {
    let many = match count {
        1 => "",
        _ if one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {one}{many}")
}

impl Explanation {
    fn whereabouts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = ": ";
        let mut part = |f: &mut fmt::Formatter<'_>, moved: Moved, place: &str| {
            if moved.units > 0 {
                let (bytes, units) = (plural(moved.bytes, "byte"), plural(moved.units, "unit"));
                write!(f, "{separator}{bytes} in {units} {place}")?;
                separator = ", ";
            }
            Ok(())
        };
        part(f, self.resident, "in memory")?;
        part(f, self.clean, "of it on the disk as well")?;
        part(f, self.cold, "on the disk only")?;
        match self.holes {
            0 => Ok(()),
            holes => write!(f, "{separator}{} in holes", plural(holes, "byte")),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        write!(f, "{path:?} has {}", plural(self.len, "byte"))?;
        self.whereabouts(f)?;
        write!(f, ". Its priority is {}", self.priority)?;
        if self.priority_counted != self.priority {
            write!(f, " and counts as {}", self.priority_counted)?;
        }
        if self.accesses > 0 {
            write!(f, ", with {} lately", plural(self.accesses, "access"))?;
        }
        if let Some(score) = self.score {
            let standing = if score.is_proven {
                "proven"
            } else {
                "on probation"
            };
            write!(
                f,
                "; {standing}, a byte is worth {:.2}, of which {:.2} is left",
                score.value, score.left
            )?;
        }
        if let Some(LastSpill { at, cause }) = self.spilled {
            let passed = i128::from(clock::wall_nanos()) - at.as_nanos();
            let passed = Duration::from_nanos(u64::try_from(passed).unwrap_or(0));
            write!(
                f,
                ". It left memory last {:.1} seconds ago, because {cause}",
                passed.as_secs_f64()
            )?;
        }
        if let Some(kept) = self.kept {
            write!(f, ". It is in memory because {kept}")?;
        }
        f.write_str(".")
    }
}
