//! Where spilled content goes when the user does not say.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::base::error::{ErrorKind, Fault};
use crate::io::disk::{Disk, Place};

/// The variable that names the directory for every filesystem of a process.
pub const SPILL_DIRECTORY_VARIABLE: &str = "BRIMFS_SPILL_DIR";

/// A directory that files can be created in, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Free space at the time of asking.
    pub place: Place,
}

/// Chooses the directory for spilled content: `wish` if there is one, else the directory in
/// `$BRIMFS_SPILL_DIR`, else `/var/tmp`, else the user's cache directory.
///
/// A wish and the variable are the user's word: what is wrong with them is an error and no reason
/// to look further. A directory in memory (tmpfs) is never chosen. Every candidate is tried
/// by creating a file in it, which has no name and is gone at once.
///
/// # Errors
/// [`ErrorKind::Io`]: the text lists each directory that was tried and why it is none.
pub fn find(
    disk: &dyn Disk,
    wish: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<SpillDirectory, Fault> {
    let mut refused = String::new();
    for path in candidates(wish, variable) {
        match try_out(disk, &path) {
            Ok(place) => return Ok(SpillDirectory { path, place }),
            Err(reason) => {
                let separator = if refused.is_empty() { "" } else { "; " };
                // Writing to a string cannot fail.
                let _ = write!(refused, "{separator}{}: {reason}", path.display());
            }
        }
    }
    if refused.is_empty() {
        refused.push_str("there is no directory to try");
    }
    let text = format!("no directory on a disk to spill to; tried {refused}");
    Err(Fault::text(ErrorKind::Io, text))
}

fn candidates(wish: Option<&Path>, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(wish) = wish {
        return vec![wish.to_owned()];
    }
    if let Some(named) = set(SPILL_DIRECTORY_VARIABLE) {
        return vec![named.into()];
    }
    let mut paths = Vec::new();
    if cfg!(unix) {
        paths.push(PathBuf::from("/var/tmp"));
    }
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("LOCALAPPDATA").map(PathBuf::from))
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")));
    paths.extend(cache);
    paths
}

fn try_out(disk: &dyn Disk, path: &Path) -> Result<Place, String> {
    let place = disk.probe(path).map_err(|error| error.to_string())?;
    if place.in_memory {
        return Err("lies in memory, not on a disk".to_owned());
    }
    disk.create_nameless(path)
        .map_err(|error| error.to_string())?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::io::disk::DiskFile;
    use crate::io::real::RealDisk;

    /// Directories by their name: "memory…" is a tmpfs, "missing…" is not there, "full…" takes no file.
    #[derive(Debug)]
    struct Named;

    impl Disk for Named {
        fn create_nameless(&self, directory: &Path) -> io::Result<Box<dyn DiskFile>> {
            if directory.to_string_lossy().contains("full") {
                return Err(io::ErrorKind::StorageFull.into());
            }
            RealDisk.create_nameless(Path::new(env!("CARGO_MANIFEST_DIR")))
        }

        fn probe(&self, directory: &Path) -> io::Result<Place> {
            let name = directory.to_string_lossy();
            if name.contains("missing") {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Place {
                free: 1,
                total: 2,
                in_memory: name.contains("memory"),
            })
        }
    }

    fn with(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        }
    }

    #[test]
    fn the_users_word_comes_first_and_is_final() {
        let set = with(&[(SPILL_DIRECTORY_VARIABLE, "/named"), ("HOME", "/home/u")]);
        let wish = find(&Named, Some(Path::new("/wish")), &set).expect("usable");
        assert_eq!(wish.path, Path::new("/wish"));
        assert_eq!(
            find(&Named, None, &set).expect("usable").path,
            Path::new("/named")
        );
        let set = with(&[(SPILL_DIRECTORY_VARIABLE, "/memory")]);
        let error = find(&Named, None, &set)
            .expect_err("a tmpfs")
            .during("spill");
        assert!(
            error.to_string().contains("/memory: lies in memory"),
            "{error}"
        );
        assert!(find(&Named, Some(Path::new("/full")), &set).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn without_a_word_the_first_usable_one_is_taken() {
        let found = find(&Named, None, &with(&[("HOME", "/home/u")])).expect("usable");
        assert_eq!(found.path, Path::new("/var/tmp"));
        assert_eq!(
            candidates(
                None,
                &with(&[("HOME", "/home/u"), (SPILL_DIRECTORY_VARIABLE, "")])
            ),
            [Path::new("/var/tmp"), Path::new("/home/u/.cache")]
        );
    }

    #[test]
    fn a_tmpfs_is_recognised() {
        let shm = Path::new("/dev/shm");
        match RealDisk.probe(shm) {
            Ok(place)
                if std::fs::read_to_string("/proc/mounts")
                    .is_ok_and(|text| text.contains(" /dev/shm tmpfs")) =>
            {
                assert!(place.in_memory);
            }
            _ => eprintln!("skipped: no tmpfs at /dev/shm"),
        }
    }
}
