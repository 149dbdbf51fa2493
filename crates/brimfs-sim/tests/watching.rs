//! Watches: that the events tell what became of a tree, in order, and hold nobody up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brimfs::{
    ErrorKind, Event, EventKind, FileSystem, FileType, OpenOptions, RenameMode, Watch, WatchOptions,
};
use brimfs_sim::medium::Random;

/// Paths below a watched place, and what is there.
type Seen = BTreeMap<String, FileType>;

fn small() -> FileSystem {
    let builder = FileSystem::builder().memory_limit(64 << 20);
    builder.build().expect("built")
}

fn text(path: &[u8]) -> String {
    String::from_utf8(path.to_vec()).expect("text")
}

fn drain(watch: &Watch) -> Vec<Event> {
    std::iter::from_fn(|| watch.try_next()).collect()
}

fn is_within(path: &str, top: &str) -> bool {
    path == top
        || path
            .strip_prefix(top)
            .is_some_and(|rest| top == "/" || rest.starts_with('/'))
}

/// What is below `top`: the names in it, or all.
fn tree(fs: &FileSystem, top: &str, is_recursive: bool) -> Seen {
    let mut seen = Seen::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs.read_dir(&directory).expect("a directory") {
            let name = text(entry.name());
            let path = format!("{}/{name}", directory.trim_end_matches('/'));
            if is_recursive && entry.file_type().is_dir() {
                open.push(path.clone());
            }
            seen.insert(path, entry.file_type());
        }
    }
    seen
}

fn take(seen: &mut Seen, top: &str) -> Seen {
    let (within, rest) = std::mem::take(seen)
        .into_iter()
        .partition(|(path, _)| is_within(path, top));
    *seen = rest;
    within
}

fn put(seen: &mut Seen, what: Seen, from: &str, to: &str) {
    seen.extend(
        what.into_iter()
            .map(|(path, kind)| (format!("{to}{}", &path[from.len()..]), kind)),
    );
}

/// Does to `seen` what an event says.
fn replay(seen: &mut Seen, event: &Event) {
    let path = text(&event.path);
    let from = event.from.as_deref().map(text).unwrap_or_default();
    match event.kind {
        EventKind::Created => {
            take(seen, &path);
            seen.insert(path, event.file_type);
        }
        EventKind::Removed => drop(take(seen, &path)),
        EventKind::Moved => {
            take(seen, &path);
            let moved = take(seen, &from);
            put(seen, moved, &from, &path);
        }
        EventKind::Exchanged => {
            let (one, other) = (take(seen, &from), take(seen, &path));
            put(seen, one, &from, &path);
            put(seen, other, &path, &from);
        }
        EventKind::Modified | EventKind::Spilled => {
            assert!(seen.contains_key(&path), "{event:?}");
        }
        _ => panic!("{event:?}"),
    }
}

/// What is in the files.
fn contents(fs: &FileSystem, seen: &Seen) -> BTreeMap<String, Vec<u8>> {
    let files = seen.iter().filter(|(_, kind)| kind.is_file());
    files
        .map(|(path, _)| (path.clone(), fs.read(path).expect("read").to_vec()))
        .collect()
}

struct Life {
    fs: FileSystem,
    random: Random,
}

impl Life {
    fn path(&mut self) -> String {
        let depth = 1 + self.random.below(3);
        (0..depth)
            .map(|_| format!("/{}", ["a", "b", "c"][self.random.below(3) as usize]))
            .collect()
    }

    /// Does something, if it can.
    fn act(&mut self) {
        let (one, other) = (self.path(), self.path());
        let fs = &self.fs;
        let done = match self.random.below(14) {
            0..=2 => fs.write(&one, other.into_bytes()),
            3 => {
                let file = OpenOptions::new().write(true).open(fs, &one);
                file.and_then(|file| file.write_at(1, b"xyz").map(drop))
            }
            4 => fs.truncate(&one, 1),
            5..=6 => fs.create_dir(&one),
            7 => fs.remove_file(&one),
            8 => fs.remove_dir(&one),
            9 => fs.remove_dir_all(&one),
            10 => fs.rename(&one, &other),
            11 => fs.rename_with(&one, &other, RenameMode::Exchange),
            12 => fs.hard_link(&one, &other),
            _ => fs.copy_dir_all(&one, &other),
        };
        // What cannot be done is refused, and changes nothing.
        drop(done);
    }
}

fn cases(usually: u64) -> u64 {
    let asked = std::env::var("BRIMFS_CASES").ok();
    asked
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(usually)
}

