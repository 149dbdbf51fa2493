//! What a node says about itself, and changes of it.

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::memory::chunk::BLOCK;
use crate::namespace::inode::{
    Body, FileType, HAS_FAR_TIMES, HAS_XATTRS, Inode, PERMISSIONS, State,
};
use crate::namespace::times::{FileTimes, Timestamp};
use crate::namespace::volume::Extra;

/// What is known about a node, as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    ino: u64,
    len: u64,
    allocated: u64,
    generation: u64,
    kind: FileType,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    created: Timestamp,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident => $field:ident: $type:ty;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(&self) -> $type { self.$field })*
    };
}

impl Metadata {
    getters! {
        /// Inode number; never used again in the same filesystem.
        ino => ino: u64;
        /// Length in bytes: of a file its content, of a link its target, of a directory 0.
        len => len: u64;
        /// Bytes that hold data; what the length has more are holes.
        allocated => allocated: u64;
        /// Number of changes of the content so far; 0 for what is not a file.
        generation => generation: u64;
        /// File, directory or symbolic link.
        file_type => kind: FileType;
        /// Permission bits (`0o7777`), without the type.
        mode => mode: u32;
        /// User id.
        uid => uid: u32;
        /// Group id.
        gid => gid: u32;
        /// Number of names; of a directory 2 and one for each directory in it.
        nlink => links: u64;
        /// Time of the last access (noted once per change and day).
        accessed => accessed: Timestamp;
        /// Time of the last change of the content, or of a directory's names.
        modified => modified: Timestamp;
        /// Time of the last change of anything.
        changed => changed: Timestamp;
        /// Time of creation.
        created => created: Timestamp;
    }

    /// Whether the length is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Allocated bytes in units of 512, rounded up, as `stat` counts them.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.allocated.div_ceil(512)
    }

    /// The unit in which holes are kept, in bytes.
    #[must_use]
    pub fn block_size(&self) -> u64 {
        BLOCK as u64
    }

    /// Whether this is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind.is_file()
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind.is_dir()
    }

    /// Whether this is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.kind.is_symlink()
    }
}

/// How [`FileSystem::set_xattr`](crate::FileSystem::set_xattr) treats an existing attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum XattrMode {
    /// Creates or replaces.
    #[default]
    Set,
    /// Fails if it exists.
    Create,
    /// Fails if it does not exist.
    Replace,
}

/// The longest value of an extended attribute, in bytes (as on Linux).
pub(crate) const XATTR_VALUE_MAX: usize = 64 << 10;

/// Rejects bits that are no permissions.
pub(crate) fn check_mode(mode: u32) -> Result<(), Fault> {
    if mode <= u32::from(PERMISSIONS) {
        return Ok(());
    }
    Err(Fault::text(
        ErrorKind::InvalidArgument,
        format!("mode {mode:#o} has bits beyond 0o7777"),
    ))
}

impl Inode {
    pub(crate) fn metadata(&self) -> Metadata {
        self.describe(&self.read())
    }

    pub(crate) fn describe(&self, state: &State) -> Metadata {
        let (uid, gid) = self.volume().owner(state.owner);
        let (len, allocated) = match &state.body {
            Body::File(content) => (content.len(), content.allocated()),
            Body::Directory(_) => (0, 0),
            Body::Symlink(target) => (target.len() as u64, 0),
        };
        let times = &state.times;
        let mut known = Metadata {
            ino: self.number(),
            len,
            allocated,
            generation: state.generation(),
            kind: self.kind(),
            mode: u32::from(state.mode & PERMISSIONS),
            uid,
            gid,
            links: u64::from(state.links),
            accessed: Timestamp::from_nanos(times.accessed),
            modified: Timestamp::from_nanos(times.modified),
            changed: Timestamp::from_nanos(times.changed),
            created: Timestamp::from_nanos(times.created),
        };
        if state.mode & HAS_FAR_TIMES != 0 {
            let far = self
                .volume()
                .extras
                .read(self.number(), |extra| extra.far_times);
            let [accessed, modified] = far.unwrap_or_default();
            // A later change of a time that fits takes precedence: it lies off the bounds.
            let saturated = |nanos: i64| nanos == i64::MAX || nanos == i64::MIN;
            if let Some(time) = accessed.filter(|_| saturated(times.accessed)) {
                known.accessed = time;
            }
            if let Some(time) = modified.filter(|_| saturated(times.modified)) {
                known.modified = time;
            }
        }
        known
    }

    pub(crate) fn set_mode(self: &Arc<Self>, mode: u32) -> Result<(), Fault> {
        check_mode(mode)?;
        let mut state = self.change()?;
        state.mode = state.mode & !PERMISSIONS | mode as u16;
        state.times.node_changed(clock::wall_nanos());
        Ok(())
    }

