//! Data of zip entries: unpacked, counted and compared with what was declared.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rawzip::CompressionMethod;
use rawzip::time::ZipDateTimeKind;

use super::{Archive, Job, TARGET_MAX, failure};
use crate::codec::{self, Tally};
use crate::extract::{Extraction, piece, unsupported};
use crate::failure::{Failure, Outcome};
use crate::meter::{Meter, Report};
use crate::sink::{Counted, Sink};

const THREADS_MAX: usize = 4;
/// Below so many bytes one thread is as fast.
const ALONE: u64 = 1 << 20;
/// How often the caller hears of the progress of others, when its own work is done.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// Packed bytes that are read at once.
const BUFFER: u64 = 128 << 10;

/// What the threads of one extraction share.
struct Shared<'a> {
    archive: &'a Archive,
    jobs: &'a [Job],
    sink: &'a Sink<'a>,
    meter: &'a Meter,
    next: AtomicUsize,
    running: AtomicUsize,
    first_failure: Mutex<Option<Failure>>,
}

/// Unpacks all files. The caller's thread is one of those that work, and the one that reports.
pub(super) fn all(
    archive: &Archive,
    jobs: &[Job],
    total: u64,
    extraction: &mut Extraction<'_>,
    report: &mut Report<'_>,
) -> Outcome<()> {
    let meter = extraction.meter;
    let shared = Shared {
        archive,
        jobs,
        sink: &extraction.sink,
        meter,
        next: AtomicUsize::new(0),
        running: AtomicUsize::new(0),
        first_failure: Mutex::new(None),
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(jobs.len());
    let helpers = if total < ALONE {
        0
    } else {
        threads.saturating_sub(1)
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            shared.running.fetch_add(1, Ordering::Relaxed);
            let help = || {
                shared.work(&mut |_| Ok(()));
                shared.running.fetch_sub(1, Ordering::Release);
            };
            // Without a helper the caller does it all.
            if thread::Builder::new().spawn_scoped(scope, help).is_err() {
                shared.running.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let mut last: &[u8] = b"";
        shared.work(&mut |job| {
            last = &job.name;
            meter.tell(report, Some(total), last)
        });
        while shared.running.load(Ordering::Acquire) > 0 {
            thread::sleep(TELL_EVERY);
            shared.note(meter.tell(report, Some(total), last));
        }
        shared.note(meter.tell(report, Some(total), last));
    });
    let failed = shared.first_failure.into_inner();
    match failed.unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(failure) => Err(failure),
        None => {
            extraction.done.files += jobs.len() as u64;
            Ok(())
        }
    }
}

impl<'a> Shared<'a> {
    /// Takes one job after the other.
    fn work(&self, tell: &mut dyn FnMut(&'a Job) -> Outcome<()>) {
        let mut buffer = piece();
        while let Some(job) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let done = self.one(job, &mut buffer, tell);
            if done.is_err() {
                self.note(done.map_err(|failure| failure.of(&job.name)));
                return;
            }
        }
    }

