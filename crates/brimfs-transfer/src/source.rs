//! Where an archive is read from.

use std::fmt;
use std::io::{self, Read};

use brimfs::FileSystem;
use bytes::Bytes;
use rawzip::ReaderAt;

use crate::failure::{Failure, Outcome};
use crate::format::{Format, HEAD};
use crate::sink::{PIECE, hidden, read_piece};

/// An archive to read.
pub enum Source<'a> {
    /// A file of the host.
    Host(std::fs::File),
    /// A file of a filesystem; its handle must allow reading.
    File(brimfs::File),
    /// Bytes in memory.
    Bytes(Bytes),
    /// Anything that streams. A zip is read from its end, so a stream is first copied into a nameless file of
    /// the filesystem that is extracted to, under its limits.
    Stream(&'a mut (dyn Read + Send)),
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Host(_) => "Source::Host",
            Source::File(_) => "Source::File",
            Source::Bytes(_) => "Source::Bytes",
            Source::Stream(_) => "Source::Stream",
        })
    }
}

/// An archive that can be read anywhere, by several threads.
pub(crate) enum Seekable {
    Host(std::fs::File),
    File(brimfs::File),
    Bytes(Bytes),
}

impl Seekable {
    pub(crate) fn len(&self) -> Outcome<u64> {
        Ok(match self {
            Seekable::Host(file) => file.metadata().map_err(Failure::from_host)?.len(),
            Seekable::File(file) => file.len(),
            Seekable::Bytes(bytes) => bytes.len() as u64,
        })
    }
}

impl ReaderAt for Seekable {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Seekable::Host(file) => {
                let read = std::os::unix::fs::FileExt::read_at(file, to, offset);
                read.map_err(|error| Failure::from_host(error).carried())
            }
            Seekable::File(file) => {
                let read = file.read_at(offset, to);
                read.map_err(|error| Failure::from(error).carried())
            }
            Seekable::Bytes(bytes) => {
                let start = bytes
                    .len()
                    .min(usize::try_from(offset).unwrap_or(usize::MAX));
                let count = to.len().min(bytes.len() - start);
                to[..count].copy_from_slice(&bytes[start..start + count]);
                Ok(count)
            }
        }
    }
}

/// From the beginning to the end.
struct Sequential {
    of: Seekable,
    position: u64,
}

impl Read for Sequential {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.of.read_at(to, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A caller's stream, whose errors are its own and not the archive's.
struct Foreign<'a>(&'a mut (dyn Read + Send));

impl Read for Foreign<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.read(to) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(Failure::Io(error).carried())
            }
            read => read,
        }
    }
}

/// A source whose format is known.
pub(crate) enum Opened<'a> {
    Zip(Seekable),
    Tar(Format, Box<dyn Read + Send + 'a>),
}

pub(crate) fn open<'a>(
    fs: &FileSystem,
    source: Source<'a>,
    format: Option<Format>,
) -> Outcome<Opened<'a>> {
    let mut head = [0; HEAD];
    let seekable = match source {
        Source::Host(file) => Seekable::Host(file),
        Source::File(file) => Seekable::File(file),
        Source::Bytes(bytes) => Seekable::Bytes(bytes),
        Source::Stream(stream) => {
            let mut stream = Foreign(stream);
            let count = read_piece(&mut stream, &mut head)?;
            let format = known(format, &head[..count])?;
            let mut whole = io::Cursor::new(head).take(count as u64).chain(stream);
            return Ok(match format {
                Format::Zip => Opened::Zip(spool(fs, &mut whole)?),
                format => Opened::Tar(format, Box::new(whole)),
            });
        }
    };
    let mut whole = Sequential {
        of: seekable,
        position: 0,
    };
    let count = read_piece(&mut whole, &mut head)?;
    Ok(match known(format, &head[..count])? {
        Format::Zip => Opened::Zip(whole.of),
        format => {
            whole.position = 0;
            Opened::Tar(format, Box::new(whole))
        }
    })
}

fn known(format: Option<Format>, head: &[u8]) -> Outcome<Format> {
    format
        .or_else(|| Format::detect(head))
        .ok_or_else(|| Failure::bad("no format of archives that is known begins like this"))
}

/// Copies a stream into a file that has no name, so that nothing of it is left whatever happens.
fn spool(fs: &FileSystem, stream: &mut dyn Read) -> Outcome<Seekable> {
    let path = hidden(b"/", b"");
    let mut options = brimfs::OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(fs, &path)?;
    fs.remove_file(&path)?;
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let count = read_piece(stream, &mut buffer)?;
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let written = file.write_at(offset, rest)?;
            offset += written as u64;
            rest = &rest[written..];
        }
        if count < buffer.len() {
            return Ok(Seekable::File(file));
        }
    }
}