    pub(crate) fn set_owner(
        self: &Arc<Self>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Fault> {
        let volume = self.volume();
        let mut state = self.change()?;
        let (old_uid, old_gid) = volume.owner(state.owner);
        state.owner = volume.owner_place((uid.unwrap_or(old_uid), gid.unwrap_or(old_gid)))?;
        state.times.node_changed(clock::wall_nanos());
        Ok(())
    }

    pub(crate) fn set_times(self: &Arc<Self>, times: FileTimes) -> Result<(), Fault> {
        for time in [times.accessed, times.modified].into_iter().flatten() {
            if time.nanos >= 1_000_000_000 {
                return Err(Fault::text(
                    ErrorKind::InvalidArgument,
                    "a time has a full second of nanoseconds or more",
                ));
            }
        }
        let fits = |time: Timestamp| i64::try_from(time.as_nanos()).ok();
        let far = |time: Option<Timestamp>| time.filter(|time| fits(*time).is_none());
        let far_times = [far(times.accessed), far(times.modified)];
        let mut state = self.change()?;
        if far_times != [None, None] {
            self.keep_far_times(far_times)?;
            state.mode |= HAS_FAR_TIMES;
        }
        let packed = |time: Timestamp| match fits(time) {
            Some(nanos) => nanos,
            None if time.seconds < 0 => i64::MIN,
            None => i64::MAX,
        };
        if let Some(time) = times.accessed {
            state.times.accessed = packed(time);
        }
        if let Some(time) = times.modified {
            state.times.modified = packed(time);
        }
        state.times.node_changed(clock::wall_nanos());
        Ok(())
    }

    fn keep_far_times(&self, times: [Option<Timestamp>; 2]) -> Result<(), Fault> {
        let volume = self.volume();
        let keep = |extra: &mut Extra| {
            for (kept, time) in extra.far_times.iter_mut().zip(times) {
                *kept = time.or(*kept);
            }
            Ok(())
        };
        volume
            .extras
            .change(self.number(), 0, &volume.account.budget, keep)?;
        Ok(())
    }

    pub(crate) fn set_xattr(
        self: &Arc<Self>,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), Fault> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(Fault::text(
                ErrorKind::OutOfRange,
                "the name of an attribute has 1 to 255 bytes, none of them NUL",
            ));
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(Fault::text(
                ErrorKind::OutOfRange,
                format!("the value has {} bytes, 65,536 are allowed", value.len()),
            ));
        }
        let volume = self.volume();
        let more = (name.len() + value.len()) as u64;
        let mut state = self.change_for(|state, to_come| state.cost_of_noting(to_come) + more)?;
        let set = |extra: &mut Extra| {
            match (extra.xattrs.contains_key(name), mode) {
                (true, XattrMode::Create) => return Err(ErrorKind::AlreadyExists.into()),
                (false, XattrMode::Replace) => return Err(ErrorKind::NoAttribute.into()),
                _ => {}
            }
            extra.xattrs.insert(name.into(), value.into());
            Ok(())
        };
        volume
            .extras
            .change(self.number(), more, &volume.account.budget, set)?;
        state.mode |= HAS_XATTRS;
        state.times.node_changed(clock::wall_nanos());
        Ok(())
    }

    pub(crate) fn xattr(&self, name: &[u8]) -> Result<Vec<u8>, Fault> {
        let state = self.read();
        let value = (state.mode & HAS_XATTRS != 0).then(|| {
            let find = |extra: &Extra| extra.xattrs.get(name).map(|value| value.to_vec());
            self.volume().extras.read(self.number(), find).flatten()
        });
        value.flatten().ok_or_else(|| ErrorKind::NoAttribute.into())
    }

    pub(crate) fn xattrs(&self) -> Vec<Vec<u8>> {
        let state = self.read();
        if state.mode & HAS_XATTRS == 0 {
            return Vec::new();
        }
        let names = |extra: &Extra| extra.xattrs.keys().map(|name| name.to_vec()).collect();
        self.volume()
            .extras
            .read(self.number(), names)
            .unwrap_or_default()
    }

    pub(crate) fn remove_xattr(self: &Arc<Self>, name: &[u8]) -> Result<(), Fault> {
        let volume = self.volume();
        let mut state = self.change()?;
        if state.mode & HAS_XATTRS == 0 {
            return Err(ErrorKind::NoAttribute.into());
        }
        let remove = |extra: &mut Extra| {
            extra
                .xattrs
                .remove(name)
                .ok_or(ErrorKind::NoAttribute)
                .map_err(Fault::from)
                .map(|_| extra.xattrs.is_empty())
        };
        let (none_left, _) =
            volume
                .extras
                .change(self.number(), 0, &volume.account.budget, remove)?;
        if none_left {
            state.mode &= !HAS_XATTRS;
        }
        state.times.node_changed(clock::wall_nanos());
        Ok(())
    }
}
