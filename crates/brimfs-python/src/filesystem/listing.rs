//! What is in a directory, and below it.

use brimfs::FileType;
use brimfs::face::{Fault, Node};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySet, PyTuple};

use super::FileSystem;
use super::meta::unless_absent;
use crate::errors::OrRaise;
use crate::gil;
use crate::path::{PathArg, Style};
use crate::stat::stat_result;

/// The entries of a directory, copied out of the core in one go.
///
/// Python objects are made from them afterwards: that must not happen under a lock of the core.
#[derive(Default)]
pub(super) struct Entries {
    names: Vec<u8>,
    entries: Vec<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    end: usize,
    kind: FileType,
    inode: u64,
}

impl Entries {
    /// Those of the directory that a path leads to.
    fn read(py: Python<'_>, filesystem: &FileSystem, path: &PathArg<'_>) -> PyResult<Self> {
        let node = filesystem.find(path).or_raise(path)?;
        Entries::of(py, &node)
            .map_err(|fault| fault.at("list", path.bytes()))
            .or_raise(path)
    }

    /// Those of a directory.
    fn of(py: Python<'_>, node: &Node) -> Result<Self, Fault> {
        gil::detached(py, || {
            let mut all = Entries::default();
            node.visit(|entry| {
                all.names.extend_from_slice(entry.name);
                all.entries.push(Found {
                    end: all.names.len(),
                    kind: entry.kind,
                    inode: entry.ino,
                });
            })?;
            Ok(all)
        })
    }

    fn get(&self, index: usize) -> Option<(&[u8], Found)> {
        let found = *self.entries.get(index)?;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.entries[before].end);
        Some((&self.names[start..found.end], found))
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Found)> {
        (0..self.entries.len()).map(|index| {
            let found = self.entries[index];
            let start = index
                .checked_sub(1)
                .map_or(0, |before| self.entries[before].end);
            (&self.names[start..found.end], found)
        })
    }
}

#[pymethods]
impl FileSystem {
    /// Iterate over the entries of a directory as DirEntry objects, in order of insertion.
    ///
    /// The iterator is of the moment of the call, and can be used in a with statement.
    #[pyo3(signature = (path=None))]
    fn scandir<'py>(
        slf: &Bound<'py, Self>,
        path: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<ScanIterator> {
        let py = slf.py();
        let path = path_or_root(py, path)?;
        Ok(ScanIterator {
            filesystem: slf.clone().unbind(),
            directory: path.bytes().into(),
            style: path.style,
            entries: parking_lot::Mutex::new((Entries::read(py, slf.get(), &path)?, 0)),
        })
    }

    /// Walk the tree from top: yield (path, directory names, file names), as os.walk does.
    ///
    /// With topdown the list of directory names can be edited to choose what is walked next.
    /// onerror is called with the OSError of a directory that cannot be listed. Symbolic links
    /// to directories are listed as directories, and walked if followlinks is set. No recursion.
    #[pyo3(signature = (top=None, topdown=true, onerror=None, followlinks=false))]
    fn walk<'py>(
        slf: &Bound<'py, Self>,
        top: Option<&Bound<'py, PyAny>>,
        topdown: bool,
        onerror: Option<&Bound<'py, PyAny>>,
        followlinks: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let top = path_or_root(slf.py(), top)?;
        let walk = slf.py().import("brimfs._walk")?.getattr("walk")?;
        walk.call1((slf, top.object(), topdown, onerror, followlinks))
    }

    /// What a step of walk needs: directory names, file names, and which of the former are links.
    fn _names<'py>(&self, py: Python<'py>, path: PathArg<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let entries = Entries::read(py, self, &path)?;
        let (directories, files) = (PyList::empty(py), PyList::empty(py));
        let links = PySet::empty(py)?;
        for (name, found) in entries.iter() {
            let object = path.style.object(py, name)?;
            let is_link = found.kind.is_symlink();
            if found.kind.is_dir() || is_link && self.leads_to_directory(&join(path.bytes(), name))
            {
                directories.append(&object)?;
                if is_link {
                    links.add(&object)?;
                }
            } else {
                files.append(&object)?;
            }
        }
        (directories, files, links).into_pyobject(py)
    }

    /// The paths that match a pattern, absolute, sorted, each once.
    ///
    /// `*` and `?` match within a name, `[...]` and `[!...]` one character, `**` as a whole name
    /// any depth. Names that begin with a dot are names like any other.
    fn glob<'py>(&self, py: Python<'py>, pattern: PathArg<'py>) -> PyResult<Bound<'py, PyList>> {
        let (core, bytes) = (&self.core, pattern.bytes());
        let found = gil::detached(py, || core.glob(bytes)).or_raise(&pattern)?;
        let paths = found.iter().map(|path| pattern.style.object(py, path));
        PyList::new(py, paths.collect::<PyResult<Vec<_>>>()?)
    }
}

