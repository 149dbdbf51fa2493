//! Opening: the lock, what the journal says, the segments, the tree.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::atomic::{AtomicBool, AtomicU64};
use crate::base::sync::{Arc, Mutex};
use crate::cold::host_files::HostFiles;
use crate::cold::segment::{Extent, Options, Protection, SEGMENT_BYTES_MIN, Store};
use crate::io::directory::{Directory, DirectoryLock, LockError, Sharing};
use crate::io::disk::Place;
use crate::io::real_directory::Opening;
use crate::io::tree::{SIDE, Tree};
use crate::journal::{self, Identity, Recovered, Writer, recover};
use crate::memory::budget::Budget;
use crate::mover::{Keeper, Mover, TierSettings};
use crate::namespace::changes::{Changes, Commits};
use crate::namespace::inode::{Inode, NOTED};
use crate::namespace::volume::{ROOT, Volume};

use super::image::Image;
use super::mirror::{self, Side, refuse_mirror};
use super::reserve::{JOURNAL_BYTES, Reserve, is_short_of_disk};
use super::restore::{self, restore};
use super::room::Shares;
use super::{Core, Durability, Persistence, ahead, capture, checkpoint, corrupt};

/// So much may wait for a commit, at most, in bytes; a small memory limit allows an eighth of it.
const PENDING_MAX: u64 = 64 << 20;
const PENDING_SHARE: u64 = 8;
/// So much content may be in the journal, in bytes; with a small memory limit a quarter of it, and of a small disk one
/// part in so many.
const INLINE_MAX: u64 = 64 << 20;
const INLINE_SHARE: u64 = 4;
const INLINE_DISK_SHARE: u64 = 16;
/// Segments of this size can be given back soon, in bytes.
pub(super) const SEGMENT_BYTES: u64 = 64 << 20;
/// A small disk is divided into so many segments at least.
const SEGMENTS_LEAST: u64 = 16;
/// A journal file has one part in so many of a small disk.
const FILE_SHARE: u64 = 32;
/// A journal that has more groups than this is read once more only, when it is opened.
const GROUPS_MAX: u64 = 256;

/// How a file begins that says that a repair is not finished.
pub(super) const REPAIR_PREFIX: &str = "repair-";
const SEGMENT_PREFIX: &str = "segment-";

/// What a persistent filesystem is opened with, beside the settings of any filesystem.
pub(crate) struct Plan {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) durability: Durability,
    pub(crate) read_only: bool,
    pub(crate) tier: TierSettings,
    pub(crate) budget: Budget,
    /// The tree, of the mirror layout; the directory is the one beside it then.
    pub(crate) mirror: Option<Side>,
}

impl Plan {
    /// The directory that a mirrored tree has for side data.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the tree is that of another layout; those of the disk.
    pub(crate) fn side_directory(
        tree: &dyn Tree,
        read_only: bool,
    ) -> Result<Arc<dyn Directory>, Fault> {
        mirror::directory_of(tree, read_only)
    }
}