#[test]
fn the_events_say_what_became_of_the_tree() {
    let (cases, mut watched) = (cases(300), 0);
    for seed in 0..cases {
        let mut life = Life {
            fs: small(),
            random: Random::new(seed),
        };
        for _ in 0..life.random.below(30) {
            life.act();
        }
        let is_recursive = life.random.below(3) > 0;
        let mut top = ["/", "/a", "/a/b"][life.random.below(3) as usize].to_owned();
        if life.fs.create_dir_all(&top).is_err() {
            // There is a file.
            continue;
        }
        watched += 1;
        let options = WatchOptions::new().recursive(is_recursive);
        let watch = options.watch(&life.fs, &top).expect("watched");
        let mut seen = tree(&life.fs, &top, is_recursive);
        for step in 0..60 {
            let before = contents(&life.fs, &seen);
            life.act();
            let events = drain(&watch);
            let context = format!("seed {seed} step {step} at {top}: {events:?}");
            for event in &events {
                let from = event.from.as_deref().map(text);
                if event.kind == EventKind::Moved && from.as_deref() == Some(&top) {
                    // Itself, with all that is in it.
                    let new = text(&event.path);
                    let all = take(&mut seen, &top);
                    put(&mut seen, all, &top, &new);
                    top = new;
                } else if event.kind == EventKind::Removed && text(&event.path) == top {
                    assert!(watch.has_ended(), "{context}");
                } else {
                    replay(&mut seen, event);
                }
            }
            if watch.has_ended() {
                assert!(life.fs.metadata(&top).is_err() || top != "/", "{context}");
                break;
            }
            assert_eq!(seen, tree(&life.fs, &top, is_recursive), "{context}");
            for (path, content) in contents(&life.fs, &seen) {
                let about = |event: &Event| {
                    let from = event.from.as_deref().unwrap_or(&event.path);
                    is_within(&path, &text(&event.path)) || is_within(&path, &text(from))
                };
                let is_told = before.get(&path) == Some(&content) || events.iter().any(about);
                assert!(is_told, "{path}, {context}");
            }
        }
    }
    assert!(watched > cases / 3, "{watched} of {cases}");
}

#[test]
fn a_watched_name_is_followed_through_its_replacements() {
    let fs = small();
    fs.write("/conf", "1").expect("written");
    let watch = fs.watch("/conf").expect("watched");
    fs.write("/other", "x").expect("written");
    fs.write("/conf", "2").expect("written");
    fs.write("/conf.new", "3").expect("written");
    fs.rename("/conf.new", "/conf").expect("renamed");
    fs.remove_file("/conf").expect("removed");
    fs.write("/conf", "4").expect("written");
    let told: Vec<_> = drain(&watch)
        .into_iter()
        .map(|event| (event.kind, text(&event.path)))
        .collect();
    let kinds = [
        EventKind::Modified,
        EventKind::Created,
        EventKind::Removed,
        EventKind::Created,
    ];
    assert_eq!(told, kinds.map(|kind| (kind, "/conf".to_owned())));
}

#[test]
fn what_nobody_reads_is_counted() {
    let fs = small();
    let watch = WatchOptions::new()
        .capacity(3)
        .watch(&fs, "/")
        .expect("watched");
    for number in 0..10 {
        fs.write(format!("/{number}"), "").expect("written");
    }
    let kinds: Vec<_> = drain(&watch).iter().map(|event| event.kind).collect();
    let created = EventKind::Created;
    assert_eq!(kinds, [created, created, created, EventKind::Dropped(7)]);
    fs.write("/0", "again").expect("written");
    assert_eq!(drain(&watch)[0].kind, EventKind::Modified);
}

#[test]
fn several_changes_that_nobody_has_read_are_one_event() {
    let fs = small();
    fs.write("/a", "").expect("written");
    fs.write("/b", "").expect("written");
    let watch = fs.watch("/").expect("watched");
    for _ in 0..5 {
        fs.append("/a", b"x").expect("written");
        fs.append("/b", b"x").expect("written");
    }
    assert_eq!(drain(&watch).len(), 2);
    fs.append("/a", b"x").expect("written");
    fs.rename("/a", "/c").expect("renamed");
    fs.append("/c", b"x").expect("written");
    let told: Vec<_> = drain(&watch)
        .into_iter()
        .map(|event| (event.kind, text(&event.path)))
        .collect();
    let expected = [
        (EventKind::Modified, "/a"),
        (EventKind::Moved, "/c"),
        (EventKind::Modified, "/c"),
    ];
    assert_eq!(told, expected.map(|(kind, path)| (kind, path.to_owned())));
}

