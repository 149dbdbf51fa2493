//! What a sanitizer must report. `make sanitize` runs these first: where they pass, the other tests
//! prove nothing.
#![cfg(not(feature = "shuttle"))]

use std::hint::black_box;

/// Lets two threads share what they must not.
struct Shared(*mut u64);

// SAFETY: none: both threads write without any order, which is the point.
unsafe impl Send for Shared {}

#[test]
#[ignore = "undefined behaviour, for the thread sanitizer to report"]
fn a_race() {
    let mut number = 0_u64;
    let place = &raw mut number;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let shared = Shared(place);
            scope.spawn(move || {
                let shared = shared;
                for _ in 0..100_000 {
                    // SAFETY: none, see above; the place itself is valid.
                    unsafe { *black_box(shared.0) += 1 };
                }
            });
        }
    });
    black_box(number);
}

#[test]
#[ignore = "undefined behaviour, for the address sanitizer to report"]
fn an_overflow() {
    let bytes = vec![1_u8; black_box(100)];
    let behind = black_box(bytes.as_ptr().wrapping_add(black_box(100)));
    // SAFETY: none: the byte behind the buffer is nobody's, which is the point.
    black_box(unsafe { behind.read() });
}
