//! How much memory the machine, or the control group the process is in, has and gives.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that the process could use if nobody else used any.
///
/// The smaller of the machine's memory and the control group's limit; `None` where neither is known.
pub(crate) fn total() -> Option<u64> {
    let machine = machine_total();
    let group = Groups::of_this_process(Path::new("/")).limit();
    smaller(machine, group)
}

/// Bytes of memory that can be had now without swapping; `None` where that is not known.
pub(crate) fn available() -> Option<u64> {
    let machine = meminfo("MemAvailable:");
    let group = Groups::of_this_process(Path::new("/")).room();
    smaller(machine, group)
}

/// The share of the last ten seconds in which somebody waited for memory, in percent: of the process's
/// control group, or else of the machine. `None` where the kernel does not count it (PSI).
pub(crate) fn stalled() -> Option<f64> {
    Groups::of_this_process(Path::new("/"))
        .stalled()
        .or_else(|| pressure(Path::new("/proc/pressure/memory")))
}

/// What a group's usage counts and the kernel gives up as soon as somebody needs memory, in bytes: pages
/// of files. The sums of version 1 that include the groups below come first.
fn reclaimable(group: &Path) -> u64 {
    let text = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.strip_prefix(' ')?.trim().parse::<u64>().ok()
    };
    let pages = |kind: &str| value(&format!("total_{kind}")).or_else(|| value(kind));
    let sum = ["inactive_file", "active_file"].map(|kind| pages(kind).unwrap_or(0));
    sum.iter().sum()
}

/// Reads a file of the kernel's pressure stall information.
fn pressure(file: &Path) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split(' ')
        .find_map(|part| part.strip_prefix("avg10="))?;
    average.parse().ok()
}

/// User and group that the process acts as.
pub(crate) fn process_owner() -> (u32, u32) {
    #[cfg(unix)]
    // SAFETY: both calls only read and cannot fail.
    unsafe {
        (libc::geteuid(), libc::getegid())
    }
    #[cfg(not(unix))]
    (0, 0)
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn machine_total() -> Option<u64> {
    meminfo("MemTotal:").or_else(physical_pages)
}

#[cfg(unix)]
fn physical_pages() -> Option<u64> {
    // SAFETY: `sysconf` only reads; an unknown name gives -1.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    u64::try_from(pages)
        .ok()?
        .checked_mul(u64::try_from(size).ok()?)
}

#[cfg(not(unix))]
fn physical_pages() -> Option<u64> {
    None
}

fn meminfo(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The memory control groups that the process is in, innermost first.
struct Groups {
    directories: Vec<PathBuf>,
    limit_file: &'static str,
    usage_file: &'static str,
}

impl Groups {
    /// Reads `/proc/self/cgroup` below `host`, of version 1 or 2.
    fn of_this_process(host: &Path) -> Self {
        let text = fs::read_to_string(host.join("proc/self/cgroup")).unwrap_or_default();
        let mut version_1 = None;
        let mut version_2 = None;
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            match (fields.next(), fields.next(), fields.next()) {
                (Some("0"), Some(""), Some(path)) => version_2 = Some(path),
                (_, Some(controllers), Some(path))
                    if controllers.split(',').any(|name| name == "memory") =>
                {
                    version_1 = Some(path);
                }
                _ => {}
            }
        }
        let (root, path, limit_file, usage_file) = match version_1 {
            Some(path) => (
                "sys/fs/cgroup/memory",
                path,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            ),
            None => (
                "sys/fs/cgroup",
                version_2.unwrap_or("/"),
                "memory.max",
                "memory.current",
            ),
        };
        let root = host.join(root);
        let below = Path::new(path.trim_start_matches('/'));
        // In a container the path can be one of the host, of which only the end is mounted.
        let directories = below.ancestors().map(|part| root.join(part)).collect();
        Groups {
            directories,
            limit_file,
            usage_file,
        }
    }

    fn limits(&self) -> impl Iterator<Item = (u64, u64)> {
        self.directories.iter().filter_map(|directory| {
            let number = |file: &str| {
                let text = fs::read_to_string(directory.join(file)).ok()?;
                text.trim().parse::<u64>().ok()
            };
            // "max" is no number, and version 1 says "no limit" with a number near 2^63.
            let limit = number(self.limit_file).filter(|limit| *limit < 1 << 60)?;
            let used = number(self.usage_file).unwrap_or(0);
            Some((limit, used.saturating_sub(reclaimable(directory))))
        })
    }

    fn limit(&self) -> Option<u64> {
        self.limits().map(|(limit, _)| limit).min()
    }

    /// Of the innermost group that is counted.
    fn stalled(&self) -> Option<f64> {
        let mut files = self
            .directories
            .iter()
            .map(|group| group.join("memory.pressure"));
        files.find_map(|file| pressure(&file))
    }

    fn room(&self) -> Option<u64> {
        self.limits()
            .map(|(limit, used)| limit.saturating_sub(used))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let host = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = host.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            fs::write(path, text).expect("written");
        }
        host
    }

    #[test]
    fn the_tightest_group_of_version_2_counts() {
        let host = host(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "1000\n"),
            ("sys/fs/cgroup/a/memory.current", "400\n"),
            ("sys/fs/cgroup/memory.max", "5000\n"),
        ]);
        let groups = Groups::of_this_process(host.path());
        assert_eq!((groups.limit(), groups.room()), (Some(1000), Some(600)));
    }

    #[test]
    fn version_1_without_a_limit_is_no_limit() {
        let host = host(&[
            ("proc/self/cgroup", "3:cpu:/\n4:cpuset,memory:/x\n0::/\n"),
            (
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "5\n"),
        ]);
        let groups = Groups::of_this_process(host.path());
        assert_eq!((groups.limit(), groups.room()), (None, None));
    }

    #[test]
    fn pages_of_files_are_room() {
        let version_2 = host(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "1000\n"),
            ("sys/fs/cgroup/a/memory.current", "990\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 90\nfile 900\ninactive_anon 9\ninactive_file 600\nactive_file 200\n",
            ),
        ]);
        assert_eq!(Groups::of_this_process(version_2.path()).room(), Some(810));
        let version_1 = host(&[
            ("proc/self/cgroup", "4:memory:/x\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "900\n"),
            (
                "sys/fs/cgroup/memory/x/memory.stat",
                "inactive_file 1\nactive_file 1\ntotal_inactive_file 300\ntotal_active_file 50\n",
            ),
        ]);
        assert_eq!(Groups::of_this_process(version_1.path()).room(), Some(450));
    }

    #[test]
    fn the_innermost_group_says_how_long_it_waited_for_memory() {
        let some = "some avg10=12.50 avg60=3.00 avg300=0.10 total=1\n";
        let host = host(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.pressure", some),
            (
                "sys/fs/cgroup/memory.pressure",
                "some avg10=0.00 avg60=0.00\n",
            ),
        ]);
        let groups = Groups::of_this_process(host.path());
        assert_eq!(groups.stalled(), Some(12.5));
    }

    #[test]
    fn this_machine_has_memory() {
        if let (Some(total), Some(available)) = (total(), available()) {
            assert!(available <= total && total > 0);
        }
    }
}
