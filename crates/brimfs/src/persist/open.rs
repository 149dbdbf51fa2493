//! Opening: the lock, what the journal says, the segments, the tree.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::atomic::{AtomicBool, AtomicU64};
use crate::base::sync::{Arc, Mutex};
use crate::cold::segment::{Options, Protection, Store};
use crate::io::directory::{Directory, LockError, Sharing};
use crate::journal::{self, Identity, Recovered, Writer, recover};
use crate::memory::budget::Budget;
use crate::mover::{Keeper, Mover, TierSettings};
use crate::namespace::changes::{Changes, Commits};
use crate::namespace::inode::{Inode, NOTED};
use crate::namespace::volume::{ROOT, Volume};

use super::image::Image;
use super::restore::{self, restore};
use super::{Core, Durability, Persistence, ahead, capture, checkpoint, corrupt};

/// So much may wait for a commit, at most, in bytes; a small memory limit allows an eighth of it.
const PENDING_MAX: u64 = 64 << 20;
const PENDING_SHARE: u64 = 8;
/// So much content may be in the journal, in bytes; with a small memory limit a quarter of it.
const INLINE_MAX: u64 = 64 << 20;
const INLINE_SHARE: u64 = 4;
/// Segments of this size can be given back soon, in bytes.
pub(super) const SEGMENT_BYTES: u64 = 64 << 20;
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
    } = plan;
    let sharing = if read_only {
        Sharing::Shared
    } else {
        Sharing::Exclusive
    };
    let lock = directory.lock(sharing).map_err(refused)?;
    let mut image = Image::default();
    let found = recover(&*directory, &mut image)?;
    if read_only && found.identity.is_none() {
        let text = "there is no store in this directory";
        return Err(Fault::text(ErrorKind::NotFound, text));
    }
    if !read_only {
        check_writable(&*directory, &found)?;
    }
    // Whoever writes leaves a file behind, and what is there may still turn out to be damaged or too much.
    let is_new = found.identity.is_none();
    let mut writer = None;
    if !read_only && (is_new || found.groups > GROUPS_MAX) {
        let begun = begin_writing(&directory, &found)?;
        if !is_new {
            checkpoint::write(&image, &directory, &begun)?;
        }
        writer = Some(begun);
    }
    let identity = found.identity.or(writer.as_ref().map(Writer::identity));
    let live = restore::live(&image)?;
    let options = options(&tier, &*directory, budget.limit())?;
    let identity = identity.unwrap_or(Identity([0; 16])).0;
    if !read_only && writer.is_none() {
        // Segments that nothing refers to are removed next: nothing may come back that refers to them.
        journal::make_durable(&*directory, &found)?;
    }
    let segments = match read_only {
        true => Store::named_read_only(directory.clone(), options, identity, &live),
        false => Store::named(directory.clone(), options, identity, &live),
    };
    let segments = Arc::new(segments?);
    let memory_limit = budget.limit();
    let pending = PENDING_MAX.min(memory_limit / PENDING_SHARE);
    let buffers = buffer_bytes(read_only, pending);
    Mover::install_kept(tier, &budget, segments.clone(), buffers)?;
    let (volume, root) = volume(Box::new(Changes::new(pending)))?;
    let persistence = Arc::new(Persistence {
        directory,
        segments,
        volume,
        durability,
        read_only,
        inline_max: INLINE_MAX.min(memory_limit / INLINE_SHARE),
        core: Mutex::new(Core::new(None)),
        ahead: Mutex::new(()),
        begun: AtomicU64::new(0),
        durable: AtomicU64::new(0),
        problem: Mutex::new(None),
        has_failed: AtomicBool::new(false),
        called: AtomicBool::new(false),
        clerk: Mutex::new(None),
        lock: Mutex::new(Some(lock)),
    });
    persistence.load(image, live, &root)?;
    if !read_only && writer.is_none() {
        writer = Some(begin_writing(&persistence.directory, &found)?);
    }
    persistence.core.lock().writer = writer;
    persistence.begin(&root)?;
    Ok((root, persistence))
}

impl Persistence {
    fn load(
        &self,
        image: Image,
        live: Vec<crate::cold::segment::Extent>,
        root: &Arc<Inode>,
    ) -> Result<(), Fault> {
        let mover = self.mover().ok_or(ErrorKind::Unsupported)?;
        let tree = restore(image, live, root, mover)?;
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
            for (offset, bytes) in patches {
                node.put_back(offset, &bytes)?;
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
        if root.read().mode & NOTED != 0 {
            changes.note_node(root);
            self.commit()?;
        }
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

/// What commits take of the memory limit.
fn buffer_bytes(read_only: bool, pending: u64) -> u64 {
    match read_only {
        true => 0,
        false => capture::stage_bytes(pending) + ahead::batch_bytes(pending),
    }
}

/// Refuses to write where that could remove what a repair saves.
fn check_writable(directory: &dyn Directory, found: &Recovered) -> Result<(), Fault> {
    let names = directory.list().map_err(Fault::disk)?;
    let has = |prefix: &str| {
        let mut plain = names.iter().filter_map(|name| name.to_str());
        plain
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
    };
    if let Some(marker) = has(REPAIR_PREFIX) {
        return Err(corrupt(format!(
            "a repair was interrupted ({marker} says so): run it again, it goes on"
        )));
    }
    match has(SEGMENT_PREFIX) {
        Some(segment) if found.identity.is_none() => Err(corrupt(format!(
            "there is content ({segment}) and no journal"
        ))),
        _ => Ok(()),
    }
}

fn begin_writing(directory: &Arc<dyn Directory>, found: &Recovered) -> Result<Writer, Fault> {
    let options = journal::Options::default();
    match found.identity {
        Some(_) => Writer::open(directory.clone(), found, options),
        None => {
            let identity = Identity::random().map_err(Fault::disk)?;
            Writer::create(directory.clone(), found, identity, options)
        }
    }
}

/// The store's part of the disk is all that is free and what it has.
fn options(
    tier: &TierSettings,
    directory: &dyn Directory,
    memory_limit: u64,
) -> Result<Options, Fault> {
    let place = directory.place().map_err(Fault::disk)?;
    let limit = tier
        .disk_limit
        .unwrap_or(place.total.max(4 * SEGMENT_BYTES));
    let mut options = tier.options("", limit, memory_limit);
    options.protection = Protection::Checksummed;
    options.segment_bytes = Some(SEGMENT_BYTES.min(limit / 4 / 4096 * 4096));
    Ok(options)
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
