//! What a failed call must leave as it was.

use std::hash::{DefaultHasher, Hasher};

use brimfs::{FileSystem, OperationCount, TierStats};

/// Everything that could have changed, as text.
pub fn snapshot(fs: &FileSystem) -> String {
    use std::fmt::Write;
    fs.audit().expect("a clean audit");
    fs.clear_caches();
    let mut text = String::new();
    for entry in fs.walk("/").expect("a walk") {
        let found = entry.metadata();
        let at = entry.path();
        write!(text, "{} {found:?} ", entry.path_lossy()).expect("text grows");
        if found.is_file() {
            let content = fs.read(at).expect("content");
            let names = fs.list_xattrs(at).expect("attributes");
            let mut hasher = DefaultHasher::new();
            hasher.write(&content);
            write!(text, "{:x} {names:?}", hasher.finish()).expect("text grows");
        }
        text.push('\n');
    }
    fs.clear_caches();
    let mut stats = fs.stats();
    // Content may change its form while a call finds out that it has no room. That the memory
    // is what the content needs, the audit says.
    (stats.resident, stats.resident_peak) = (0, 0);
    // These are the process's own.
    (stats.recycled, stats.lock_waiters) = (0, 0);
    // What was done, not what is there.
    let none = OperationCount::default();
    (stats.opens, stats.reads, stats.writes, stats.removals) = (none, none, none, none);
    (stats.misses, stats.tier) = (0, TierStats::default());
    write!(text, "{stats:?}").expect("text grows");
    text
}