/// Opens what is in a directory, or begins there. `volume` makes an empty volume with these changes, charged to
/// the plan's budget.
///
/// O(records of the journal); content is not read.
///
/// # Errors
/// [`ErrorKind::StoreInUse`], naming the holder; [`ErrorKind::Corrupt`] and
/// [`ErrorKind::Unsupported`] for what cannot be read; the limits of the filesystem, if what is there is more; those of the
/// disk. The store is as it was then.
pub(crate) fn open(
    plan: Plan,
    volume: impl FnOnce(Box<Changes>) -> Result<(Arc<Volume>, Arc<Inode>), Fault>,
) -> Result<(Arc<Inode>, Arc<Persistence>), Fault> {
    let Plan {
        directory,
        durability,
        read_only,
        tier,
        budget,
        mirror,
    } = plan;
    let lock = lock(&*directory, read_only)?;
    let place = directory.place().map_err(Fault::disk)?;
    let capacity = tier.disk_limit.unwrap_or(u64::MAX).min(place.total);
    let mut image = Image::default();
    let found = recover(&*directory, &mut image)?;
    check_layout(&*directory, &image, &found, mirror.is_some(), read_only)?;
    check_whole(&*directory, &image, &found, read_only)?;
    // What a mirror is going to take of the disk of the host nobody knows before it is written.
    let mut reserve = Reserve::open(directory.clone(), !read_only && mirror.is_none())?;
    // Whoever writes leaves a file behind, and what is there may still turn out to be damaged or too much.
    let is_early = !read_only && (found.identity.is_none() || found.groups > GROUPS_MAX);
    let writer = match is_early {
        true => Some(begin_early(
            &directory,
            &found,
            &image,
            &mut reserve,
            capacity,
        )?),
        false => None,
    };
    let identity = found.identity.or(writer.as_ref().map(Writer::identity));
    let live = match mirror {
        Some(_) => Vec::new(),
        None => restore::live(&image)?,
    };
    let options = options(&tier, place, budget.limit());
    let identity = identity.unwrap_or(Identity([0; 16])).0;
    if !read_only && writer.is_none() {
        // Segments that nothing refers to are removed next: nothing may come back that refers to them.
        journal::make_durable(&*directory, &found)?;
    }
    let segments = open_segments(directory.clone(), options, identity, &live, read_only)?;
    let (segments, mirror) = beside_files(segments, mirror);
    let memory_limit = budget.limit();
    let pending = PENDING_MAX.min(memory_limit / PENDING_SHARE);
    let buffers = buffer_bytes(read_only, pending);
    Mover::install_kept(tier, &budget, segments.clone(), buffers)?;
    let side = mirror.as_ref().map(|(side, _)| side);
    let changes = changes(pending, side, read_only)?;
    let (volume, root) = volume(Box::new(changes))?;
    let persistence = Arc::new(Persistence {
        directory,
        segments,
        volume,
        durability,
        read_only,
        capacity,
        shares: Shares::of(capacity),
        inline_max: inline_max(memory_limit, capacity),
        core: Mutex::new(Core::new(reserve)),
        ahead: Mutex::new(ahead::batches(pending)),
        begun: AtomicU64::new(0),
        durable: AtomicU64::new(0),
        problem: Mutex::new(None),
        has_failed: AtomicBool::new(false),
        called: AtomicBool::new(false),
        clerk: Mutex::new(None),
        mirror: mirror.map(|(side, files)| mirror::open(&side, files)),
        root: Arc::downgrade(&root),
        lock: Mutex::new(Some(lock)),
    });
    persistence.load_and_start((image, live), &root, writer, &found)?;
    persistence.begin(&root)?;
    Ok((root, persistence))
}

impl Persistence {
    fn load_and_start(
        &self,
        (image, live): (Image, Vec<Extent>),
        root: &Arc<Inode>,
        early: Option<Writer>,
        found: &Recovered,
    ) -> Result<(), Fault> {
        match &self.mirror {
            Some(mirror) => {
                // Loading commits what others did.
                self.start_writing(early, found)?;
                self.load_mirror(mirror, image, root)
            }
            None => {
                self.load(image, live, root)?;
                self.start_writing(early, found)
            }
        }
    }

    fn start_writing(&self, early: Option<Writer>, found: &Recovered) -> Result<(), Fault> {
        if self.read_only {
            return Ok(());
        }
        let mut core = self.core.lock();
        core.reserve.attach(self.segments.clone());
        core.writer = Some(match early {
            Some(writer) => writer,
            None => begin_writing(&self.directory, found, &mut core.reserve, self.capacity)?,
        });
        Ok(())
    }

    fn load(&self, image: Image, live: Vec<Extent>, root: &Arc<Inode>) -> Result<(), Fault> {
        let mover = self.mover().ok_or(ErrorKind::Unsupported)?;
        let tree = restore(image, live, root, (mover, &self.segments))?;
        if tree.known.contains(ROOT) {
            root.write_quietly().mode &= !NOTED;
        }
        // What no name leads to keeps its references until a commit has said so.
        let mut core = self.core.lock();
        core.known = tree.known;
        core.nameless = tree.nameless;
        mover.charge_tables(core.known.footprint());
        drop(core);
        for (node, patches) in tree.patched {
            for (offset, bytes) in patches.iter() {
                node.put_back(offset, bytes)?;
            }
        }
        Ok(())
    }

