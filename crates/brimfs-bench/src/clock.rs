//! The clocks of a measurement: CPU time of the calling thread, and wall time.

use std::time::Instant;

/// Nanoseconds of CPU time that the calling thread has used.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write into, and the call keeps no pointer to it.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "the thread CPU clock exists on every Linux");
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// Adds up the measured sections of one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopwatch {
    pub cpu_ns: u64,
    pub wall_ns: u64,
}

impl Stopwatch {
    /// Runs `section` on both clocks. What happens outside is not measured.
    pub fn measure<T>(&mut self, section: impl FnOnce() -> T) -> T {
        let wall = Instant::now();
        let cpu = thread_cpu_ns();
        let result = section();
        self.cpu_ns += thread_cpu_ns() - cpu;
        self.wall_ns += wall.elapsed().as_nanos() as u64;
        result
    }
}
