//! The Python class `Stats`: the counters of a filesystem at one moment.

use std::time::Duration;

use brimfs::DiskUse;
use pyo3::prelude::*;

use crate::record::record;
use crate::sizes::human;

/// The counters of a filesystem at one moment. Sizes are in bytes, times in seconds.
///
/// What is in memory and on the disk, and what went between them, counts for all filesystems that share a
/// Budget (or a share of the machine's memory); everything else for this one alone.
#[pyclass(frozen, eq, module = "brimfs")]
#[derive(Clone, PartialEq)]
pub(crate) struct Stats {
    core: brimfs::Stats,
}

impl Stats {
    pub(crate) fn new(core: brimfs::Stats) -> Self {
        Stats { core }
    }

    /// All zeros before the disk was needed.
    fn disk(&self) -> DiskUse {
        self.core.tier.disk.unwrap_or_default()
    }

    fn cold(&self) -> String {
        let tier = &self.core.tier;
        if tier.cold_units == 0 {
            return "nothing cold".to_owned();
        }
        let bytes = human(tier.cold_bytes);
        format!("{bytes} of {} files cold", tier.cold_files)
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

record!(Stats, |stats, py| {
    /// Bytes stored, as the quota counts them.
    quota_used: u64 = stats.core.quota_used,
    /// The quota, None without one.
    quota_limit: Option<u64> = stats.core.quota_limit,
    /// Regular files.
    files: u64 = stats.core.files,
    /// Directories, the root included.
    directories: u64 = stats.core.directories,
    /// Symbolic links.
    symlinks: u64 = stats.core.symlinks,
    /// Files, directories and symbolic links together.
    nodes: u64 = stats.core.nodes,
    /// The most nodes there may be, None without a limit.
    max_nodes: Option<u64> = stats.core.max_nodes,
    /// Bytes in memory: content, nodes, names, tables and caches.
    resident: u64 = stats.core.resident,
    /// The most bytes that were ever in memory.
    resident_peak: u64 = stats.core.resident_peak,
    /// The most bytes that may be in memory. Shared with the other filesystems of a Budget.
    memory_limit: u64 = stats.core.memory_limit,
    /// Handles that are open.
    open_handles: u64 = stats.core.open_handles,
    /// Views that are alive.
    views: u64 = stats.core.views,
    /// Threads that wait for a file lock.
    lock_waiters: u64 = stats.core.lock_waiters,
    /// Bytes of the path cache, a part of resident.
    cached_paths: u64 = stats.core.cached_paths,
    /// Freed bytes that the process keeps for the next files, beside resident.
    recycled: u64 = stats.core.recycled,
    /// Files that were opened.
    opens: u64 = stats.core.opens.calls,
    /// Seconds that opening one takes on average, of a sample; so for the other means.
    mean_open: f64 = stats.core.opens.mean.as_secs_f64(),
    /// Reads and views, of whole files and through handles.
    reads: u64 = stats.core.reads.calls,
    /// Seconds that a read takes on average.
    mean_read: f64 = stats.core.reads.mean.as_secs_f64(),
    /// Writes and appends, of whole files and through handles.
    writes: u64 = stats.core.writes.calls,
    /// Seconds that a write takes on average.
    mean_write: f64 = stats.core.writes.mean.as_secs_f64(),
    /// Removals of files, directories and trees.
    removals: u64 = stats.core.removals.calls,
    /// Seconds that a removal takes on average.
    mean_removal: f64 = stats.core.removals.mean.as_secs_f64(),
    /// Reads and views that found all they wanted in memory.
    hits: u64 = stats.core.hits(),
    /// Times that content had to be read from the disk because it was not in memory.
    misses: u64 = stats.core.misses,
    /// The share of hits in hits and misses, 0 to 1; 1 before anything is read.
    hit_rate: f64 = stats.core.hit_rate(),
    /// Lines of the operation log that the host did not take, because its disk is full.
    log_lines_lost: u64 = stats.core.log_lines_lost,
    /// Bytes of content of which there is a copy on the disk, be it beside that in memory.
    cold_bytes: u64 = stats.core.tier.cold_bytes,
    /// Those copies: small files, and chunks (at most 1 MiB) of larger ones.
    cold_units: u64 = stats.core.tier.cold_units,
    /// The files that they are of.
    cold_files: u64 = stats.core.tier.cold_files,
    /// Units that left memory.
    evictions: u64 = stats.core.tier.evictions,
    /// Those among them that had to be written.
    swaps_out: u64 = stats.core.tier.swaps_out,
    /// Their bytes.
    swapped_out: u64 = stats.core.tier.swapped_out,
    /// Units that came back.
    swaps_in: u64 = stats.core.tier.swaps_in,
    /// Their bytes.
    swapped_in: u64 = stats.core.tier.swapped_in,
    /// Those among them that preload brought in.
    preloads: u64 = stats.core.tier.preloads,
    /// Their bytes.
    preloaded: u64 = stats.core.tier.preloaded,
    /// Those among them that came back before anybody asked for them.
    reads_ahead: u64 = stats.core.tier.reads_ahead,
    /// Parts of cold units that were read without coming back.
    reads_through: u64 = stats.core.tier.reads_through,
    /// Their bytes.
    read_through: u64 = stats.core.tier.read_through,
    /// Calls that had to wait for memory.
    stalls: u64 = stats.core.tier.stalls,
    /// Seconds that they waited altogether.
    stalled: f64 = seconds(stats.core.tier.stalled),
    /// Seconds that the longest of them waited.
    longest_stall: f64 = seconds(stats.core.tier.longest_stall),
    /// Bytes reserved on the disk, whatever lies in them; 0 before it was needed.
    disk_used: u64 = stats.disk().bytes,
    /// The most that may be reserved there, None before the disk was needed.
    disk_limit: Option<u64> = stats.core.tier.disk.map(|disk| disk.limit),
    /// Bytes in use there by copies of content, with headers and seals.
    disk_live: u64 = stats.disk().live,
    /// Bytes given up there and not yet used again.
    disk_dead: u64 = stats.disk().dead,
    /// Bytes written to the disk.
    disk_written: u64 = stats.disk().written,
    /// Bytes read from the disk.
    disk_read: u64 = stats.disk().read,
});

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let Stats { core } = self;
        format!(
            "<brimfs.Stats {} files, {} directories, {} stored, {} of {} resident, {}>",
            core.files,
            core.directories,
            human(core.quota_used),
            human(core.resident),
            human(core.memory_limit),
            self.cold(),
        )
    }
}