    /// From now on changes are committed; the root of a new store at once.
    fn begin(self: &Arc<Self>, root: &Arc<Inode>) -> Result<(), Fault> {
        let Some(changes) = self.changes() else {
            return Ok(());
        };
        let commits: Arc<dyn Commits> = self.clone();
        changes.attach(Arc::downgrade(&commits));
        if self.read_only {
            return Ok(());
        }
        changes.set_share(self.segments.share_of_content());
        if root.read().mode & NOTED != 0 {
            changes.note_node(root);
            self.commit()?;
        }
        let mut core = self.core.lock();
        // Where there is less than what was kept, what is there is kept.
        drop(core.reserve.renew());
        self.settle_room(&mut core);
        drop(core);
        if let Some(mover) = self.mover() {
            let keeper: Arc<dyn Keeper> = self.clone();
            mover.set_keeper(Arc::downgrade(&keeper));
        }
        // Lives that were short leave short segments, however little was done in each.
        self.merge_if_due();
        self.employ_clerk();
        Ok(())
    }
}

/// How much content may be in the journal, in bytes.
fn inline_max(memory_limit: u64, capacity: u64) -> u64 {
    let of_memory = INLINE_MAX.min(memory_limit / INLINE_SHARE);
    of_memory.min(capacity / INLINE_DISK_SHARE)
}

/// What changes, where a mirror allows what its host does.
fn changes(pending: u64, mirror: Option<&Side>, read_only: bool) -> Result<Changes, Fault> {
    let changes = Changes::new(pending).reserving(mirror.is_some().then_some(SIDE));
    match mirror {
        Some(side) if !read_only => Ok(changes.without_links(!mirror::has_links(&*side.tree)?)),
        _ => Ok(changes),
    }
}

/// The store that also has the content of a mirror's files.
fn beside_files(
    segments: Store,
    mirror: Option<Side>,
) -> (Arc<Store>, Option<(Side, Arc<HostFiles>)>) {
    let Some(side) = mirror else {
        return (Arc::new(segments), None);
    };
    let files = Arc::new(HostFiles::new(side.tree.clone()));
    let segments = segments.beside(files.clone());
    (Arc::new(segments), Some((side, files)))
}

/// Refuses a store of the other layout, and to read where there is none.
fn check_layout(
    directory: &dyn Directory,
    image: &Image,
    found: &Recovered,
    is_mirror: bool,
    read_only: bool,
) -> Result<(), Fault> {
    let is_new = found.identity.is_none();
    if !is_mirror {
        refuse_mirror(directory, image, is_new)?;
    } else if !image.nodes.is_empty() && !image.is_mirror {
        let text = "the side directory holds a store of the layout \"segments\"";
        return Err(Fault::text(ErrorKind::InvalidArgument, text));
    }
    if read_only && is_new && !is_mirror {
        let text = "there is no store in this directory";
        return Err(Fault::text(ErrorKind::NotFound, text));
    }
    Ok(())
}

/// What commits take of the memory limit.
fn buffer_bytes(read_only: bool, pending: u64) -> u64 {
    match read_only {
        true => 0,
        false => capture::stage_bytes(pending) + ahead::buffer_bytes(pending),
    }
}

fn open_segments(
    directory: Arc<dyn Directory>,
    options: Options,
    identity: [u8; 16],
    live: &[Extent],
    read_only: bool,
) -> Result<Store, Fault> {
    match read_only {
        true => Store::named_read_only(directory, options, identity, live),
        false => Store::named(directory, options, identity, live),
    }
}

/// Refuses to write where that could remove what a repair saves, and to read as empty what a repair has only begun.
fn check_whole(
    directory: &dyn Directory,
    image: &Image,
    found: &Recovered,
    read_only: bool,
) -> Result<(), Fault> {
    if !read_only || image.nodes.is_empty() {
        check_repaired(directory)?;
    }
    match read_only {
        true => Ok(()),
        false => check_writable(directory, found),
    }
}

fn check_repaired(directory: &dyn Directory) -> Result<(), Fault> {
    match name_with(directory, REPAIR_PREFIX)? {
        Some(marker) => Err(corrupt(format!(
            "a repair was interrupted ({marker} says so): run it again, it goes on"
        ))),
        None => Ok(()),
    }
}

/// Refuses to begin a store where there is content of another.
fn check_writable(directory: &dyn Directory, found: &Recovered) -> Result<(), Fault> {
    if found.identity.is_some() {
        return Ok(());
    }
    match name_with(directory, SEGMENT_PREFIX)? {
        Some(segment) => Err(corrupt(format!(
            "there is content ({segment}) and no journal"
        ))),
        None => Ok(()),
    }
}

/// A file whose name begins so.
fn name_with(directory: &dyn Directory, prefix: &str) -> Result<Option<String>, Fault> {
    let names = directory.list().map_err(Fault::disk)?;
    let mut plain = names.iter().filter_map(|name| name.to_str());
    let found = plain.find(|name| name.starts_with(prefix));
    Ok(found.map(str::to_owned))
}

