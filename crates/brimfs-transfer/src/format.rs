//! Formats of archives, and telling them apart by their first bytes.

/// A format of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Zip; written with deflate, read with deflate, bzip2, xz, zstd and without compression.
    Zip,
    /// Tar, not packed.
    Tar,
    /// Tar in gzip.
    TarGz,
    /// Tar in bzip2.
    TarBz2,
    /// Tar in xz.
    TarXz,
    /// Tar in zstd.
    TarZst,
}

/// The bytes that tell formats apart: a tar has its mark at 257.
pub(crate) const HEAD: usize = 512;

const MARKS: &[(&[u8], Format)] = &[
    (b"PK\x03\x04", Format::Zip),
    (b"PK\x05\x06", Format::Zip),
    (b"\x1f\x8b", Format::TarGz),
    (b"BZh", Format::TarBz2),
    (b"\xfd7zXZ\0", Format::TarXz),
    (b"\x28\xb5\x2f\xfd", Format::TarZst),
];

const NAMES: &[(&str, Format)] = &[
    ("zip", Format::Zip),
    ("tar", Format::Tar),
    ("tar.gz", Format::TarGz),
    ("tgz", Format::TarGz),
    ("tar.bz2", Format::TarBz2),
    ("tbz2", Format::TarBz2),
    ("tar.xz", Format::TarXz),
    ("txz", Format::TarXz),
    ("tar.zst", Format::TarZst),
    ("tzst", Format::TarZst),
];

impl Format {
    /// Every format, for tables and tests.
    pub const ALL: &'static [Format] = &[
        Format::Zip,
        Format::Tar,
        Format::TarGz,
        Format::TarBz2,
        Format::TarXz,
        Format::TarZst,
    ];

    /// The format of that name: `zip`, `tar`, `tar.gz`, `tar.bz2`, `tar.xz`, `tar.zst`, or a short form as `tgz`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format)
    }

    /// The format that the ending of a file name says, in any case.
    #[must_use]
    pub fn from_file_name(name: &[u8]) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let ends = |known: &str| {
            name.strip_suffix(known.as_bytes())
                .is_some_and(|rest| rest.ends_with(b"."))
        };
        let found = NAMES.iter().find(|(known, _)| ends(known));
        found.map(|(_, format)| *format)
    }

    /// The name of the format, as [`Format::from_name`] takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, format)| *format == self);
        found.map_or("", |(name, _)| name)
    }

    /// What the first bytes of an archive say it is.
    pub(crate) fn detect(head: &[u8]) -> Option<Self> {
        let marked = MARKS.iter().find(|(mark, _)| head.starts_with(mark));
        marked
            .map(|(_, format)| *format)
            .or_else(|| looks_like_tar(head).then_some(Format::Tar))
    }
}

/// A header with a right checksum, or the end mark of an empty tar.
fn looks_like_tar(head: &[u8]) -> bool {
    head.len() == HEAD
        && (crate::tar::checksum_is_right(head) || head.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn names_and_endings_are_known() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(*format));
            let file = format!("/a/B.{}", format.name().to_uppercase());
            assert_eq!(Format::from_file_name(file.as_bytes()), Some(*format));
        }
        assert_eq!(Format::from_file_name(b"/a.tgz"), Some(Format::TarGz));
        assert_eq!(Format::from_file_name(b"/tgz"), None);
        assert_eq!(Format::from_file_name(b"/a.gz"), None);
    }
}
