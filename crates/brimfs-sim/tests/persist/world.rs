//! Lives of a filesystem on a simulated medium, with all that it was ever allowed to be.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use brimfs::face::check_directory;
use brimfs::{Builder, CheckReport, Durability, ErrorKind, FileSystem};
use brimfs_sim::drivers::brimfs::Brimfs;
use brimfs_sim::medium::Medium;
use brimfs_sim::model::Limits;
use brimfs_sim::op::{Data, Op, OpenHow, System};
pub use brimfs_sim::run::audit;

use super::tree::{Contents, Tree, contents, tree, tree_with};

/// What a filesystem is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub memory: u64,
    pub durability: Durability,
    /// Small limits make small segments.
    pub disk: Option<u64>,
}

/// Nothing is evicted and nothing committed that nobody asked for.
pub const ROOMY: Settings = Settings {
    memory: 64 << 20,
    durability: Durability::Manual,
    disk: Some(32 << 20),
};

impl Settings {
    pub fn builder(self) -> Builder {
        let builder = FileSystem::builder()
            .memory_limit(self.memory)
            .durability(self.durability);
        match self.disk {
            Some(limit) => builder.disk_limit(limit),
            None => builder,
        }
    }

    pub fn open(self, medium: &Medium) -> Result<FileSystem, brimfs::Error> {
        self.builder().open_in(Arc::new(medium.clone()))
    }
}

/// One thing that a life does.
#[derive(Clone, Debug)]
pub enum Step {
    Do(Op),
    /// By a handle of its own.
    WriteAt {
        path: &'static str,
        at: u64,
        data: Data,
    },
    Sync,
    Close,
}

/// When a step began and ended, in calls of the medium.
#[derive(Clone, Copy, Debug)]
struct Mark {
    began: u64,
    ended: u64,
    /// What was done until then is durable.
    durable: bool,
}

/// What a life left.
pub struct Life {
    /// The tree at the beginning, and after each step.
    pub history: Vec<Tree>,
    marks: Vec<Mark>,
    /// Number of calls when it was opened.
    opened: u64,
    /// Begun in an empty directory.
    is_new: bool,
    /// What a crash at each call finds.
    pub frames: Vec<Medium>,
}

fn apply(system: &mut Brimfs, step: &Step) -> Result<bool, String> {
    let mut answer = |op: &Op| match system.apply(op) {
        Some(Err(failure)) if failure.errno == libc::ENOMEM => Err(failure.text),
        Some(answer) => Ok(answer.is_ok()),
        None => Ok(false),
    };
    match step {
        Step::Do(op) => answer(op),
        Step::WriteAt { path, at, data } => {
            let path = (*path).into();
            let how = OpenHow {
                write: true,
                ..OpenHow::default()
            };
            answer(&Op::Open { slot: 0, path, how })?;
            let (at, data) = (*at, *data);
            let written = answer(&Op::WriteAt { slot: 0, at, data })?;
            answer(&Op::Close { slot: 0 })?;
            Ok(written)
        }
        Step::Sync | Step::Close => Ok(true),
    }
}

/// A volatile filesystem in which everything is done too: it knows the content.
struct Twin {
    system: Brimfs,
    contents: Contents,
}

impl Twin {
    fn new() -> Self {
        let system = Brimfs::new(Limits::default()).expect("a volatile filesystem");
        Twin {
            system,
            contents: Contents::new(),
        }
    }

    fn refresh(&mut self) {
        self.contents = contents(self.system.fs()).expect("content in memory");
    }
}

/// Does `before` in an empty directory, closes, and gives the medium.
pub fn past(settings: Settings, before: &[Step]) -> Medium {
    let medium = Medium::new();
    let store = Arc::new(medium.clone());
    let mut system = Brimfs::with_store(Limits::default(), settings.builder(), store);
    for step in before {
        let done = apply(system.as_mut().expect("opened"), step);
        assert_eq!(done, Ok(true), "{step:?}");
    }
    system.expect("opened").fs().close().expect("closed");
    medium
}

