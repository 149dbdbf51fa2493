//! The methods that programs call most: exists, read_bytes, write_bytes, open,
//! remove, rename, listdir, view. Called without PyO3's trampoline; see `raw.rs`.
//!
//! The short form of each goes from the `str` to the node through the look-up
//! table, never waits and holds the interpreter lock throughout. Whatever it
//! cannot answer goes to the full form, which also raises every error.

use std::ffi::CStr;

use brimfs::ErrorKind;
use brimfs::face::{Fault, Node, NodeTicket, Source, Stored, Wait};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::FileSystem;
use super::listing::path_or_root;
use super::meta::unless_absent;
use super::names::{Change, Names};
use super::open::{Mode, OpenArguments};
use super::tiering::chosen_priority;
use crate::buffer::{View, adopt, adopted, new_bytes};
use crate::errors::OrRaise;
use crate::gil::{self, HELD_BYTES_MAX};
use crate::path::{PathArg, Style};
use crate::raw::lookup::Lookup;
use crate::raw::objects::{self, Arg, path_bytes, with_bytes, writable};
use crate::raw::{Args, Call, Table, method, raw_method};

// SAFETY: all of them expect a `FileSystem`, and `install` puts them there.
static METHODS: Table<8> = unsafe {
    Table::new([
        method(c"exists", Call::Named(exists), EXISTS),
        method(c"read_bytes", Call::Named(read_bytes), READ_BYTES),
        method(c"write_bytes", Call::Named(write_bytes), WRITE_BYTES),
        method(c"open", Call::Named(open), OPEN),
        method(c"remove", Call::Named(remove), REMOVE),
        method(c"rename", Call::Named(rename), RENAME),
        method(c"listdir", Call::Named(listdir), LISTDIR),
        method(c"view", Call::Named(view), VIEW),
    ])
};

const EXISTS: &CStr = c"exists($self, path)
--

Whether the path leads to anything, through symbolic links too.

False as well for a path that can name nothing. O(1) for a path that was found before.";

const READ_BYTES: &CStr = c"read_bytes($self, path)
--

Return the content of a file.

What write_bytes was given as bytes comes back as the same object, without a copy; anything else
is copied once. Waits for a writer that has the file open, up to the filesystem's lock_timeout.";

const WRITE_BYTES: &CStr = c"write_bytes($self, path, data, *, priority=None)
--

Make the bytes-like data the content of a file, which is created if it is missing. Return its
length.

A bytes object of more than 512 bytes is kept as it is, without a copy; anything else is copied.
All or nothing, in one step for every reader. Waits for handles that are open on the file, up to
the filesystem's lock_timeout. QuotaExceeded and MemoryLimitExceeded change nothing.

priority: how much the file is worth keeping in memory from then on, 0 to 10; None leaves it.";

const OPEN: &CStr = c"open($self, path, mode='r', buffering=-1, encoding=None, errors=None, newline=None, *, lock_timeout=..., lock='auto', priority=None)
--

Open a file, with the modes and the text arguments of the built-in open.

Binary modes give a File, text modes an io.TextIOWrapper over one; text is UTF-8 unless encoding
says otherwise. Files are in memory: buffering is checked as by the built-in open, and 0 and
larger sizes give the same unbuffered File.

The file is locked until it is closed: shared for reading, exclusive for anything that writes.
lock_timeout: seconds to wait for that, 0 to only try (BlockingIOError), None to wait for ever, by
default the filesystem's; LockTimeout tells who holds it. lock='none' opens without a lock.

priority: how much the file is worth keeping in memory from then on, 0 to 10; None leaves it.";

const REMOVE: &CStr = c"remove($self, path)
--

Remove a file or a symbolic link. Handles and views that are open keep the content.";

const RENAME: &CStr = c"rename($self, src, dst)
--

Rename src to dst, in one step. An existing file or empty directory dst is replaced.

The content is not touched: O(1) whatever is below a directory.";

const LISTDIR: &CStr = c"listdir($self, path='/')
--

Return the names in a directory as a list, in order of insertion.

Names are str, or bytes if path is bytes. O(number of names).";

const VIEW: &CStr = c"view($self, path)
--

Return the content of a file as it is now as a View: without a copy, whatever its size.

Copies once for content that was grown in many writes or has holes. Later writes do not change
the view; its memory stays charged until it is released.";

/// Adds the methods to the class.
pub(super) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    METHODS.install(class)
}

