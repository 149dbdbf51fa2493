//! Threads: reads and writes of popular and unpopular files, on one thread and on two.
//!
//! Content is handed over and handed out by reference where a candidate can, copied where not.

use std::hint::black_box;
use std::sync::{Arc, Barrier};

use bytes::Bytes;

use crate::peer::{Done, Failure, Peer, PeerPath};
use crate::random::{Random, Zipf};
use crate::row::{Reach, Row, Scale, Unit, Workload};

const CONTENT: usize = 1024;
const WRITES_PER_HUNDRED: usize = 5;

pub fn rows() -> [Row; 2] {
    [
        Row {
            id: "zipf_one_thread",
            title: "95/5 zipf over 100,000 files of 1 KiB, one thread",
            unit: Unit::MegaOps,
            reach: Reach::Ahead,
            prepare: |peer, scale| zipf(peer, scale, 1),
        },
        Row {
            id: "zipf_two_threads",
            title: "95/5 zipf over 100,000 files of 1 KiB, two threads",
            unit: Unit::MegaOps,
            reach: Reach::AtLeast(1.8),
            prepare: |peer, scale| zipf(peer, scale, 2),
        },
    ]
}

#[derive(Clone, Copy)]
struct Operation {
    file: u32,
    write: bool,
}

struct Shared {
    peer: Arc<dyn Peer>,
    paths: Vec<PeerPath>,
    content: Bytes,
}

impl Shared {
    fn operate(&self, operation: Operation, buffer: &mut [u8]) -> Done {
        let path = &self.paths[operation.file as usize];
        if operation.write {
            return match self.peer.write_adopted(path, &self.content) {
                Err(Failure::Unsupported) => self.peer.write_copied(path, &self.content),
                done => done,
            };
        }
        // A reader may see a file that another thread is replacing as empty: most candidates do not
        // replace atomically. It costs them nothing here.
        let length = match self.peer.read_shared(path) {
            Ok(content) => content.len(),
            Err(Failure::Unsupported) => self.peer.read_copied(path, buffer)?,
            Err(failure) => return Err(failure),
        };
        black_box(length);
        Ok(())
    }
}

fn zipf(peer: Arc<dyn Peer>, scale: Scale, threads: usize) -> Done<Workload> {
    let files = scale.pick(100_000, 10_000);
    let count = scale.pick(200_000, 20_000);
    let shared = Arc::new(populate(peer, files)?);
    let law = Zipf::new(files);
    let programs: Vec<Vec<Operation>> = (0..threads)
        .map(|thread| program(&law, thread as u64, count))
        .collect();
    Ok(Box::new(move |watch| {
        let (start, end) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
        std::thread::scope(|scope| {
            let (start, end) = (&start, &end);
            let work = |program| {
                let shared = Arc::clone(&shared);
                move || -> Done {
                    let mut buffer = [0; CONTENT];
                    start.wait();
                    let done = run(&shared, program, &mut buffer);
                    end.wait();
                    done
                }
            };
            let running: Vec<_> = programs
                .iter()
                .map(|program| scope.spawn(work(program)))
                .collect();
            start.wait();
            watch.measure(|| end.wait());
            running.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(Failure::Error("a thread panicked".into())))
            })
        })?;
        Ok((threads * count) as u64)
    }))
}

fn run(shared: &Shared, program: &[Operation], buffer: &mut [u8]) -> Done {
    program
        .iter()
        .try_for_each(|&operation| shared.operate(operation, buffer))
}

fn populate(peer: Arc<dyn Peer>, files: usize) -> Done<Shared> {
    const PER_DIRECTORY: usize = 1000;
    for directory in 0..files.div_ceil(PER_DIRECTORY) {
        peer.create_dir(&peer.path(&format!("/d{directory:03}")))?;
    }
    // Ranks are spread over the directories, so that the popular files are not all in one.
    let order = Random::new(17).shuffled(files);
    let paths = order
        .into_iter()
        .map(|file| peer.path(&format!("/d{:03}/file{file:06}", file / PER_DIRECTORY)))
        .collect();
    let shared = Shared {
        peer,
        paths,
        content: Bytes::from(vec![0x5a; CONTENT]),
    };
    let mut buffer = [0; CONTENT];
    for file in 0..files as u32 {
        shared.operate(Operation { file, write: true }, &mut buffer)?;
    }
    Ok(shared)
}

fn program(law: &Zipf, thread: u64, count: usize) -> Vec<Operation> {
    let mut random = Random::new(19 + thread);
    (0..count)
        .map(|_| Operation {
            file: law.rank(&mut random) as u32,
            write: random.below(100) < WRITES_PER_HUNDRED,
        })
        .collect()
}
