//! Threads that wait for a file lock stop nobody else's work.
//!
//! Nothing here measures time: the waiters wait for ever, so a call that waited
//! for them would hang the test.
#![cfg(not(feature = "shuttle"))]

use std::sync::{Mutex, mpsc};
use std::thread;

use brimfs::{FileSystem, LockMode, OpenOptions};

const WAITERS: u64 = 8;

/// The number of waiters is one for the whole process, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `work` while eight threads wait for `/busy/file`, half of them for each kind of lock.
fn while_others_wait(work: impl FnOnce(&FileSystem) + Send + 'static) {
    let _turn = TURN.lock();
    let fs = FileSystem::builder()
        .lock_timeout(None)
        .build()
        .expect("a filesystem");
    fs.create_dir("/busy").expect("a directory");
    fs.write("/busy/file", &b"content"[..]).expect("a file");
    fs.write("/busy/other", &b"other"[..]).expect("a file");
    let mut exclusive = OpenOptions::new();
    exclusive.write(true).lock(LockMode::Exclusive);
    let holder = exclusive.open(&fs, "/busy/file").expect("the lock is free");

    let (acquired, acquisitions) = mpsc::channel();
    let waiters: Vec<_> = (0..WAITERS)
        .map(|number| {
            let (fs, acquired) = (fs.clone(), acquired.clone());
            thread::spawn(move || {
                if number % 2 == 0 {
                    drop(fs.open("/busy/file").expect("a shared lock, in the end"));
                } else {
                    fs.append("/busy/file", b"+")
                        .expect("an exclusive lock, in the end");
                }
                acquired.send(number).expect("the test listens");
            })
        })
        .collect();
    // Progress of eight other threads, not a duration: the loop ends when all of them wait.
    while fs.stats().lock_waiters < WAITERS {
        thread::yield_now();
    }

    let worker = fs.clone();
    thread::spawn(move || work(&worker))
        .join()
        .expect("the work is done");
    assert!(
        acquisitions.try_recv().is_err(),
        "nobody has got the lock meanwhile"
    );
    assert_eq!(fs.stats().lock_waiters, WAITERS);

    drop(holder);
    for waiter in waiters {
        waiter.join().expect("every waiter gets the lock");
    }
    assert_eq!(
        acquisitions.iter().take(WAITERS as usize).count() as u64,
        WAITERS
    );
    assert_eq!(fs.stats().lock_waiters, 0);
    assert_eq!(
        fs.read("/busy/file").expect("unlocked").as_ref(),
        b"content++++"
    );
}

#[test]
fn other_files_are_found_read_and_written() {
    while_others_wait(|fs| {
        assert!(fs.exists("/busy/other"));
        assert_eq!(fs.metadata("/busy/other").expect("stat").len(), 5);
        assert_eq!(fs.read("/busy/other").expect("read").as_ref(), b"other");
        fs.write("/busy/other", &b"replaced"[..]).expect("write");
        fs.append("/busy/other", b"!").expect("append");
        let file = fs.open("/busy/other").expect("open");
        assert_eq!(file.len(), 9);
    });
}

#[test]
fn names_are_made_listed_and_removed_beside_the_locked_file() {
    while_others_wait(|fs| {
        fs.create_dir("/busy/dir").expect("mkdir");
        fs.write("/busy/dir/new", &b"new"[..]).expect("create");
        fs.copy("/busy/other", "/busy/copy").expect("copy");
        fs.rename("/busy/copy", "/busy/dir/moved").expect("rename");
        assert_eq!(fs.read_dir("/busy").expect("list").count(), 3);
        assert_eq!(fs.walk("/").expect("walk").count(), 7);
        assert_eq!(fs.glob("/busy/*").expect("glob").len(), 3);
        fs.remove_dir_all("/busy/dir").expect("rmtree");
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn the_locked_file_itself_answers_questions_and_moves() {
    while_others_wait(|fs| {
        assert!(fs.exists("/busy/file"));
        assert_eq!(fs.metadata("/busy/file").expect("stat").len(), 7);
        fs.set_permissions("/busy/file", 0o600).expect("chmod");
        fs.rename("/busy/file", "/busy/elsewhere").expect("rename");
        fs.hard_link("/busy/elsewhere", "/busy/file").expect("link");
        fs.remove_file("/busy/elsewhere").expect("unlink");
        let mut unlocked = OpenOptions::new();
        let file = unlocked
            .read(true)
            .lock(LockMode::None)
            .open(fs, "/busy/file");
        assert_eq!(file.expect("a handle without a lock").len(), 7);
    });
}

#[test]
fn a_whole_directory_with_the_locked_file_moves() {
    while_others_wait(|fs| {
        fs.rename("/busy", "/moved")
            .expect("rename of the directory");
        assert!(!fs.exists("/busy/file"));
        fs.create_dir("/busy").expect("its old name is free");
        fs.copy_dir_all("/busy", "/copied")
            .expect("a copy of what is not locked");
        fs.remove_dir("/busy").expect("rmdir");
        fs.rename("/moved", "/busy").expect("and back");
    });
}