#[test]
fn what_is_spilled_is_told() {
    let fs = small();
    fs.write("/a", vec![7; 100_000]).expect("written");
    let watch = fs.watch("/").expect("watched");
    fs.gc(0.0).expect("collected");
    let told = drain(&watch);
    assert_eq!(
        (told.len(), told[0].kind, text(&told[0].path)),
        (1, EventKind::Spilled, "/a".to_owned())
    );
}

#[test]
fn whoever_waits_is_woken() {
    let fs = small();
    let watch = fs.watch("/").expect("watched");
    assert_eq!(
        watch.next_within(Some(Duration::ZERO)).expect("waited"),
        None
    );
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| (&watch).map(|event| text(&event.path)).collect::<Vec<_>>());
        for number in 0..100 {
            fs.write(format!("/{number}"), "").expect("written");
        }
        fs.close().expect("closed");
        let told = reading.join().expect("no panic");
        assert_eq!(told.len(), 100);
    });
    assert!(watch.has_ended());
}

#[test]
fn a_watched_directory_that_is_removed_ends_the_watch() {
    let fs = small();
    fs.create_dir_all("/a/b").expect("made");
    let watch = fs.watch("/a/b").expect("watched");
    fs.rename("/a", "/c").expect("renamed");
    fs.remove_dir_all("/c").expect("removed");
    let told: Vec<_> = (&watch)
        .map(|event| (event.kind, text(&event.path)))
        .collect();
    let expected = [(EventKind::Moved, "/c/b"), (EventKind::Removed, "/c/b")];
    assert_eq!(told, expected.map(|(kind, path)| (kind, path.to_owned())));
    assert_eq!(
        fs.watch("/c").expect_err("gone").kind(),
        ErrorKind::NotFound
    );
    let snapshot = fs.snapshot().expect("made");
    assert_eq!(
        snapshot.watch("/").expect_err("never").kind(),
        ErrorKind::ReadOnly
    );
}

/// Many change one tree while a slow reader follows: every event is told or counted, and the tree is what they say.
#[test]
fn many_threads_are_watched() {
    const THREADS: u64 = 8;
    let fs = small();
    let watch = WatchOptions::new()
        .recursive(true)
        .capacity(1 << 20)
        .watch(&fs, "/")
        .expect("watched");
    let over = AtomicBool::new(false);
    let mut seen = Seen::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|seed| {
                let mut life = Life {
                    fs: fs.clone(),
                    random: Random::new(seed),
                };
                scope.spawn(move || (0..500).for_each(|_| life.act()))
            })
            .collect();
        scope.spawn(|| {
            for worker in workers {
                worker.join().expect("no panic");
            }
            over.store(true, Ordering::SeqCst);
        });
        loop {
            let is_last = over.load(Ordering::SeqCst);
            for event in drain(&watch) {
                if !matches!(event.kind, EventKind::Modified | EventKind::Spilled) {
                    replay(&mut seen, &event);
                }
            }
            if is_last {
                break;
            }
            std::thread::yield_now();
        }
    });
    assert_eq!(seen, tree(&fs, "/", true));
    // With what the watch knows, and without.
    fs.audit().expect("the counters");
    drop(watch);
    fs.audit().expect("the counters");
}

/// Without memory for a name a watch counts what it cannot place.
#[test]
fn what_there_is_no_memory_for_is_counted() {
    const FILES: u64 = 600;
    let builder = FileSystem::builder().memory_limit(1 << 20).spill(false);
    let fs = builder.build().expect("built");
    let mut paths: Vec<_> = (0..FILES).map(|number| format!("/{number}")).collect();
    for path in &paths {
        fs.write(path, "x").expect("written");
    }
    let watch = fs.watch("/").expect("watched");
    // All memory that there is, to the last piece.
    let mut file = paths.iter();
    for size in (5..19).rev().map(|bits| 1 << bits) {
        while let Some(path) = file.next_back()
            && fs.write(path, vec![0; size]).is_ok()
        {}
    }
    assert_eq!(
        fs.watch("/").expect_err("full").kind(),
        ErrorKind::MemoryLimit
    );
    for path in &mut paths {
        let longer = format!("{path}{}", "-".repeat(64));
        if fs.rename(&*path, &longer).is_ok() {
            *path = longer;
        }
    }
    drain(&watch);
    for path in &paths {
        // Less needs no memory.
        fs.truncate(path, 0).expect("truncated");
    }
    let (mut modified, mut dropped) = (0, 0);
    for event in drain(&watch) {
        match event.kind {
            EventKind::Modified => modified += 1,
            EventKind::Dropped(count) => dropped += count,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(modified + dropped, FILES);
    assert!(dropped > 0, "there was memory for all");
    fs.audit().expect("the counters");
    drop(watch);
    fs.audit().expect("the counters");
}