    fn one(
        &self,
        job: &'a Job,
        buffer: &mut [u8],
        tell: &mut dyn FnMut(&'a Job) -> Outcome<()>,
    ) -> Outcome<()> {
        let content = Content::open(self.archive, job, self.meter)?;
        let mut counted = Counted {
            from: content,
            meter: self.meter,
            bytes: 0,
        };
        let mut tell_piece = || tell(job);
        let (place, attributes) = (&job.place, job.attributes);
        self.sink
            .file(place, attributes, &mut counted, buffer, &mut tell_piece)?;
        self.meter.entry();
        tell(job)
    }

    /// Keeps the first failure, and lets everybody stop.
    fn note(&self, done: Outcome<()>) {
        if let Err(failure) = done {
            let mut first = self
                .first_failure
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            first.get_or_insert(failure);
            self.meter.stop();
        }
    }
}

/// The target of a link, which is the content of its entry.
pub(super) fn target(archive: &Archive, job: &Job, meter: &Meter) -> Outcome<Vec<u8>> {
    let content = Content::open(archive, job, meter)?;
    let mut target = Vec::new();
    let read = content.take(TARGET_MAX + 1).read_to_end(&mut target);
    read.map_err(Failure::from_decoder)?;
    Ok(target)
}

pub(super) fn check_method(method: CompressionMethod) -> Outcome<()> {
    match method {
        CompressionMethod::STORE
        | CompressionMethod::DEFLATE
        | CompressionMethod::BZIP2
        | CompressionMethod::XZ
        | CompressionMethod::ZSTD => Ok(()),
        other => Err(unsupported(format!("packed with {other}"))),
    }
}

/// Content of an entry, whose end is reached only if size and checksum are as declared.
struct Content<'a> {
    from: Box<dyn Read + 'a>,
    read: Rc<Cell<u64>>,
    crc: crc32fast::Hasher,
    count: u64,
    declared: u64,
    declared_crc: u32,
    meter: &'a Meter,
}

impl<'a> Content<'a> {
    fn open(archive: &'a Archive, job: &Job, meter: &'a Meter) -> Outcome<Self> {
        let entry = archive.get_entry(job.entry).map_err(failure)?;
        let read = Rc::new(Cell::new(0));
        let packed = Tally {
            from: entry.reader(),
            read: Rc::clone(&read),
        };
        let capacity = job.entry.compressed_size_hint().clamp(64, BUFFER) as usize;
        let packed = BufReader::with_capacity(capacity, packed);
        let from: Box<dyn Read + 'a> = match job.method {
            CompressionMethod::STORE => Box::new(packed),
            CompressionMethod::DEFLATE => Box::new(flate2::bufread::DeflateDecoder::new(packed)),
            CompressionMethod::BZIP2 => Box::new(bzip2::bufread::BzDecoder::new(packed)),
            CompressionMethod::XZ => {
                let stream = codec::xz(false)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            _ => {
                let decoder = zstd::Decoder::with_buffer(packed);
                let mut decoder = decoder.map_err(Failure::from_decoder)?;
                let limited = decoder.window_log_max(codec::ZSTD_WINDOW);
                limited.map_err(Failure::from_decoder)?;
                Box::new(decoder)
            }
        };
        let declared = entry.reader().claim_verifier();
        Ok(Content {
            from,
            read,
            crc: crc32fast::Hasher::new(),
            count: 0,
            declared: declared.uncompressed_size,
            declared_crc: declared.crc,
            meter,
        })
    }

    fn check_end(&self) -> Outcome<()> {
        if self.count != self.declared {
            let text = format!("{} bytes where {} are declared", self.count, self.declared);
            return Err(Failure::bad(text));
        }
        if self.crc.clone().finalize() != self.declared_crc {
            return Err(Failure::bad("the checksum is wrong"));
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let count = self.from.read(to)?;
        self.crc.update(&to[..count]);
        self.count += count as u64;
        let checked = if count == 0 {
            self.check_end()
        } else if self.count > self.declared {
            Err(Failure::bad("more content than is declared"))
        } else {
            self.meter.check_ratio(self.count, self.read.get())
        };
        checked.map_err(Failure::carried)?;
        Ok(count)
    }
}

/// Seconds since 1970 of a date; one without a zone is taken as UTC.
pub(super) fn seconds(time: &ZipDateTimeKind) -> i64 {
    // Days of the proleptic Gregorian calendar, counted from March on.
    let (year, month) = (i64::from(time.year()), i64::from(time.month()));
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let day = (153 * month + 2) / 5 + i64::from(time.day()) - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day - 719_468;
    let (hours, minutes) = (i64::from(time.hour()), i64::from(time.minute()));
    ((days * 24 + hours) * 60 + minutes) * 60 + i64::from(time.second())
}
