//! A writer on a simulated disk, and what it promised so far.

use std::sync::Arc;

use brimfs::face::Fault;
use brimfs::face::disk::Directory;
use brimfs::face::journal::{
    CheckpointWriter, Group, Identity, Options, Position, Record, Recovered, Visitor, Writer,
    recover,
};
use brimfs_sim::medium::{Medium, Random};

/// Small enough that few groups fill a file.
pub const OPTIONS: Options = Options {
    file_bytes: 6 * 4096,
    step_bytes: 2 * 4096,
};

/// One thing that a user of the journal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A group with a payload of about so many bytes.
    Append(usize),
    /// Everything durable.
    Sync,
    /// A sync, an image as of then, and what it covers removed.
    Checkpoint,
    /// The process dies and another one opens the store.
    Restart,
    /// A clean end, and another opening.
    Close,
}

/// What recovery hands over: each group is one token here.
#[derive(Debug, Default)]
pub struct Tokens {
    pub whole: Vec<u64>,
    unfinished: Vec<u64>,
    pub restarts: u64,
}

/// What stands beside a token.
fn filler(token: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(token);
    (0..len).map(|_| random.number() as u8).collect()
}

impl Visitor for Tokens {
    fn restart(&mut self) {
        self.whole.clear();
        self.unfinished.clear();
        self.restarts += 1;
    }

    fn record(&mut self, record: Record<'_>) -> Result<(), Fault> {
        let Record::Inline {
            node,
            offset,
            bytes,
        } = record
        else {
            panic!("nobody wrote {record:?}");
        };
        // A checkpoint has the tokens only.
        let whole = offset as usize == bytes.len() && bytes == filler(node, bytes.len());
        assert!(whole || bytes.is_empty(), "content of {node} is damaged");
        self.unfinished.push(node);
        Ok(())
    }

    fn group(&mut self, _number: u64) -> Result<(), Fault> {
        self.whole.append(&mut self.unfinished);
        Ok(())
    }
}

/// Recovers what stands on a disk.
pub fn found(medium: &Medium) -> Result<(Recovered, Tokens), Fault> {
    let mut tokens = Tokens::default();
    let recovered = recover(medium, &mut tokens)?;
    assert!(tokens.unfinished.is_empty(), "records without a group");
    Ok((recovered, tokens))
}

/// What a user knows of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promise {
    /// Tokens that were handed to the journal, in order.
    pub appended: Vec<u64>,
    /// So many of them are durable.
    pub durable: usize,
}

impl Promise {
    /// Holds what was found against what was promised.
    pub fn check(&self, tokens: &[u64]) -> Result<(), String> {
        if !self.appended.starts_with(tokens) {
            return Err(format!("{tokens:?} is no prefix of {:?}", self.appended));
        }
        if tokens.len() < self.durable {
            let (found, durable) = (tokens.len(), self.durable);
            return Err(format!("{found} groups found, {durable} were durable"));
        }
        Ok(())
    }
}

/// A process that uses the journal.
#[derive(Debug)]
pub struct User {
    pub medium: Medium,
    options: Options,
    pub promise: Promise,
    pub writer: Option<Writer>,
    next_token: u64,
}

impl User {
    /// Before the store was opened.
    pub fn new(medium: &Medium, options: Options) -> Self {
        User {
            medium: medium.clone(),
            options,
            promise: Promise::default(),
            writer: None,
            next_token: 1,
        }
    }

    /// The same user after the power came back on another image of the disk; tokens go on.
    pub fn after_crash(&self, medium: &Medium) -> Self {
        User {
            medium: medium.clone(),
            options: self.options,
            promise: self.promise.clone(),
            writer: None,
            next_token: self.next_token,
        }
    }

    /// Opens the store, or creates it where there is none.
    pub fn open(&mut self) -> Result<(), Fault> {
        let (recovered, tokens) = found(&self.medium)?;
        if let Err(text) = self.promise.check(&tokens.whole) {
            panic!("on opening: {text}");
        }
        // Any of them may be found the next time, but none that was not found now.
        self.promise.appended = tokens.whole;
        let directory: Arc<dyn Directory> = Arc::new(self.medium.clone());
        self.writer = None;
        let writer = match recovered.identity {
            Some(_) => Writer::open(directory, &recovered, self.options)?,
            None => Writer::create(directory, &recovered, Identity([7; 16]), self.options)?,
        };
        self.promise.durable = self.promise.appended.len();
        self.writer = Some(writer);
        Ok(())
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("opened before")
    }

    pub fn step(&mut self, step: Step) -> Result<(), Fault> {
        match step {
            Step::Append(len) => self.append(len),
            Step::Sync => self.sync().map(|_| ()),
            Step::Checkpoint => self.checkpoint(),
            Step::Restart => self.open(),
            Step::Close => {
                self.writer.take().expect("opened before").close()?;
                self.promise.durable = self.promise.appended.len();
                self.open()
            }
        }
    }

    pub fn append(&mut self, len: usize) -> Result<(), Fault> {
        let token = self.next_token;
        self.next_token += 1;
        let bytes = filler(token, len);
        let mut group = Group::new();
        let offset = len as u64;
        let record = Record::Inline {
            node: token,
            offset,
            bytes: &bytes,
        };
        group.push(&record)?;
        // What is refused for lack of space was not written; what failed may have been.
        self.writer().reserve(group.len())?;
        self.promise.appended.push(token);
        self.writer().append(&group)?;
        Ok(())
    }

    pub fn sync(&mut self) -> Result<Position, Fault> {
        let position = self.writer().sync()?;
        self.promise.durable = self.promise.appended.len();
        Ok(position)
    }

    fn checkpoint(&mut self) -> Result<(), Fault> {
        let position = self.sync()?;
        if position.group == 0 {
            return Ok(());
        }
        let identity = self.writer().identity();
        let directory: Arc<dyn Directory> = Arc::new(self.medium.clone());
        let mut image = CheckpointWriter::begin(directory, identity, position)?;
        for token in &self.promise.appended {
            image.push(&Record::Inline {
                node: *token,
                offset: 0,
                bytes: &[],
            })?;
        }
        image.finish()?.remove()?;
        Ok(())
    }
}
