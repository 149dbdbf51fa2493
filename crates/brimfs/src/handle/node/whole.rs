//! Reading all of a file at once.

use bytes::Bytes;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::handle::again::{self, retry};
use crate::handle::lock::Mode;
use crate::handle::view::View;
use crate::handle::wait::Wait;
use crate::memory::chunk::Owner;
use crate::memory::content::{BUF_MAX, Content};
use crate::memory::shared::Pinned;
use crate::namespace::inode::Inode;

use super::{Locked, content, content_mut};

impl Inode {
    /// The whole content: adopted buffers by reference, anything else in one copy.
    pub(crate) fn read_whole(self: &Arc<Self>, wait: Wait) -> Result<Bytes, Fault> {
        let (locked, state) = self.read_shared(wait)?;
        let kept = content(&state)?;
        let due = self.note_access(&state);
        kept.touch(|| self.account());
        let found = kept.with_owner(|owner| match (owner, kept) {
            (Some(Owner::Rust(bytes)), _) => Some(bytes.clone()),
            (Some(_), _) | (None, Content::Foreign(..)) => None,
            (None, kept) => match kept.dense() {
                Ok(Some(bytes)) if bytes.len() <= BUF_MAX => Some(Bytes::copy_from_slice(&bytes)),
                _ => None,
            },
        });
        drop(state);
        if due {
            self.mark_accessed();
        }
        match found {
            Some(bytes) => Ok(bytes),
            None => {
                // Nothing was seen yet that another look could contradict.
                let _locked = match locked {
                    Some(locked) => locked,
                    None => Locked::new(self, Mode::Shared, wait)?,
                };
                for _ in 0..=again::RELOADS {
                    let read = again::reloading(self, || self.read_whole_locked())?;
                    if let Some(bytes) = read {
                        return Ok(bytes);
                    }
                }
                Err(again::never_the_same())
            }
        }
    }

    /// The shared file lock is held. Nothing if the length is not what room was made for: the lock keeps
    /// writers out, but not what others did with a mirrored file.
    fn read_whole_locked(self: &Arc<Self>) -> Result<Option<Bytes>, Fault> {
        let account = self.account();
        let read = retry(self, Wait::Forever, || {
            let mut state = self.write_quietly();
            let content = content_mut(&mut state)?;
            if let Content::Cold { .. } = content {
                return Ok(Err(content.len()));
            }
            let shared = content.share(account)?;
            // An adopted buffer of another runtime is handed out as a view of it.
            let is_foreign = |owner: Option<&Owner>| matches!(owner, Some(Owner::Foreign(_)));
            let may_stay = account.budget.check_overdraft().is_ok();
            let view = match may_stay && content.with_owner(is_foreign) {
                true => Pinned::new(content, account, &self.volume().views),
                false => None,
            };
            self.track(&mut state, 0, 1);
            Ok(Ok((shared, view)))
        })?;
        let len = match &read {
            Ok((_, Some(_))) => 0,
            Ok((shared, None)) => shared.len(),
            Err(len) => *len,
        };
        let len = usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| ErrorKind::OutOfMemory)?;
        bytes.resize(len, 0);
        let count = match read {
            Ok((_, Some(pinned))) => return Ok(Some(Bytes::from_owner(View::new(pinned)))),
            Ok((shared, None)) => again::read_shared(self, &shared, 0, &mut bytes)?,
            Err(expected) => match self.read_cold(0, &mut bytes)? {
                seen if seen.len != expected => return Ok(None),
                seen => seen.count,
            },
        };
        bytes.truncate(count);
        Ok(Some(Bytes::from(bytes)))
    }

    /// Reads the whole content if `to` is as long as that; else says how long it is. The shared file lock is held.
    pub(crate) fn read_exactly(self: &Arc<Self>, to: &mut [u8]) -> Result<Result<(), u64>, Fault> {
        let len = again::reloading(self, || self.read_exactly_once(to))?;
        Ok(match len == to.len() as u64 {
            true => Ok(()),
            false => Err(len),
        })
    }

    /// Fills `to` if it is as long as the content, and says how long that is: both of one moment.
    fn read_exactly_once(self: &Arc<Self>, to: &mut [u8]) -> Result<u64, Fault> {
        let expected = to.len() as u64;
        let len = content(&self.read())?.len();
        if len != expected {
            return Ok(len);
        }
        let seen = match self.large_content()? {
            Some(shared) if shared.len() != expected => return Ok(shared.len()),
            Some(shared) => again::read_shared(self, &shared, 0, to).map(|_| expected)?,
            // Either all of it is in memory, or nothing.
            None => self.read_cold(0, to)?.len,
        };
        self.read()
            .content()
            .inspect(|content| content.touch(|| self.account()));
        let due = self.note_access(&self.read());
        if due {
            self.mark_accessed();
        }
        Ok(seen)
    }
}
