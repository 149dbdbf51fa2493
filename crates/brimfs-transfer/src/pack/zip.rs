//! Writing zip, front to back: sizes and checksums follow the data.

use std::io::{self, Read, Write};

use brimfs::Metadata;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::path::{EntryPath, ZipFilePath};
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, ZipArchiveWriter};

use super::{Pack, level};
use crate::extract::piece;
use crate::failure::{Failure, Outcome};

pub(super) struct Writer<W> {
    zip: ZipArchiveWriter<W>,
    level: Compression,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W, level: Option<u32>) -> Outcome<Self> {
        Ok(Writer {
            zip: ZipArchiveWriter::new(to),
            level: Compression::new(self::level(level, 6, 0, 9)?),
            buffer: piece(),
        })
    }

    fn write(
        &mut self,
        name: &[u8],
        known: &Metadata,
        mode: u32,
        method: CompressionMethod,
        content: &mut dyn Read,
    ) -> Outcome<()> {
        let file = self.zip.new_file(path(name));
        let file = file
            .compression_method(method)
            .last_modified(time(known))
            .unix_permissions(mode);
        let (mut entry, config) = file.start().map_err(failure)?;
        let sum = if method == CompressionMethod::STORE {
            let mut data = config.wrap(&mut entry);
            copy(content, &mut data, &mut self.buffer)?;
            data.finish().map_err(failure)?.1
        } else {
            let mut data = config.wrap(DeflateEncoder::new(&mut entry, self.level));
            copy(content, &mut data, &mut self.buffer)?;
            let (encoder, sum) = data.finish().map_err(failure)?;
            encoder.finish().map_err(Failure::from_host)?;
            sum
        };
        entry.finish(sum).map_err(failure)?;
        Ok(())
    }
}

impl<W: Write> Pack for Writer<W> {
    fn directory(&mut self, name: &[u8], known: &Metadata) -> Outcome<()> {
        let name = [name, b"/"].concat();
        let directory = self.zip.new_dir(path(&name));
        let directory = directory
            .last_modified(time(known))
            .unix_permissions(0o040_000 | known.mode());
        directory.create().map_err(failure)?;
        Ok(())
    }

    fn symlink(&mut self, name: &[u8], target: &[u8], known: &Metadata) -> Outcome<()> {
        let store = CompressionMethod::STORE;
        let mut target = target;
        self.write(name, known, 0o120_777, store, &mut target)
    }

    fn file(
        &mut self,
        name: &[u8],
        known: &Metadata,
        _len: u64,
        content: &mut dyn Read,
    ) -> Outcome<()> {
        let method = if self.level.level() == 0 {
            CompressionMethod::STORE
        } else {
            CompressionMethod::DEFLATE
        };
        self.write(name, known, 0o100_000 | known.mode(), method, content)
    }

    fn finish(self: Box<Self>) -> Outcome<()> {
        let mut to = self.zip.finish().map_err(failure)?;
        to.flush().map_err(Failure::from_host)
    }
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, buffer: &mut [u8]) -> Outcome<()> {
    loop {
        match from.read(buffer).map_err(Failure::from_host)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count]).map_err(Failure::from_host)?,
        }
    }
}

/// A name as it is; marked as UTF-8 if it is that, unless the crate would tidy it.
fn path(name: &[u8]) -> EntryPath<'_> {
    match str::from_utf8(name) {
        Ok(text) if ZipFilePath::from_str(text).as_str() == text => EntryPath::conformant(text),
        _ => EntryPath::verbatim(name),
    }
}

fn time(known: &Metadata) -> UtcDateTime {
    UtcDateTime::from_unix(known.modified().seconds)
}

fn failure(error: rawzip::Error) -> Failure {
    let text = error.to_string();
    match error.into_kind() {
        rawzip::ErrorKind::IO(error) => Failure::from_host(error),
        _ => Failure::from_host(io::Error::other(text)),
    }
}
