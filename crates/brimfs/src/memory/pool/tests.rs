//! What every backend promises: buffers do not overlap and keep their content.

use std::sync::mpsc;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Buf(usize),
    Run(usize),
    /// Changes the length of a live buffer to a share of its capacity, in 1/255.
    SetLen(usize, u8),
    /// Drops a live buffer or slot.
    Drop(usize),
    Trim(usize),
    Ceiling(u64),
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..=300_usize,
        2 => 0..=SMALL_MAX,
        1 => Just(112_usize),
        1 => Just(SMALL_MAX),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => lens().prop_map(Step::Buf),
        2 => (0..6_usize).prop_map(Step::Run),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(which, share)| Step::SetLen(which, share)),
        10 => any::<usize>().prop_map(Step::Drop),
        1 => (0..8_usize << 20).prop_map(Step::Trim),
        1 => prop_oneof![0..16_u64 << 20, Just(u64::MAX)].prop_map(Step::Ceiling),
    ];
    prop::collection::vec(step, 1..300)
}

enum Piece {
    Buf(Buf),
    Slot(Slot),
}

/// A live piece with the one byte that all of it holds.
struct Held {
    piece: Piece,
    mark: u8,
}

impl Held {
    fn new(piece: Piece, mark: u8) -> Self {
        let mut held = Held { piece, mark };
        held.bytes().fill(mark);
        held
    }

    fn bytes(&mut self) -> &mut [u8] {
        match &mut self.piece {
            Piece::Buf(buf) => buf,
            Piece::Slot(slot) => slot,
        }
    }

    fn is_intact(&mut self) -> bool {
        let mark = self.mark;
        all_are(self.bytes(), mark)
    }
}

/// Compares each byte with the next, which is fast without optimisation too.
fn all_are(bytes: &[u8], mark: u8) -> bool {
    bytes.is_empty() || bytes[0] == mark && bytes[1..] == bytes[..bytes.len() - 1]
}

fn assert_consecutive(run: &[Slot]) {
    for pair in run.windows(2) {
        assert_eq!(pair[0].as_ptr() as usize + SLOT, pair[1].as_ptr() as usize);
    }
    assert!(
        run.iter()
            .all(|slot| (slot.as_ptr() as usize).is_multiple_of(SLOT))
    );
}

fn replay(steps: Vec<Step>) {
    let pool = backend::Pool::leak();
    let mut held: Vec<Held> = Vec::new();
    for (i, step) in steps.into_iter().enumerate() {
        let mark = (i % 251) as u8;
        match step {
            Step::Buf(len) => {
                let buf = Buf::alloc_in(pool, len).unwrap();
                assert_eq!(buf.len(), len);
                assert_eq!(buf.capacity(), Buf::class_size(len));
                let align = if buf.capacity() >= 1024 { 64 } else { 16 };
                assert!((buf.as_ptr() as usize).is_multiple_of(align));
                held.push(Held::new(Piece::Buf(buf), mark));
            }
            Step::Run(count) => {
                let run = Slot::alloc_run_in(pool, count).unwrap();
                assert_eq!(run.len(), count);
                assert_consecutive(&run);
                held.extend(
                    run.into_iter()
                        .map(|slot| Held::new(Piece::Slot(slot), mark)),
                );
            }
            Step::SetLen(which, share) if !held.is_empty() => {
                let at = which % held.len();
                if let Piece::Buf(buf) = &mut held[at].piece {
                    let before = buf.len();
                    let len = buf.capacity() * usize::from(share) / 255;
                    buf.set_len(len);
                    assert_eq!(buf.len(), len);
                    let mark = held[at].mark;
                    let kept = before.min(len);
                    assert!(all_are(&held[at].bytes()[..kept], mark));
                    held[at].bytes().fill(mark);
                }
            }
            Step::Drop(which) if !held.is_empty() => {
                let at = which % held.len();
                assert!(held.swap_remove(at).is_intact());
            }
            Step::Trim(keep) => {
                pool.trim(keep);
                assert!(pool.recycled() <= keep);
            }
            Step::Ceiling(bytes) => pool.set_ceiling(bytes),
            Step::SetLen(..) | Step::Drop(_) => {}
        }
    }
    assert!(held.iter_mut().all(Held::is_intact));
    held.clear();
    pool.trim(0);
    assert_eq!(pool.recycled(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn live_pieces_never_overlap(steps in steps()) {
        replay(steps);
    }
}

/// Fills buffers in one thread and checks and drops them in another.
#[test]
fn threads_pass_buffers_to_each_other() {
    const THREADS: usize = 4;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::sync_channel::<Held>(64)).unzip();
    std::thread::scope(|scope| {
        for (thread, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(thread + 1) % THREADS].clone();
            scope.spawn(move || {
                let mut state = thread as u32 + 1;
                for i in 0..4000_usize {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let mark = (state >> 24) as u8;
                    let piece = if i % 500 == 499 {
                        Piece::Slot(Slot::alloc().unwrap())
                    } else {
                        Piece::Buf(Buf::alloc(1 << (state >> 8 & 15)).unwrap())
                    };
                    // A full or closed channel gives the piece back: dropped here.
                    let _ = next.try_send(Held::new(piece, mark));
                    if let Ok(mut received) = receiver.try_recv() {
                        assert!(received.is_intact());
                    }
                }
            });
        }
        drop(senders);
    });
}

#[test]
fn a_buffer_has_the_length_that_was_asked_for() {
    let mut buf = Buf::alloc(100).unwrap();
    assert_eq!((buf.len(), buf.capacity()), (100, 112));
    buf.set_len(112);
    assert_eq!(buf.len(), 112);
    buf.set_len(0);
    assert!(buf.is_empty());
    assert_eq!(format!("{buf:?}"), "Buf(0 of 112)");
}

#[test]
#[should_panic(expected = "113 bytes in 112")]
fn set_len_refuses_more_than_the_capacity() {
    Buf::alloc(100).unwrap().set_len(113);
}

#[test]
#[should_panic(expected = "no small one")]
fn alloc_refuses_long_buffers() {
    let _ = Buf::alloc(SMALL_MAX + 1);
}

#[test]
fn an_impossible_run_is_out_of_memory() {
    assert_eq!(Slot::alloc_run(usize::MAX).unwrap_err(), OutOfMemory);
    // More than the address space of the machine.
    assert_eq!(Slot::alloc_run(1 << 30).unwrap_err(), OutOfMemory);
    assert!(Slot::alloc_run(0).unwrap().is_empty());
}