raw_method!(
    Named,
    FileSystem,
    exists,
    |fs, args| fs.exists_short(&args),
    |_, fs: &FileSystem, args: &Args<'_>| {
        let [path] = args.bind_all("exists", ["path"])?;
        let path = PathArg::new(&path)?;
        let found = unless_absent(fs.find(&path)).or_raise(&path)?;
        Ok(objects::boolean(args.py(), found.is_some()).unbind())
    }
);

raw_method!(
    Named,
    FileSystem,
    read_bytes,
    |fs, args| fs.read_short(&args),
    |py: Python<'_>, fs: &FileSystem, args: &Args<'_>| {
        let [path] = args.bind_all("read_bytes", ["path"])?;
        fs.read(py, &PathArg::new(&path)?).map(Bound::unbind)
    }
);

raw_method!(
    Named,
    FileSystem,
    write_bytes,
    |fs, args| fs.write_short(&args),
    |py: Python<'_>, fs: &FileSystem, args: &Args<'_>| {
        let names = ["path", "data", "priority"];
        let [path, data, priority] = args.bind("write_bytes", names, 2, 2)?;
        let (path, data) = path.zip(data).expect("two are required");
        let written = fs.write(py, &PathArg::new(&path)?, data, chosen_priority(priority)?)?;
        Ok(written.into_pyobject(py)?.into_any().unbind())
    }
);

raw_method!(
    Named,
    FileSystem,
    open,
    |fs, args| fs.open_short(&args),
    |_, fs: &FileSystem, args: &Args<'_>| {
        let bound = args.bind("open", OpenArguments::NAMES, 6, 1)?;
        fs.open(args.py(), &OpenArguments::new(bound)?)
            .map(Bound::unbind)
    }
);

raw_method!(
    Named,
    FileSystem,
    remove,
    |fs, args| fs.remove_short(&args),
    |py: Python<'_>, fs: &FileSystem, args: &Args<'_>| {
        let [path] = args.bind_all("remove", ["path"])?;
        let path = PathArg::new(&path)?;
        fs.core.remove_file(path.bytes()).or_raise(&path)?;
        Ok(py.None())
    }
);

raw_method!(
    Named,
    FileSystem,
    rename,
    |fs, args| fs.rename_short(&args),
    |py: Python<'_>, fs: &FileSystem, args: &Args<'_>| {
        let [src, dst] = args.bind_all("rename", ["src", "dst"])?;
        fs.rename(&PathArg::new(&src)?, &PathArg::new(&dst)?)?;
        Ok(py.None())
    }
);

raw_method!(
    Named,
    FileSystem,
    listdir,
    |fs, args| fs.listdir_short(&args),
    |py: Python<'_>, fs: &FileSystem, args: &Args<'_>| {
        let [path] = args.bind("listdir", ["path"], 1, 0)?;
        fs.listdir(py, &path_or_root(py, path.as_deref())?)
            .map(Bound::unbind)
    }
);

raw_method!(
    Named,
    FileSystem,
    view,
    |fs, args| fs.view_short(&args),
    |py: Python<'_>, fs: &FileSystem, args: &Args<'_>| {
        let [path] = args.bind_all("view", ["path"])?;
        let view = fs.view(py, &PathArg::new(&path)?)?;
        Ok(Bound::new(py, view)?.into_any().unbind())
    }
);

/// What a short look at a file's content found.
pub(super) enum Looked<'py> {
    Object(Bound<'py, PyAny>),
    /// Too long to be copied with the interpreter lock held.
    Long,
    NoMemory,
}

pub(super) fn look<'py>(py: Python<'py>, stored: Stored<'_>) -> Looked<'py> {
    let bytes = match stored {
        Stored::Foreign(foreign) => match adopted(py, foreign) {
            Some(object) => return Looked::Object(object),
            None => &**foreign,
        },
        Stored::Slice(bytes) => bytes,
        Stored::Pieces(_) => return Looked::Long,
    };
    if bytes.len() > HELD_BYTES_MAX {
        return Looked::Long;
    }
    let copied = new_bytes(py, bytes.len(), |room| {
        writable(room).copy_from_slice(bytes);
        Ok::<_, Fault>(bytes.len())
    });
    copied.map_or(Looked::NoMemory, Looked::Object)
}

