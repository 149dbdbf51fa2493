//! Traces of requests: reading and checking them.
//!
//! A trace is a zstd stream of 12-byte records, little endian: `u64` object id,
//! `u32` size in bytes. Ids may be any numbers; an object has one size throughout.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

/// Bytes of a record.
const RECORD: usize = 12;

/// What each request asks for: an object by its place in [`Trace::objects`].
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) requests: Vec<u32>,
    pub(crate) objects: Vec<Object>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// As in the trace.
    pub(crate) id: u64,
    /// In bytes.
    pub(crate) size: u32,
}

/// Why a trace cannot be used; names the file.
#[derive(Debug)]
pub(crate) struct TraceError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Open(io::Error),
    Empty,
    NotZstd(String),
    Damaged(String),
    Cut {
        bytes: usize,
    },
    NoRequests,
    TwoSizes {
        id: u64,
        request: usize,
        sizes: [u32; 2],
    },
    TooManyObjects,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.reason {
            Reason::Open(error) => write!(f, "{error}"),
            Reason::Empty => write!(f, "the file is empty"),
            Reason::NotZstd(why) => write!(f, "not a zstd file: {why}"),
            Reason::Damaged(why) => write!(f, "damaged or cut short: {why}"),
            Reason::Cut { bytes } => write!(
                f,
                "no trace, or a trace that was cut: {bytes} bytes are no whole number of \
                 {RECORD}-byte records"
            ),
            Reason::NoRequests => write!(f, "there is no request in it"),
            Reason::TwoSizes { id, request, sizes } => write!(
                f,
                "object {id} has {} bytes, and {} in request {request}",
                sizes[0], sizes[1]
            ),
            Reason::TooManyObjects => write!(f, "more than {} objects", u32::MAX),
        }
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// Reads a whole trace into memory: 4 bytes per request and some 40 per object.
    pub(crate) fn read(path: &Path) -> Result<Trace, TraceError> {
        let fail = |reason| TraceError {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(|error| fail(Reason::Open(error)))?;
        let bytes = decode(BufReader::with_capacity(1 << 16, file)).map_err(fail)?;
        Trace::parse(&bytes).map_err(fail)
    }

    fn parse(bytes: &[u8]) -> Result<Trace, Reason> {
        if !bytes.len().is_multiple_of(RECORD) {
            return Err(Reason::Cut { bytes: bytes.len() });
        }
        let mut trace = Trace {
            requests: Vec::with_capacity(bytes.len() / RECORD),
            objects: Vec::new(),
        };
        let mut places = HashMap::new();
        for (number, record) in bytes.chunks_exact(RECORD).enumerate() {
            let (id, size) = record.split_at(8);
            let id = u64::from_le_bytes(id.try_into().expect("split at 8"));
            let size = u32::from_le_bytes(size.try_into().expect("12 less 8"));
            let place = match places.entry(id) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(free) => {
                    let place = u32::try_from(trace.objects.len());
                    let place = *free.insert(place.map_err(|_| Reason::TooManyObjects)?);
                    trace.objects.push(Object { id, size });
                    place
                }
            };
            let known = trace.objects[place as usize].size;
            if known != size {
                return Err(Reason::TwoSizes {
                    id,
                    request: number + 1,
                    sizes: [known, size],
                });
            }
            trace.requests.push(place);
        }
        if trace.requests.is_empty() {
            return Err(Reason::NoRequests);
        }
        Ok(trace)
    }

    /// The sizes of all objects together, in bytes.
    pub(crate) fn footprint(&self) -> u64 {
        let sizes = self.objects.iter().map(|object| u64::from(object.size));
        sizes.sum()
    }

    /// Whether all objects are of one size.
    pub(crate) fn is_uniform(&self) -> bool {
        let first = self.objects[0].size;
        self.objects.iter().all(|object| object.size == first)
    }
}