/// Opens a filesystem in which `before` was done, does `steps`, and has all of it filmed. Ends early when memory
/// does not suffice.
pub fn live(settings: Settings, medium: &Medium, before: &[Step], steps: &[Step]) -> Life {
    let is_new = medium.names().is_empty();
    let mut twin = Twin::new();
    for step in before {
        assert_eq!(apply(&mut twin.system, step), Ok(true), "{step:?}");
    }
    twin.refresh();
    medium.film();
    let store = Arc::new(medium.clone());
    let opened = Brimfs::with_store(Limits::default(), settings.builder(), store);
    let mut system = opened.expect("opened");
    let tree = |system: &Brimfs, twin: &Twin| {
        tree_with(system.fs(), &twin.contents).expect("a tree in memory")
    };
    let mut life = Life {
        history: vec![tree(&system, &twin)],
        marks: Vec::new(),
        opened: medium.calls(),
        is_new,
        frames: Vec::new(),
    };
    for step in steps {
        let began = medium.calls();
        let done = match step {
            Step::Sync => system.fs().sync().map(|()| true),
            Step::Close => break,
            step => match apply(&mut system, step) {
                Ok(done) => Ok(done),
                Err(_) => break,
            },
        };
        let done = done.unwrap_or_else(|error| panic!("{step:?}: {error}"));
        let twins = apply(&mut twin.system, step).expect("a volatile filesystem has room");
        assert_eq!(done, twins, "{step:?} succeeds in one filesystem only");
        let is_sync = matches!(step, Step::Sync);
        if !is_sync {
            twin.refresh();
        }
        life.history.push(tree(&system, &twin));
        life.marks.push(Mark {
            began,
            ended: medium.calls(),
            durable: is_sync || settings.durability == Durability::Sync,
        });
    }
    if steps.iter().any(|step| matches!(step, Step::Close)) {
        let began = medium.calls();
        system.fs().close().expect("closed");
        life.history
            .push(life.history[life.history.len() - 1].clone());
        life.marks.push(Mark {
            began,
            ended: medium.calls(),
            durable: true,
        });
    }
    life.frames = medium.frames();
    life
}

impl Life {
    /// The first and the last tree of the history that a crash at this call may leave.
    pub fn allowed(&self, call: u64) -> (usize, usize) {
        let durable = |mark: &Mark| mark.durable && mark.ended <= call;
        let first = self.marks.iter().rposition(durable).map_or(0, |at| at + 1);
        let begun = |mark: &Mark| mark.began < call;
        let last = self.marks.iter().rposition(begun).map_or(0, |at| at + 1);
        (first, last.max(first))
    }

    /// Which of the allowed trees this is: the last one, if it is several.
    pub fn place(&self, call: u64, found: &Tree) -> Result<usize, String> {
        let (first, last) = self.allowed(call);
        let allowed = &self.history[first..=last];
        if let Some(at) = allowed.iter().rposition(|tree| tree == found) {
            return Ok(first + at);
        }
        // The store may not have been finished, and another one begun.
        if self.is_new && first == 0 && found.is_bare() {
            return Ok(0);
        }
        let mut text = format!("not as after any of steps {first} to {last}\n");
        let at = self.history.iter().position(|tree| tree == found);
        if let Some(at) = at {
            let _ = writeln!(text, "  it is as after step {at}");
        }
        for place in [first, last] {
            let difference = found.difference(&self.history[place]);
            let _ = writeln!(text, "compared with step {place}:\n{difference}");
        }
        Err(text)
    }

    /// Whether a crash at this call may leave no store.
    pub fn may_be_none(&self, call: u64) -> bool {
        self.is_new && call < self.opened
    }

    /// Whether the store was open at this call.
    pub fn was_open(&self, call: u64) -> bool {
        call > self.opened
    }
}

/// What a check says of what a crash left: nothing, or that there is no store yet.
pub fn check(medium: &Medium) -> Result<Option<CheckReport>, String> {
    let directory = Arc::new(medium.clone());
    match check_directory(directory, &mut |_| {}) {
        Ok(report) if report.is_sound() => Ok(Some(report)),
        Ok(report) => {
            let problems = report.problems.iter();
            let problems: Vec<_> = problems.map(|problem| format!("  {problem}\n")).collect();
            Err(format!("a check finds:\n{}", problems.concat()))
        }
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(format!("a check fails: {}", fault.during("check"))),
    }
}

/// What a store holds, all of it read.
pub fn found(settings: Settings, medium: &Medium) -> Result<(FileSystem, Tree), String> {
    let opened = catch_unwind(AssertUnwindSafe(|| settings.open(medium)));
    let opened = opened.map_err(|_| "opening panicked".to_owned())?;
    let fs = opened.map_err(|error| format!("opening: {error}"))?;
    let read = tree(&fs).map_err(|error| format!("reading: {error}"))?;
    audit(&fs).map_err(|text| format!("audit: {text}"))?;
    Ok((fs, read))
}

/// Of the frames of a film those with another disk than the one after: most calls only read.
pub fn moments(frames: &[Medium]) -> impl Iterator<Item = &Medium> {
    let after = frames.iter().skip(1).map(|frame| Some(frame.pending()));
    let both = frames.iter().zip(after.chain([None]));
    both.filter(|(frame, after)| after.as_ref() != Some(&frame.pending()))
        .map(|(frame, _)| frame)
}
