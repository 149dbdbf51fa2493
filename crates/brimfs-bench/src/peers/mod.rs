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
