//! The log of operations: the last ones in memory, all of them in a file.
#![cfg(not(feature = "shuttle"))]

use std::io::{Read, Write};
use std::time::Duration;

use brimfs::{ErrorKind, FileSystem, LogEntry, OpenOptions, Result, Timestamp};

fn logging(entries: usize) -> FileSystem {
    let builder = FileSystem::builder().memory_limit(64 << 20);
    builder
        .operation_log(entries)
        .build()
        .expect("a filesystem")
}

/// Operation, path, bytes, and what went wrong.
type Summary<'a> = (&'a str, &'a str, u64, Option<ErrorKind>);

fn summary(entry: &LogEntry) -> Summary<'_> {
    let path = entry.path.as_deref().unwrap_or_default();
    let path = std::str::from_utf8(path).expect("text");
    (entry.op, path, entry.bytes, entry.error)
}

#[test]
fn what_is_done_is_in_the_log() -> Result<()> {
    let fs = logging(100);
    let begun = Timestamp::from(std::time::SystemTime::now()).as_nanos();
    fs.create_dir("/d")?;
    fs.write("/d/a", "abc")?;
    fs.append("/d/a", b"de")?;
    fs.read("/d/a")?;
    fs.view("/d/a")?;
    fs.copy("/d/a", "/d/b")?;
    fs.rename("/d/b", "/d/c")?;
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).open(&fs, "/d/c")?;
    file.write_all(b"xyz").expect("written");
    file.read_exact(&mut [0; 2]).expect("read");
    file.set_len(1)?;
    drop(file);
    fs.set_priority("/d/c", 3)?;
    fs.gc(1.0)?;
    fs.preload(["/d/c"], None)?.wait(None);
    fs.read("/missing").unwrap_err();
    fs.remove_dir_all("/d")?;
    let log = fs.operation_log();
    let seen: Vec<Summary<'_>> = log.iter().map(summary).collect();
    let missing = Some(ErrorKind::NotFound);
    let wanted = [
        ("create directory", "/d", 0, None),
        ("write", "/d/a", 3, None),
        ("append", "/d/a", 2, None),
        ("read", "/d/a", 5, None),
        ("view", "/d/a", 5, None),
        ("copy", "/d/a", 5, None),
        ("rename", "/d/b", 0, None),
        ("open", "/d/c", 0, None),
        ("write", "/d/c", 3, None),
        ("read", "/d/c", 2, None),
        ("truncate", "/d/c", 0, None),
        ("set the priority of", "/d/c", 0, None),
        ("gc", "", 0, None),
        ("preload", "", 0, None),
        ("read", "/missing", 0, missing),
        ("remove tree", "/d", 0, None),
    ];
    assert_eq!(seen, wanted);
    assert_eq!(log[5].other.as_deref(), Some(b"/d/b".as_slice()));
    assert_eq!((&log[12].path, &log[0].other), (&None, &None));
    let ended = Timestamp::from(std::time::SystemTime::now()).as_nanos();
    for entry in &log {
        let at = entry.at.as_nanos();
        assert!((begun - 20_000_000..=ended).contains(&at), "{entry:?}");
        assert!(entry.duration < Duration::from_secs(60));
    }
    Ok(())
}

#[test]
fn the_oldest_entries_make_room() -> Result<()> {
    let fs = logging(3);
    for number in 0..10 {
        fs.write(format!("/{number}"), "")?;
    }
    let log = fs.operation_log();
    let paths: Vec<_> = log.iter().map(|entry| summary(entry).1).collect();
    assert_eq!(paths, ["/7", "/8", "/9"]);
    Ok(())
}

#[test]
fn without_asking_there_is_none() -> Result<()> {
    let fs = FileSystem::new()?;
    fs.write("/a", "a")?;
    assert!(fs.operation_log().is_empty());
    Ok(())
}

#[test]
fn a_file_has_every_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log.jsonl");
    let build = || {
        FileSystem::builder()
            .memory_limit(64 << 20)
            .operation_log(1)
            .operation_log_file(&path)
            .build()
            .expect("a filesystem")
    };
    let (fs, other) = (build(), build());
    fs.write("/a \"quoted\"\n", "abc").expect("written");
    other.read("/missing").unwrap_err();
    fs.rename("/a \"quoted\"\n", "/b").expect("renamed");
    let text = std::fs::read_to_string(&path).expect("a log");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains(r#""op":"write","path":"/a \"quoted\"\u000a","bytes":3,"micros":"#));
    assert!(lines[1].contains(r#""op":"read","path":"/missing","bytes":0"#));
    assert!(lines[1].ends_with(r#","error":"NotFound"}"#), "{text}");
    assert!(lines[2].contains(r#","other":"/b","#));
    assert!(lines.iter().all(|line| line.starts_with(r#"{"time":"#)));
    assert_eq!(
        (fs.operation_log().len(), fs.stats().log_lines_lost),
        (1, 0)
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "for its owner only");
    }
    let missing = directory.path().join("missing/log.jsonl");
    let builder = FileSystem::builder().operation_log_file(missing);
    assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
#[cfg(target_os = "linux")]
fn a_line_that_the_host_does_not_take_is_counted() {
    let builder = FileSystem::builder().operation_log_file("/dev/full");
    let fs = builder.build().expect("a filesystem");
    fs.write("/a", "a").expect("written");
    fs.read("/a").expect("read");
    assert_eq!(fs.stats().log_lines_lost, 2);
}

#[test]
fn many_threads_share_a_log() {
    let fs = logging(10_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fs = &fs;
            scope.spawn(move || {
                for number in 0..500 {
                    fs.write(format!("/{thread}-{number}"), "x")
                        .expect("written");
                }
            });
        }
    });
    assert_eq!(fs.operation_log().len(), 2000);
}
