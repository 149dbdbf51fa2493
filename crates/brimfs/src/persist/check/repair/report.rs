//! What a repair did, for programs and for people.

use std::fmt;
use std::ops::Range;

use super::super::report::{CheckReport, path};

/// Something that a repair could not save, or not leave where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Every path that led to it; none if it had none that is known.
    pub paths: Vec<Vec<u8>>,
    /// Its inode number before the repair.
    pub ino: Option<u64>,
    /// The bytes of the file that are lost, now a hole.
    pub ranges: Vec<Range<u64>>,
    /// Where the rest of it is now; nothing if there is none.
    pub now: Option<Vec<u8>>,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.paths[..], self.ino) {
            ([], Some(number)) => write!(f, "node {number}")?,
            ([], None) => f.write_str("the store")?,
            (paths, _) => {
                for (place, one) in paths.iter().enumerate() {
                    f.write_str(if place == 0 { "" } else { ", " })?;
                    path(one, f)?;
                }
            }
        }
        write!(f, ": {}", self.text)?;
        for (place, Range { start, end }) in self.ranges.iter().enumerate() {
            f.write_str(if place == 0 {
                "; lost are bytes "
            } else {
                ", "
            })?;
            write!(f, "{start} to {}", end - 1)?;
        }
        if let Some(now) = &self.now {
            f.write_str("; now ")?;
            path(now, f)?;
        }
        Ok(())
    }
}

/// What [`repair_store`](crate::repair_store) did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was found before.
    pub before: CheckReport,
    /// Something was written. False of a sound store.
    pub is_changed: bool,
    /// All that was not saved as it was.
    pub losses: Vec<Loss>,
    /// Files of the store that are not part of it any more: what was damaged, by the names that they have now.
    pub set_aside: Vec<String>,
}