fn lock(directory: &dyn Directory, read_only: bool) -> Result<Box<dyn DirectoryLock>, Fault> {
    let sharing = if read_only {
        Sharing::Shared
    } else {
        Sharing::Exclusive
    };
    directory.lock(sharing).map_err(refused)
}

/// Begins writing before all was looked at: a new store, or one whose journal is long, which a checkpoint makes short.
fn begin_early(
    directory: &Arc<dyn Directory>,
    found: &Recovered,
    image: &Image,
    reserve: &mut Reserve,
    capacity: u64,
) -> Result<Writer, Fault> {
    let begun = begin_writing(directory, found, reserve, capacity)?;
    if found.identity.is_some() {
        // A journal that is long is read all the same.
        let written = checkpoint::write(image, directory, &begun);
        written.map(drop).or_else(forgive_full)?;
    }
    Ok(begun)
}

/// Begins a journal file; on a full disk in the place of what was kept for that.
fn begin_writing(
    directory: &Arc<dyn Directory>,
    found: &Recovered,
    reserve: &mut Reserve,
    capacity: u64,
) -> Result<Writer, Fault> {
    reserve.create()?;
    let mut options = journal::Options::default();
    options.file_bytes = options
        .file_bytes
        .min(capacity / FILE_SHARE)
        .max(2 * options.step_bytes);
    let identity = match found.identity {
        Some(_) => None,
        None => Some(Identity::random().map_err(Fault::disk)?),
    };
    let begun = reserve.spend(JOURNAL_BYTES, || match identity {
        None => Writer::open(directory.clone(), found, options),
        Some(identity) => Writer::create(directory.clone(), found, identity, options),
    });
    begun.map_err(|fault| match fault.kind() {
        ErrorKind::DiskFull => {
            let text = format!(
                "the disk is full, and opening for writing takes {JOURNAL_BYTES} bytes of it; opening for \
                 reading takes none: {}",
                fault.says()
            );
            Fault::text(ErrorKind::DiskFull, text)
        }
        _ => fault,
    })
}

/// What can be done later is no error for lack of space.
fn forgive_full(fault: Fault) -> Result<(), Fault> {
    match is_short_of_disk(&fault) {
        true => Ok(()),
        false => Err(fault),
    }
}

/// The store's part of the disk is all that is free and what it has.
fn options(tier: &TierSettings, place: Place, memory_limit: u64) -> Options {
    let limit = tier
        .disk_limit
        .unwrap_or(place.total.max(4 * SEGMENT_BYTES));
    let mut options = tier.options("", limit, memory_limit);
    options.protection = Protection::Checksummed;
    let of_disk = (place.total / SEGMENTS_LEAST).max(SEGMENT_BYTES_MIN);
    let bytes = SEGMENT_BYTES.min(limit / 4).min(of_disk);
    options.segment_bytes = Some(bytes / 4096 * 4096);
    options
}

/// Why there is no directory to open, in the words of a filesystem.
#[cold]
pub(crate) fn no_directory(error: std::io::Error, opening: Opening) -> Fault {
    use std::io::ErrorKind as Host;

    match error.kind() {
        Host::NotFound if opening == Opening::Create => {
            let text = "there is no directory to make it in";
            Fault::text(ErrorKind::NotFound, text)
        }
        Host::NotFound => ErrorKind::NotFound.into(),
        Host::InvalidInput => ErrorKind::NulInPath.into(),
        Host::NotADirectory => ErrorKind::NotADirectory.into(),
        Host::ReadOnlyFilesystem => ErrorKind::ReadOnly.into(),
        Host::PermissionDenied => {
            let text = "the directory is closed to this user";
            Fault::text(ErrorKind::NotPermitted, text)
        }
        _ => Fault::disk(error),
    }
}

pub(super) fn refused(error: LockError) -> Fault {
    match error {
        LockError::Io(error) => Fault::disk(error),
        LockError::Held(holder) => {
            let text = match holder {
                Some(holder) if holder.is_this_process() => "this process has it open".to_owned(),
                Some(holder) => format!("{holder}, has it open"),
                // Readers leave no name behind.
                None => "it is open elsewhere".to_owned(),
            };
            Fault::text(ErrorKind::StoreInUse, text)
        }
    }
}
