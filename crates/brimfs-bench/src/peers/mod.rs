//! The implementations under measurement, by name. Each adapter is one file.

mod brimfs;
mod floor;
#[cfg(feature = "peers")]
mod object_store;
#[cfg(feature = "peers")]
mod opendal;
#[cfg(feature = "peers")]
mod rsfs;
mod tmpfs;
#[cfg(feature = "peers")]
mod vfs;
#[cfg(feature = "peers")]
mod virtual_fs;

use crate::peer::{Done, Peer};

/// The name of the subject of the comparison.
pub const SUBJECT: &str = "brimfs";
/// The name of the imitation that shows how little time an operation can take.
pub const FLOOR: &str = "floor";

/// An implementation, and how to make an empty instance of it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub name: &'static str,
    pub create: fn() -> Done<Box<dyn Peer>>,
}

/// All candidates of this build, the subject first and the floor last.
pub fn candidates() -> Vec<Candidate> {
    let mut all = vec![Candidate {
        name: SUBJECT,
        create: brimfs::create,
    }];
    #[cfg(feature = "peers")]
    all.extend([
        Candidate {
            name: "vfs",
            create: vfs::create,
        },
        Candidate {
            name: "rsfs",
            create: rsfs::create,
        },
        Candidate {
            name: "object_store",
            create: object_store::create,
        },
        Candidate {
            name: "opendal",
            create: opendal::create,
        },
        Candidate {
            name: "virtual-fs",
            create: virtual_fs::create,
        },
    ]);
    all.push(Candidate {
        name: "tmpfs",
        create: tmpfs::create,
    });
    all.push(Candidate {
        name: FLOOR,
        create: floor::create,
    });
    all
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::peer::Failure;

    /// The result, or nothing where the candidate has no such operation.
    fn supported<T>(name: &str, done: Done<T>) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(Failure::Unsupported) => None,
            Err(Failure::Error(text)) => panic!("{name}: {text}"),
        }
    }

    fn content(peer: &dyn Peer, absolute: &str) -> Vec<u8> {
        let mut buffer = vec![0; 64];
        let length = peer.read_copied(&peer.path(absolute), &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    /// What is measured must be what it says: every adapter does the operations that it claims.
    #[test]
    fn every_candidate_does_what_is_measured() {
        for candidate in candidates() {
            let name = candidate.name;
            let peer = (candidate.create)().unwrap();
            peer.create_dir(&peer.path("/d")).unwrap();
            let (a, b) = (peer.path("/d/a"), peer.path("/d/b"));
            peer.write_copied(&a, b"first, and longer").unwrap();
            peer.write_copied(&a, b"second").unwrap();
            assert_eq!(content(&*peer, "/d/a"), b"second", "{name}");
            assert_eq!(peer.stat(&a).unwrap(), 6, "{name}");
            let adopted = Bytes::from(vec![7; 4096]);
            if supported(name, peer.write_adopted(&b, &adopted)).is_some() {
                assert_eq!(peer.read_shared(&b).unwrap(), adopted, "{name}");
                peer.remove(&b).unwrap();
            }
            if supported(name, peer.rename(&a, &b)).is_some() {
                assert!(peer.stat(&a).is_err(), "{name}");
                peer.rename(&b, &a).unwrap();
            }
            if supported(name, peer.copy(&a, &b)).is_some() {
                assert_eq!(content(&*peer, "/d/b"), b"second", "{name}");
                peer.remove(&b).unwrap();
            }
            let mut names = Vec::new();
            peer.list(&peer.path("/d"), &mut |name| names.push(name.to_vec()))
                .unwrap();
            assert_eq!(names, [b"a"], "{name}");
            peer.remove(&a).unwrap();
            assert!(peer.stat(&a).is_err(), "{name}");
        }
    }

    #[test]
    fn every_candidate_streams_and_overwrites() {
        for candidate in candidates() {
            let name = candidate.name;
            let peer = (candidate.create)().unwrap();
            let path = peer.path("/file");
            let mut stream = peer.stream(&path).unwrap();
            stream.write(b"0123").unwrap();
            stream.write(b"4567").unwrap();
            stream.finish().unwrap();
            let mut source = peer.source(&path).unwrap();
            let mut buffer = [0; 5];
            assert_eq!(source.read(&mut buffer).unwrap(), 5, "{name}");
            assert_eq!(&buffer, b"01234", "{name}");
            assert_eq!(source.read(&mut buffer).unwrap(), 3, "{name}");
            assert_eq!(source.read(&mut buffer).unwrap(), 0, "{name}");
            drop(source);
            peer.write_copied(&path, b"01234567").unwrap();
            if let Some(mut file) = supported(name, peer.random_write(&path)) {
                file.write_at(2, b"xy").unwrap();
                drop(file);
                if name != FLOOR {
                    assert_eq!(content(&*peer, "/file"), b"01xy4567", "{name}");
                }
            }
        }
    }
}