impl FileSystem {
    fn leads_to_directory(&self, path: &[u8]) -> bool {
        self.core
            .metadata(path)
            .is_ok_and(|metadata| metadata.is_dir())
    }
}

/// The path argument, the root if there is none.
pub(super) fn path_or_root<'py>(
    py: Python<'py>,
    path: Option<&Bound<'py, PyAny>>,
) -> PyResult<PathArg<'py>> {
    match path.filter(|path| !path.is_none()) {
        Some(path) => PathArg::new(path),
        None => PathArg::new(pyo3::intern!(py, "/")),
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, slash, name].concat()
}

/// Iterates over the entries of a directory; FileSystem.scandir makes it.
#[pyclass(frozen, module = "brimfs")]
pub(crate) struct ScanIterator {
    filesystem: Py<FileSystem>,
    directory: Box<[u8]>,
    style: Style,
    /// The entries and how many were given out.
    entries: parking_lot::Mutex<(Entries, usize)>,
}

#[pymethods]
impl ScanIterator {
    /// Forget the rest.
    fn close(&self) {
        *self.entries.lock() = (Entries::default(), 0);
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<DirEntry>> {
        let mut entries = self.entries.lock();
        let index = entries.1;
        let Some((name, found)) = entries.0.get(index) else {
            return Ok(None);
        };
        let name: Box<[u8]> = name.into();
        entries.1 += 1;
        // No Python object is made under the mutex.
        drop(entries);
        Ok(Some(DirEntry {
            filesystem: self.filesystem.clone_ref(py),
            path: join(&self.directory, &name).into(),
            name,
            style: self.style,
            found,
        }))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) {
        self.close();
    }
}

/// An entry of a directory; FileSystem.scandir yields it.
///
/// Name, kind and inode number are those of the listing; stat() looks again.
#[pyclass(frozen, weakref, module = "brimfs")]
pub(crate) struct DirEntry {
    filesystem: Py<FileSystem>,
    name: Box<[u8]>,
    path: Box<[u8]>,
    style: Style,
    found: Found,
}

#[pymethods]
impl DirEntry {
    /// The name in the directory.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.style.object(py, &self.name)
    }

    /// The path: that of scandir with the name.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.style.object(py, &self.path)
    }

    /// The inode number.
    fn inode(&self) -> u64 {
        self.found.inode
    }

    /// Whether it is a directory, or with follow_symlinks a link to one.
    #[pyo3(signature = (*, follow_symlinks=true))]
    fn is_dir(&self, py: Python<'_>, follow_symlinks: bool) -> PyResult<bool> {
        self.is_kind(py, FileType::Directory, follow_symlinks)
    }

    /// Whether it is a file, or with follow_symlinks a link to one.
    #[pyo3(signature = (*, follow_symlinks=true))]
    fn is_file(&self, py: Python<'_>, follow_symlinks: bool) -> PyResult<bool> {
        self.is_kind(py, FileType::File, follow_symlinks)
    }

    /// Whether it is a symbolic link.
    fn is_symlink(&self) -> bool {
        self.found.kind.is_symlink()
    }

    /// The metadata as it is now, as os.stat_result.
    #[pyo3(signature = (*, follow_symlinks=true))]
    fn stat<'py>(&self, py: Python<'py>, follow_symlinks: bool) -> PyResult<Bound<'py, PyAny>> {
        let path = PathArg::new(&self.path(py)?)?;
        let core = &self.filesystem.get().core;
        let found = if follow_symlinks {
            core.metadata(path.bytes())
        } else {
            core.symlink_metadata(path.bytes())
        };
        stat_result(py, &found.or_raise(&path)?)
    }

    fn __fspath__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.path(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<brimfs.DirEntry {}>", self.name(py)?.repr()?))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("cannot pickle a brimfs.DirEntry"))
    }
}

impl DirEntry {
    fn is_kind(&self, py: Python<'_>, kind: FileType, follow: bool) -> PyResult<bool> {
        if !follow || !self.found.kind.is_symlink() {
            return Ok(self.found.kind == kind);
        }
        let found = self.filesystem.get().core.metadata(&*self.path);
        let found = unless_absent(found).or_raise_bare(py)?;
        Ok(found.is_some_and(|metadata| metadata.file_type() == kind))
    }
}
