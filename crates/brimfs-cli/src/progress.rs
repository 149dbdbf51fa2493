//! A bar on standard error, if that is a terminal: how far long work is.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::text;

/// How often it is drawn at most.
const PAUSE: Duration = Duration::from_millis(100);
/// Columns that the bar itself takes.
const WIDTH: u64 = 30;

/// Goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    /// None if nobody would see it.
    next: Option<Instant>,
    is_drawn: bool,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Bar {
            // What is done sooner needs no bar.
            next: io::stderr()
                .is_terminal()
                .then(|| Instant::now() + 3 * PAUSE),
            is_drawn: false,
        }
    }

    /// Says what is being done, and how many bytes of how many; no total is known if that is 0.
    pub(crate) fn show(&mut self, what: &str, done: u64, total: u64) {
        let now = Instant::now();
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.next = Some(now + PAUSE);
        self.is_drawn = true;
        // A terminal that is gone is no reason to stop.
        let _ = io::stderr().write_all(format!("\r\x1b[K{}", line(what, done, total)).as_bytes());
    }
}

fn line(what: &str, done: u64, total: u64) -> String {
    if total == 0 {
        return what.to_owned();
    }
    let part = |of: u64| (u128::from(done.min(total)) * u128::from(of) / u128::from(total)) as u64;
    let full = part(WIDTH) as usize;
    format!(
        "{what} [{}{}] {:>3} %, {} of {}",
        "#".repeat(full),
        "-".repeat(WIDTH as usize - full),
        part(100),
        text::size(done),
        text::size(total)
    )
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.is_drawn {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        assert_eq!(line("reading", 0, 0), "reading");
        let half = line("reading", 1 << 20, 2 << 20);
        let bar = format!("[{}{}]", "#".repeat(15), "-".repeat(15));
        assert_eq!(half, format!("reading {bar}  50 %, 1.0 MiB of 2.0 MiB"));
        assert!(line("reading", u64::MAX, u64::MAX).contains("100 %"));
    }
}
