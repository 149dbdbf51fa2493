//! Wall-clock and monotonic time, from the cheap coarse clocks of the kernel.
//!
//! The coarse clock ticks every 4 ms and costs a fifth of the precise one;
//! whoever needs strictly increasing times adds the missing nanoseconds
//! (see `namespace::times`).

use std::time::Duration;

/// Nanoseconds since 1970-01-01 00:00 UTC from the coarse wall clock.
///
/// Covers the years 1678 to 2262.
#[inline]
pub fn wall_nanos() -> i64 {
    #[cfg(target_os = "linux")]
    {
        let time = coarse(libc::CLOCK_REALTIME_COARSE);
        time.tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        }
    }
}

/// Time since an arbitrary point, from the coarse monotonic clock.
#[inline]
pub fn monotonic() -> Duration {
    #[cfg(target_os = "linux")]
    {
        let time = coarse(libc::CLOCK_MONOTONIC_COARSE);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }
    #[cfg(not(target_os = "linux"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn coarse(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result; the coarse clocks exist
    // since Linux 2.6.32, and a failure leaves the zeroes.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}
