//! Packing and unpacking of streams, by format.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use crate::failure::{Failure, Outcome};
use crate::format::Format;
use crate::meter::Meter;

/// Bytes that a decoder of xz may allocate; the highest preset of its encoder needs 65 MiB.
pub(crate) const XZ_MEMORY: u64 = 128 << 20;
/// The largest window of a zstd stream, as a power of two; the default of its decoder.
pub(crate) const ZSTD_WINDOW: u32 = 27;
/// Packed bytes that are read at once.
const BUFFER: usize = 128 << 10;

/// Unpacks a stream, checking what comes out against what went in.
pub(crate) struct Unpacked<'a> {
    from: Box<dyn Read + 'a>,
    /// Packed bytes that were read.
    read: Rc<Cell<u64>>,
    out: u64,
    meter: &'a Meter,
}

impl<'a> Unpacked<'a> {
    pub(crate) fn new(
        format: Format,
        from: Box<dyn Read + Send + 'a>,
        meter: &'a Meter,
    ) -> Outcome<Self> {
        let read = Rc::new(Cell::new(0));
        let from = BufReader::with_capacity(
            BUFFER,
            Tally {
                from,
                read: Rc::clone(&read),
            },
        );
        let from: Box<dyn Read + 'a> = match format {
            Format::Zip | Format::Tar => Box::new(from),
            Format::TarGz => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
            Format::TarBz2 => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
            Format::TarXz => Box::new(liblzma::bufread::XzDecoder::new_stream(from, xz(true)?)),
            Format::TarZst => {
                let decoder = zstd::Decoder::with_buffer(from);
                let mut decoder = decoder.map_err(Failure::from_decoder)?;
                let limited = decoder.window_log_max(ZSTD_WINDOW);
                limited.map_err(Failure::from_decoder)?;
                Box::new(decoder)
            }
        };
        Ok(Unpacked {
            from,
            read,
            out: 0,
            meter,
        })
    }
}

impl Read for Unpacked<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.out += count as u64;
        let checked = self.meter.check_ratio(self.out, self.read.get());
        checked.map_err(Failure::carried)?;
        Ok(count)
    }
}

/// Counts what is read.
pub(crate) struct Tally<R> {
    pub(crate) from: R,
    pub(crate) read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Tally<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

/// A decoder of xz with a limit on its memory.
pub(crate) fn xz(several: bool) -> Outcome<liblzma::stream::Stream> {
    let flags = if several {
        liblzma::stream::CONCATENATED
    } else {
        0
    };
    let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags);
    stream.map_err(|error| Failure::from_decoder(error.into()))
}
