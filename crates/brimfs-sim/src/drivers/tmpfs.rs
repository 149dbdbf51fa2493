//! The Linux kernel's tmpfs as a system under test: the truth about errno.
//!
//! Each instance works in a thread of its own whose root directory is a fresh
//! directory in `/dev/shm`, so that absolute paths, absolute targets of
//! symbolic links and `..` mean what they mean in brimfs and nothing outside
//! can be reached. That needs the privilege to call chroot(2).

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::host::Host;
use crate::op::{Answer, Op, System};

/// Where the kernel keeps a tmpfs for everybody.
const SHM: &str = "/dev/shm";

/// A directory in a tmpfs, and the thread that lives in it.
#[derive(Debug)]
pub struct TmpFs {
    ops: Option<Sender<Op>>,
    answers: Receiver<Option<Answer>>,
    thread: Option<JoinHandle<()>>,
}

impl TmpFs {
    /// A fresh and empty directory, or why there is none.
    pub fn new() -> Result<Self, String> {
        let (op_sender, op_receiver) = channel();
        let (answer_sender, answer_receiver) = channel();
        let (ready_sender, ready_receiver) = channel();
        let thread = std::thread::spawn(move || {
            let jail = match Jail::enter() {
                Ok(jail) => jail,
                Err(error) => {
                    let _ = ready_sender.send(Err(error.to_string()));
                    return;
                }
            };
            let _ = ready_sender.send(Ok(()));
            serve(&op_receiver, &answer_sender);
            drop(jail);
        });
        match ready_receiver.recv() {
            Ok(Ok(())) => Ok(TmpFs {
                ops: Some(op_sender),
                answers: answer_receiver,
                thread: Some(thread),
            }),
            Ok(Err(why)) => Err(format!("no tmpfs to compare with ({why})")),
            Err(_) => Err("the thread of the tmpfs died".to_owned()),
        }
    }
}

fn serve(ops: &Receiver<Op>, answers: &Sender<Option<Answer>>) {
    let mut host = Host::default();
    while let Ok(op) = ops.recv() {
        if answers.send(host.apply(&op)).is_err() {
            return;
        }
    }
}

impl System for TmpFs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn apply(&mut self, op: &Op) -> Option<Answer> {
        let ops = self.ops.as_ref().expect("present until dropped");
        ops.send(op.clone())
            .expect("the thread waits for operations");
        self.answers
            .recv()
            .expect("the thread answers every operation")
    }
}

impl Drop for TmpFs {
    fn drop(&mut self) {
        self.ops = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The changed root of one thread. Leaves and removes the directory at the end.
struct Jail {
    outside: OwnedFd,
    path: PathBuf,
}

impl Jail {
    fn enter() -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let outside = OwnedFd::from(fs::File::open("/")?);
        let name = format!("brimfs-sim-{}-{number}", std::process::id());
        let path = PathBuf::from(SHM).join(name);
        // From here on root, working directory and umask are this thread's own.
        // SAFETY: takes no pointers.
        check(unsafe { libc::unshare(libc::CLONE_FS) })?;
        fs::create_dir(&path)?;
        let jail = Jail { outside, path };
        let inside = CString::new(jail.path.as_os_str().as_encoded_bytes())?;
        // SAFETY: a NUL-terminated path that outlives the calls.
        unsafe {
            check(libc::chroot(inside.as_ptr()))?;
            check(libc::chdir(c"/".as_ptr()))?;
            libc::umask(0o022);
        }
        Ok(jail)
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        // SAFETY: an open descriptor and a constant path.
        let left = unsafe {
            check(libc::fchdir(self.outside.as_raw_fd()))
                .and_then(|()| check(libc::chroot(c".".as_ptr())))
        };
        // Inside, the path would name something of the workload's.
        if left.is_ok() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
