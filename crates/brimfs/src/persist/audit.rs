//! The references to records that commits count on. For tests.

use crate::cold::segment::{References, Rule};

use super::Persistence;

impl Persistence {
    /// Calls `look` while nobody commits, writes ahead or moves records, with the references of what is durable, and says
    /// how those that the store counts have to be.
    pub(crate) fn audit(&self, look: &mut dyn FnMut(References, Rule)) {
        let core = self.core.lock();
        let _ahead = self.ahead.lock();
        let mut held = References::default();
        core.known.each(|_, _, extent| held.add(extent));
        core.freed.iter().for_each(|extent| held.add(*extent));
        if let Some(mirror) = &self.mirror {
            mirror.add_references(&mut held);
        }
        let is_sound = core
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_poisoned());
        let rule = match is_sound {
            true => Rule::Exact,
            false => Rule::AtLeast,
        };
        look(held, rule);
    }
}
