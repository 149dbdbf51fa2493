//! Writing tar, plain or packed.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ::tar::{Builder, EntryType, Header};
use brimfs::Metadata;

use super::{Pack, level};
use crate::failure::{Failure, Outcome};
use crate::format::Format;

pub(super) struct Writer<W: Write>(Builder<Packed<W>>);

/// A stream in one of the packings.
enum Packed<W: Write> {
    Plain(W),
    Gz(flate2::write::GzEncoder<W>),
    Bz2(bzip2::write::BzEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zst(zstd::Encoder<'static, W>),
}

impl<W: Write> Writer<W> {
    pub(super) fn new(format: Format, to: W, level: Option<u32>) -> Outcome<Self> {
        let scale = |default, least, most| self::level(level, default, least, most);
        let to = match format {
            Format::Zip | Format::Tar => {
                scale(0, 0, 9)?;
                Packed::Plain(to)
            }
            Format::TarGz => {
                let level = flate2::Compression::new(scale(6, 0, 9)?);
                Packed::Gz(flate2::write::GzEncoder::new(to, level))
            }
            Format::TarBz2 => {
                let level = bzip2::Compression::new(scale(9, 1, 9)?);
                Packed::Bz2(bzip2::write::BzEncoder::new(to, level))
            }
            Format::TarXz => Packed::Xz(liblzma::write::XzEncoder::new(to, scale(6, 0, 9)?)),
            Format::TarZst => {
                let encoder = zstd::Encoder::new(to, scale(3, 1, 22)? as i32);
                let mut encoder = encoder.map_err(Failure::from_host)?;
                let summed = encoder.include_checksum(true);
                summed.map_err(Failure::from_host)?;
                Packed::Zst(encoder)
            }
        };
        Ok(Writer(Builder::new(to)))
    }
}

fn header(known: &Metadata, kind: EntryType, len: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(known.mode());
    header.set_uid(known.uid().into());
    header.set_gid(known.gid().into());
    // The format has no times before 1970.
    header.set_mtime(known.modified().seconds.max(0) as u64);
    header.set_size(len);
    header
}

fn path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

impl<W: Write> Pack for Writer<W> {
    fn directory(&mut self, name: &[u8], known: &Metadata) -> Outcome<()> {
        let mut header = header(known, EntryType::Directory, 0);
        let name = [name, b"/"].concat();
        let written = self
            .0
            .append_data(&mut header, path(&name), std::io::empty());
        written.map_err(Failure::from_host)
    }

    fn symlink(&mut self, name: &[u8], target: &[u8], known: &Metadata) -> Outcome<()> {
        let mut header = header(known, EntryType::Symlink, 0);
        let written = self.0.append_link(&mut header, path(name), path(target));
        written.map_err(Failure::from_host)
    }

    fn file(
        &mut self,
        name: &[u8],
        known: &Metadata,
        len: u64,
        content: &mut dyn Read,
    ) -> Outcome<()> {
        let mut header = header(known, EntryType::Regular, len);
        let content = content.take(len);
        let written = self.0.append_data(&mut header, path(name), content);
        written.map_err(Failure::from_host)
    }

    fn finish(self: Box<Self>) -> Outcome<()> {
        let packed = self.0.into_inner().map_err(Failure::from_host)?;
        let to = match packed {
            Packed::Plain(to) => Ok(to),
            Packed::Gz(encoder) => encoder.finish(),
            Packed::Bz2(encoder) => encoder.finish(),
            Packed::Xz(encoder) => encoder.finish(),
            Packed::Zst(encoder) => encoder.finish(),
        };
        let flushed = to.and_then(|mut to| to.flush());
        flushed.map_err(Failure::from_host)
    }
}

impl<W: Write> Packed<W> {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Packed::Plain(to) => to,
            Packed::Gz(to) => to,
            Packed::Bz2(to) => to,
            Packed::Xz(to) => to,
            Packed::Zst(to) => to,
        }
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.writer().write(from)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer().flush()
    }
}