/// The content of a zstd file: of all its frames, one after the other, checksums compared.
fn decode(mut source: impl BufRead) -> Result<Vec<u8>, Reason> {
    let mut content = Vec::new();
    let mut frames = 0;
    while !source.fill_buf().map_err(Reason::Open)?.is_empty() {
        let mut decoder = match StreamingDecoder::new(&mut source) {
            Ok(decoder) => decoder,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let mut skipped = source.by_ref().take(u64::from(length));
                io::copy(&mut skipped, &mut io::sink()).map_err(Reason::Open)?;
                frames += 1;
                continue;
            }
            Err(error) if frames == 0 => return Err(Reason::NotZstd(error.to_string())),
            Err(error) => return Err(Reason::Damaged(error.to_string())),
        };
        decoder
            .read_to_end(&mut content)
            .map_err(|error| Reason::Damaged(error.to_string()))?;
        let decoder = decoder.into_frame_decoder();
        let stored = decoder.get_checksum_from_data();
        if stored.is_some() && stored != decoder.get_calculated_checksum() {
            return Err(Reason::Damaged("the checksum does not match".to_owned()));
        }
        frames += 1;
    }
    if frames == 0 {
        return Err(Reason::Empty);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn records(requests: &[(u64, u32)]) -> Vec<u8> {
        let bytes = requests.iter().flat_map(|(id, size)| {
            let (id, size) = (id.to_le_bytes(), size.to_le_bytes());
            id.into_iter().chain(size)
        });
        bytes.collect()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// Reads a file of these bytes; an error as its text.
    fn read(bytes: &[u8]) -> Result<Trace, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.zst");
        std::fs::write(&path, bytes).unwrap();
        let text = |error: TraceError| {
            let text = error.to_string();
            assert!(text.starts_with(&path.display().to_string()), "{text}");
            text
        };
        Trace::read(&path).map_err(text)
    }

    #[test]
    fn requests_and_objects_are_read() {
        let requests = [(7, 100), (u64::MAX, 5), (7, 100), (0, 1)];
        let trace = read(&packed(&records(&requests))).unwrap();
        assert_eq!(trace.requests, [0, 1, 0, 2]);
        assert_eq!(trace.objects[1].id, u64::MAX);
        assert_eq!(trace.footprint(), 106);
        assert!(!trace.is_uniform());
    }

    #[test]
    fn frames_follow_each_other_and_skippable_ones_are_skipped() {
        let mut file = packed(&records(&[(1, 1), (2, 1)]));
        file.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
        file.extend(packed(&records(&[(1, 1)])));
        let trace = read(&file).unwrap();
        assert_eq!(trace.requests, [0, 1, 0]);
        assert!(trace.is_uniform());
    }

    #[test]
    fn what_is_no_trace_is_refused_and_said() {
        let whole = records(&[(1, 1), (2, 2), (3, 3)]);
        let cases: [(Vec<u8>, &str); 7] = [
            (vec![], "the file is empty"),
            (b"id,size\n1,1\n".to_vec(), "not a zstd file"),
            (vec![0x28], "not a zstd file"),
            (
                packed(&whole[..35]),
                "35 bytes are no whole number of 12-byte",
            ),
            (packed(&[]), "there is no request"),
            (
                packed(&records(&[(4, 1), (4, 2)])),
                "object 4 has 1 bytes, and 2 in request 2",
            ),
            (
                [packed(&whole), b"rubbish".to_vec()].concat(),
                "damaged or cut short",
            ),
        ];
        for (bytes, expected) in cases {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(expected), "{error}\n{expected}");
        }
    }

    #[test]
    fn a_file_that_ends_early_is_no_shorter_trace() {
        let requests: Vec<(u64, u32)> = (0..5_000).map(|id| (id * id, 1)).collect();
        let file = packed(&records(&requests));
        for length in (0..file.len()).step_by(97) {
            assert!(read(&file[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(read(&file).unwrap().requests.len(), 5_000);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Trace::read(Path::new("no/such/file.zst")).unwrap_err();
        assert!(
            error.to_string().starts_with("no/such/file.zst: "),
            "{error}"
        );
    }
}
