//! Notices who reads a cold file from front to back.
//!
//! Sees only what is read from the disk: what a stream has brought in is read from memory without
//! asking. So a read that goes on where the bytes in memory end goes on with its stream.

use crate::memory::chunk::CHUNK;

/// So many streams are told apart; the one that was quiet for longest is forgotten.
const STREAMS: usize = 32;
/// The most that one call brings in, in chunks.
const WINDOW_MAX: u64 = 8;

/// A reader of one file, at one place in it. Places are bytes from the beginning of the file.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// The address of the file's holder: another file at the same address costs a wrong guess.
    file: usize,
    /// Where its last read ended.
    next: u64,
    /// Where what was brought in for it ends.
    ahead: u64,
    /// What the next call brings in, in chunks.
    window: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Streams {
    /// The latest first.
    recent: Vec<Stream>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            recent: Vec::with_capacity(STREAMS),
        }
    }
}

impl Streams {
    /// Notes a read of cold bytes from `start` to `end`. If it goes on with a stream: how many chunks
    /// are to be brought in, those of the read included.
    pub(super) fn note(&mut self, file: usize, start: u64, end: u64) -> Option<u64> {
        let goes_on =
            |stream: &Stream| stream.file == file && (stream.next..=stream.ahead).contains(&start);
        let known = self.recent.iter().position(goes_on);
        let window = known.map(|at| (self.recent.remove(at).window * 2).clamp(1, WINDOW_MAX));
        let chunk = CHUNK as u64;
        let ahead = window.map_or(end, |window| {
            end.next_multiple_of(chunk)
                .saturating_add((window - 1) * chunk)
        });
        self.recent.truncate(STREAMS - 1);
        let stream = Stream {
            file,
            next: end,
            ahead,
            window: window.unwrap_or(0),
        };
        self.recent.insert(0, stream);
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn a_stream_brings_more_each_time_it_goes_on() {
        let mut streams = Streams::default();
        assert_eq!(streams.note(1, 0, 4 * KIB), None);
        assert_eq!(streams.note(1, 4 * KIB, 8 * KIB), Some(1));
        // What was brought in is read from memory, up to here.
        assert_eq!(streams.note(1, MIB, MIB + 4 * KIB), Some(2));
        assert_eq!(streams.note(1, 3 * MIB, 3 * MIB + 4 * KIB), Some(4));
        assert_eq!(streams.note(1, 7 * MIB, 7 * MIB + 1), Some(8));
        assert_eq!(streams.note(1, 15 * MIB, 15 * MIB + 1), Some(8));
        // Some of it went before it was read.
        assert_eq!(streams.note(1, 17 * MIB, 17 * MIB + 1), Some(8));
    }

    #[test]
    fn jumps_and_other_files_are_no_stream() {
        let mut streams = Streams::default();
        assert_eq!(streams.note(1, 0, 4 * KIB), None);
        assert_eq!(streams.note(2, 4 * KIB, 8 * KIB), None);
        assert_eq!(streams.note(1, 5 * MIB, 5 * MIB + 1), None);
        assert_eq!(streams.note(1, 5 * MIB, 5 * MIB + 1), None);
        assert_eq!(
            streams.note(1, 4 * KIB, 8 * KIB),
            Some(1),
            "it is remembered"
        );
        assert_eq!(
            streams.note(1, 9 * KIB - 2 * KIB, 9 * KIB),
            None,
            "backwards"
        );
    }

    #[test]
    fn those_that_were_quiet_for_long_are_forgotten() {
        let mut streams = Streams::default();
        assert_eq!(streams.note(1, 0, KIB), None);
        for file in 2..STREAMS + 2 {
            assert_eq!(streams.note(file, 0, KIB), None);
        }
        assert_eq!(streams.recent.len(), STREAMS);
        assert_eq!(streams.note(1, KIB, 2 * KIB), None);
        assert_eq!(streams.note(3, KIB, 2 * KIB), Some(1));
    }

    #[test]
    fn the_end_of_the_largest_file_is_no_overflow() {
        let mut streams = Streams::default();
        let end = i64::MAX as u64;
        assert_eq!(streams.note(1, end - 2, end - 1), None);
        assert_eq!(streams.note(1, end - 1, end), Some(1));
    }
}