impl FileSystem {
    /// The node that was found under an object before, if it is still there.
    #[inline]
    fn known(&self, path: Arg<'_>) -> Option<Node> {
        self.lookup
            .with(path.py(), |lookup| self.core.redeem(lookup.get(path)?))?
    }

    /// The node that an object leads to, remembered from the second time on. `Ok(None)` if nothing
    /// is there; `Err` if the full form has to look.
    #[inline]
    fn found(&self, path: Arg<'_>) -> Result<Option<Node>, ()> {
        if let Some(node) = self.known(path) {
            return Ok(Some(node));
        }
        match self.core.resolve(path_bytes(path).ok_or(())?) {
            Ok((node, ticket)) => {
                if let Some(ticket) = ticket
                    && self.comes_again(path)
                {
                    self.remember(path, ticket);
                }
                Ok(Some(node))
            }
            Err(fault)
                if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(_) => Err(()),
        }
    }

    /// Whether a path came before: one that comes once is not worth remembering.
    #[inline]
    fn comes_again(&self, path: Arg<'_>) -> bool {
        let again = |lookup: &mut Lookup<NodeTicket>| lookup.comes_again(path);
        self.lookup.with(path.py(), again) == Some(true)
    }

    /// Remembers a path of a file that was there already, if it came before.
    #[inline]
    fn remember_again(&self, path: Arg<'_>) {
        if self.comes_again(path)
            && let Some(Ok((_, Some(ticket)))) =
                path_bytes(path).map(|path| self.core.resolve(path))
        {
            self.remember(path, ticket);
        }
    }

    /// Finds what a path leads to, and remembers it under the caller's object.
    pub(super) fn find(&self, path: &PathArg<'_>) -> Result<Node, brimfs::Error> {
        self.seek(path)
            .map_err(|fault| fault.at("look up", path.bytes()))
    }

    /// As [`FileSystem::find`], for operations that name themselves in the error.
    pub(super) fn seek(&self, path: &PathArg<'_>) -> Result<Node, Fault> {
        let (node, ticket) = self.core.resolve(path.bytes())?;
        if let Some(ticket) = ticket {
            self.remember(path.object().as_borrowed(), ticket);
        }
        Ok(node)
    }

