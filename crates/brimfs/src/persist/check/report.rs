//! What a check found, for programs and for people.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Every name of the file or directory that is hurt; none if it is the store, or a node without a name.
    pub paths: Vec<Vec<u8>>,
    /// The inode number of what is hurt.
    pub ino: Option<u64>,
    /// The bytes of the file that cannot be read.
    pub range: Option<Range<u64>>,
    /// What is wrong, and where in which file of the store.
    pub text: String,
}

impl Problem {
    pub(super) fn of_store(text: String) -> Self {
        Problem {
            paths: Vec::new(),
            ino: None,
            range: None,
            text,
        }
    }

    /// Whether the other one is the same, further on in the file.
    fn goes_on_with(&self, other: &Self) -> bool {
        let end = self.range.as_ref().map(|range| range.end);
        let start = other.range.as_ref().map(|range| range.start);
        end.is_some() && end == start && (self.ino, &self.text) == (other.ino, &other.text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.paths[..], self.ino) {
            ([first, others @ ..], _) => {
                path(first, f)?;
                for (place, other) in others.iter().enumerate() {
                    f.write_str(if place == 0 { " (also " } else { ", " })?;
                    path(other, f)?;
                }
                f.write_str(if others.is_empty() { ": " } else { "): " })?;
            }
            ([], Some(number)) => write!(f, "node {number}, which has no name: ")?,
            ([], None) => {}
        }
        if let Some(Range { start, end }) = self.range {
            write!(f, "bytes {start} to {}: ", end - 1)?;
        }
        f.write_str(&self.text)
    }
}

/// A path as text on one line.
pub(super) fn path(path: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for part in path.utf8_chunks() {
        for letter in part.valid().chars() {
            match letter.is_control() || letter == '\\' {
                true => write!(f, "{}", letter.escape_default())?,
                false => write!(f, "{letter}")?,
            }
        }
        for byte in part.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// What [`check_store`](crate::check_store) found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The format of the store.
    pub format: u32,
    /// The random number that all files of the store bear.
    pub identity: [u8; 16],
    /// The number of the last group of the journal: how many commits there were.
    pub groups: u64,
    /// The store was closed by whoever wrote to it last.
    pub was_closed: bool,
    /// The journal is damaged: the rest is about the last state before the damage.
    pub journal_damaged: bool,
    /// Nothing of the journal can be read, and nothing else was looked at.
    pub journal_lost: bool,
    /// Files with a name. One that has several counts once.
    pub files: u64,
    /// Directories with a path, the root included.
    pub directories: u64,
    /// Symbolic links with a name.
    pub symlinks: u64,
    /// Nodes without a name: removed while they were open. The next writer removes what is left of them.
    pub unnamed: u64,
    /// Lengths of all files together.
    pub bytes: u64,
    /// Bytes of content in segments that were read and verified; what copies share counts once.
    pub verified: u64,
    /// Files and directories with a problem.
    pub hurt: u64,
    /// All that is wrong, by path.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    pub(super) fn new(format: u32) -> Self {
        CheckReport {
            format,
            identity: [0; 16],
            groups: 0,
            was_closed: false,
            journal_damaged: false,
            journal_lost: false,
            files: 0,
            directories: 0,
            symlinks: 0,
            unnamed: 0,
            bytes: 0,
            verified: 0,
            hurt: 0,
            problems: Vec::new(),
        }
    }

    /// Nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds what is wrong with nodes.
    pub(super) fn conclude(&mut self, mut problems: Vec<Problem>) {
        let hurt: BTreeSet<u64> = problems.iter().filter_map(|problem| problem.ino).collect();
        self.hurt = hurt.len() as u64;
        let start = |problem: &Problem| problem.range.as_ref().map(|range| range.start);
        problems.sort_by(|one, other| {
            (&one.paths, one.ino, start(one)).cmp(&(&other.paths, other.ino, start(other)))
        });
        for problem in problems {
            match self.problems.last_mut() {
                Some(last) if last.goes_on_with(&problem) => {
                    let (whole, more) = (last.range.as_mut(), problem.range);
                    if let (Some(whole), Some(more)) = (whole, more) {
                        whole.end = more.end;
                    }
                }
                _ => self.problems.push(problem),
            }
        }
    }
}

/// What a check is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckStep {
    /// Reading the journal.
    Journal,
    /// Looking whether its records fit together.
    Records,
    /// Reading content.
    Content,
    /// Writing what is saved, in a repair.
    Saving,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckProgress {
    /// What is being done.
    pub step: CheckStep,
    /// Bytes of content that were read.
    pub done: u64,
    /// Bytes of content that there are to read; 0 before that is known.
    pub total: u64,
}

impl CheckProgress {
    pub(super) fn at(step: CheckStep) -> Self {
        CheckProgress {
            step,
            done: 0,
            total: 0,
        }
    }
}
