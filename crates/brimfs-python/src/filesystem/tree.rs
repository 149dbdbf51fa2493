//! Directories, names and links.

use brimfs::ErrorKind;
use brimfs::face::Fault;
use pyo3::prelude::*;

use super::FileSystem;
use crate::errors::OrRaise;
use crate::gil;
use crate::path::PathArg;

#[pymethods]
impl FileSystem {
    /// Create a directory.
    ///
    /// parents: create what is missing above it too. exist_ok: an existing directory is fine.
    #[pyo3(signature = (path, mode=0o777, *, parents=false, exist_ok=false))]
    fn mkdir(&self, path: PathArg<'_>, mode: u32, parents: bool, exist_ok: bool) -> PyResult<()> {
        let mut made = self.core.create_dir_with(path.bytes(), mode);
        if parents
            && made
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            self.make_parents(&path)?;
            made = self.core.create_dir_with(path.bytes(), mode);
        }
        match made {
            Err(error)
                if exist_ok
                    && error.kind() == ErrorKind::AlreadyExists
                    && self.is_directory(&path) =>
            {
                Ok(())
            }
            made => made.or_raise(&path),
        }
    }

    /// Remove an empty directory.
    fn rmdir(&self, path: PathArg<'_>) -> PyResult<()> {
        self.core.remove_dir(path.bytes()).or_raise(&path)
    }

    /// Remove a directory and everything in it. O(number of nodes).
    ///
    /// A file or a symbolic link is a NotADirectoryError.
    fn rmtree(&self, py: Python<'_>, path: PathArg<'_>) -> PyResult<()> {
        let (core, bytes) = (&self.core, path.bytes());
        if !core.symlink_metadata(bytes).or_raise(&path)?.is_dir() {
            let fault = Fault::from(ErrorKind::NotADirectory);
            return Err(fault.at("remove tree", bytes)).or_raise(&path);
        }
        gil::detached(py, || core.remove_dir_all(bytes)).or_raise(&path)
    }

    /// The same as rename: both replace an existing file, in one step.
    fn replace(&self, py: Python<'_>, src: PathArg<'_>, dst: PathArg<'_>) -> PyResult<()> {
        gil::enter(py);
        self.core
            .rename(src.bytes(), dst.bytes())
            .or_raise_between(&src, &dst)
    }

    /// Rename src to dst, or into dst if that is a directory. Return the new path.
    #[pyo3(name = "move")]
    fn move_<'py>(
        &self,
        py: Python<'py>,
        src: PathArg<'py>,
        dst: PathArg<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        gil::enter(py);
        let target = self.target(&src, &dst);
        self.core
            .rename(src.bytes(), &target)
            .or_raise_between(&src, &dst)?;
        named(py, &dst, &target)
    }

    /// Copy the file src to dst, or into dst if that is a directory. Return the new path.
    ///
    /// The content is shared until one of the two is written: O(size / 1 MiB), and nothing for
    /// the quota. Permission bits are copied; an existing file keeps its own.
    fn copy<'py>(
        &self,
        py: Python<'py>,
        src: PathArg<'py>,
        dst: PathArg<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        gil::enter(py);
        let target = self.target(&src, &dst);
        let (core, from) = (&self.core, src.bytes());
        gil::detached(py, || core.copy(from, &target)).or_raise_between(&src, &dst)?;
        named(py, &dst, &target)
    }

    /// Copy the directory src and everything in it to dst, which must not exist. Return dst.
    ///
    /// File content is shared until written. O(number of nodes).
    fn copytree<'py>(
        &self,
        py: Python<'py>,
        src: PathArg<'py>,
        dst: PathArg<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (core, from, to) = (&self.core, src.bytes(), dst.bytes());
        gil::detached(py, || core.copy_dir_all(from, to)).or_raise_between(&src, &dst)?;
        Ok(dst.object().clone())
    }

    /// Create a symbolic link at link that points to target, which need not exist.
    fn symlink(&self, target: PathArg<'_>, link: PathArg<'_>) -> PyResult<()> {
        self.core
            .symlink(target.bytes(), link.bytes())
            .or_raise_between(&target, &link)
    }

    /// What the symbolic link points to.
    fn readlink<'py>(&self, py: Python<'py>, path: PathArg<'py>) -> PyResult<Bound<'py, PyAny>> {
        let target = self.core.read_link(path.bytes()).or_raise(&path)?;
        path.style.object(py, &target)
    }

    /// Create a hard link: dst becomes another name of the file src.
    fn link(&self, src: PathArg<'_>, dst: PathArg<'_>) -> PyResult<()> {
        self.core
            .hard_link(src.bytes(), dst.bytes())
            .or_raise_between(&src, &dst)
    }

    /// The absolute path without `.`, `..`, doubled slashes and symbolic links.
    fn realpath<'py>(&self, py: Python<'py>, path: PathArg<'py>) -> PyResult<Bound<'py, PyAny>> {
        let real = self.core.canonicalize(path.bytes()).or_raise(&path)?;
        path.style.object(py, &real)
    }

    /// Create an empty file, or set the times of an existing one to now.
    ///
    /// exist_ok: False makes an existing one a FileExistsError.
    #[pyo3(signature = (path, *, exist_ok=true))]
    fn touch(&self, path: PathArg<'_>, exist_ok: bool) -> PyResult<()> {
        if exist_ok {
            return self.core.touch(path.bytes()).or_raise(&path);
        }
        let mut options = brimfs::OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .lock(brimfs::LockMode::None);
        options
            .open(&self.core, path.bytes())
            .map(drop)
            .or_raise(&path)
    }
}

impl FileSystem {
    /// Whether the path leads to a directory, through links too.
    fn is_directory(&self, path: &PathArg<'_>) -> bool {
        self.core
            .metadata(path.bytes())
            .is_ok_and(|metadata| metadata.is_dir())
    }

    /// Creates the directories above `path`, with the default mode.
    fn make_parents(&self, path: &PathArg<'_>) -> PyResult<()> {
        let bytes = path.bytes();
        let end = bytes
            .iter()
            .rposition(|byte| *byte != b'/')
            .map_or(0, |last| last + 1);
        match bytes[..end].iter().rposition(|byte| *byte == b'/') {
            Some(slash) if slash > 0 => self.core.create_dir_all(&bytes[..slash]).or_raise(path),
            _ => Ok(()),
        }
    }

    /// `dst`, or the name of `src` in it if it is a directory.
    fn target(&self, src: &PathArg<'_>, dst: &PathArg<'_>) -> Vec<u8> {
        let mut target = dst.bytes().to_vec();
        if self.is_directory(dst) {
            let trimmed = src.bytes();
            let end = trimmed
                .iter()
                .rposition(|byte| *byte != b'/')
                .map_or(0, |last| last + 1);
            let start = trimmed[..end]
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(0, |slash| slash + 1);
            if !target.ends_with(b"/") {
                target.push(b'/');
            }
            target.extend_from_slice(&trimmed[start..end]);
        }
        target
    }
}

/// The path that an operation ended at: the caller's own object if it is that.
fn named<'py>(py: Python<'py>, dst: &PathArg<'py>, target: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if dst.bytes() == target {
        return Ok(dst.object().clone());
    }
    dst.style.object(py, target)
}