    #[inline]
    fn exists_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        let [path] = args.plain()?;
        let there = self.lookup.with(args.py(), |lookup| {
            lookup
                .get(path)
                .is_some_and(|ticket| self.core.ticket_valid(ticket))
        });
        if there == Some(true) {
            return Some(objects::boolean(args.py(), true));
        }
        let found = self.found(path).ok()?;
        Some(objects::boolean(args.py(), found.is_some()))
    }

    #[inline]
    fn read_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [path] = args.plain()?;
        let node = self.found(path).ok()??;
        match self
            .core
            .look(&node, Wait::Now, |stored| look(args.py(), stored))
        {
            Ok(Looked::Object(object)) => Some(object),
            _ => None,
        }
    }

    #[inline]
    fn write_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [path, data] = args.plain()?;
        let py = args.py();
        gil::enter(py);
        let node = self.known(path);
        let put = |source: Source<'_>| match &node {
            Some(node) => self.core.write_node(node, source, Wait::Now).ok(),
            None => {
                let created = self
                    .core
                    .write_with(path_bytes(path)?, source, Wait::Now)
                    .ok()?;
                // A new file may go as soon as it came.
                if !created {
                    self.remember_again(path);
                }
                Some(())
            }
        };
        if let Some(foreign) = adopt(data) {
            let len = foreign.len();
            put(Source::Foreign(foreign))?;
            return objects::integer(py, len as u64);
        }
        let len = with_bytes(data, HELD_BYTES_MAX, |bytes| {
            put(Source::Slice(bytes)).map(|()| bytes.len())
        })??;
        objects::integer(py, len as u64)
    }

    #[inline]
    fn open_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [path, mode] = args.plain()?;
        let mode = Mode::short(path_bytes(mode)?)?;
        gil::enter(args.py());
        let bytes = path_bytes(path)?;
        let options = mode.options();
        let core = match self.known(path) {
            Some(node) if !mode.creates_new() => self
                .core
                .open_node(&node, bytes, &options, Wait::Now)
                .ok()?,
            _ => {
                let core = self.core.open_with(bytes, &options, Wait::Now).ok()?;
                if !mode.creates_new() {
                    self.remember_again(path);
                }
                core
            }
        };
        let file = mode.file(core, path.to_owned().unbind(), self);
        Some(Bound::new(args.py(), file).ok()?.into_any())
    }

    #[inline]
    fn remove_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [path] = args.plain()?;
        gil::enter(args.py());
        self.core.remove_file(path_bytes(path)?).ok()?;
        Some(objects::none(args.py()))
    }

    #[inline]
    fn rename_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [src, dst] = args.plain()?;
        gil::enter(args.py());
        self.core.rename(path_bytes(src)?, path_bytes(dst)?).ok()?;
        Some(objects::none(args.py()))
    }

    /// Renames.
    pub(super) fn rename(&self, src: &PathArg<'_>, dst: &PathArg<'_>) -> PyResult<()> {
        self.core
            .rename(src.bytes(), dst.bytes())
            .or_raise_between(src, dst)
    }

    #[inline]
    fn listdir_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        let [path] = args.plain()?;
        let node = self.known(path)?;
        let stamp = node.directory_stamp();
        let copy = self
            .names
            .with(args.py(), |names| names.get(args.py(), node.ino(), stamp))?;
        copy?.ok()
    }

    /// The names in a directory.
    pub(super) fn listdir<'py>(
        &self,
        py: Python<'py>,
        path: &PathArg<'_>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let node = self.find(path).or_raise(path)?;
        // Read before the names: a list that is newer than its stamp is only used less.
        let stamp = node.directory_stamp();
        let named = |fault: Fault| fault.at("list", path.bytes());
        if path.style != Style::Str {
            let names = Names::of(py, &node).map_err(named).or_raise(path)?;
            return Ok(names.list(py, path.style)?.into_any());
        }
        let known = self.known_names(py, &node, stamp);
        if let Some(copy) = known.map_err(named).or_raise(path)? {
            return copy;
        }
        let names = Names::of(py, &node).map_err(named).or_raise(path)?;
        let list = names.list(py, path.style)?;
        self.remember_names(py, &node, stamp, &list, names);
        Ok(list.into_any())
    }

    /// The names of a directory that was listed before, with what changed since.
    fn known_names<'py>(
        &self,
        py: Python<'py>,
        node: &Node,
        stamp: u64,
    ) -> Result<Option<PyResult<Bound<'py, PyAny>>>, Fault> {
        let listed = self.names.with(py, |names| {
            if let Some(copy) = names.get(py, node.ino(), stamp) {
                return Some(Err(copy));
            }
            names.numbers(node.ino()).map(Ok)
        });
        let listed = match listed.flatten() {
            None => return Ok(None),
            Some(Err(copy)) => return Ok(Some(copy)),
            Some(Ok(listed)) => listed,
        };
        let Some(change) = Change::since(py, node, &listed)? else {
            return Ok(None);
        };
        let applied = self.names.with(py, |names| {
            let copy = names.apply(py, node.ino(), &listed, stamp, &change);
            (copy, names.bytes())
        });
        let Some((copy, bytes)) = applied else {
            return Ok(None);
        };
        self.pay(py, bytes, |charges| &mut charges.names);
        Ok(copy)
    }

    #[inline]
    fn view_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [path] = args.plain()?;
        let node = self.found(path).ok()??;
        // Nothing of these is copied, or little.
        let cheap = self.core.look(&node, Wait::Now, |stored| match stored {
            Stored::Foreign(_) => true,
            Stored::Slice(bytes) => bytes.len() <= HELD_BYTES_MAX,
            Stored::Pieces(_) => false,
        });
        if !cheap.unwrap_or(false) {
            return None;
        }
        let view = self.core.view_node(&node, Wait::Now).ok()?;
        Some(Bound::new(args.py(), View::new(view)).ok()?.into_any())
    }

    /// A view of a file, which may have to copy or to wait.
    fn view(&self, py: Python<'_>, path: &PathArg<'_>) -> PyResult<View> {
        let (core, wait) = (&self.core, self.core.default_wait());
        let measure = |view: &brimfs::View| view.len() as u64;
        let viewed = || {
            let node = self.seek(path)?;
            let len = usize::try_from(node.metadata().len()).unwrap_or(usize::MAX);
            if gil::declines(len) {
                return Err(ErrorKind::WouldBlock.into());
            }
            gil::detached(py, || core.view_node(&node, wait))
        };
        core.log_call("view", path.bytes(), measure, viewed)
            .map(View::new)
            .map_err(|fault| fault.at("view", path.bytes()))
            .or_raise(path)
    }
}
