//! A group that is being put together: everything that becomes durable at once.

use super::record::{Record, Records};
use crate::base::error::Fault;

/// Records in the order in which they are to be applied. Costs their encoded bytes in memory.
#[derive(Debug, Default)]
pub struct Group {
    payload: Vec<u8>,
}

impl Group {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record. O(its encoded bytes).
    ///
    /// # Errors
    /// See [`Record::encode`]. The group is unchanged then.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        record.encode(&mut self.payload)
    }

    /// Adds all records of another group. O(their bytes).
    pub fn append(&mut self, other: &Group) {
        self.payload.extend_from_slice(&other.payload);
    }

    /// The records, in their order.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records::new(&self.payload)
    }

    /// Bytes of payload, for [`Writer::reserve`](super::Writer::reserve).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.payload.len() as u64
    }

    /// Nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Empties the group and keeps its memory.
    pub fn clear(&mut self) {
        self.payload.clear();
    }

    /// Adds a record of any kind.
    #[cfg(test)]
    pub(super) fn push_raw(&mut self, kind: u8, body: &[u8; 1]) {
        self.payload.extend_from_slice(&[kind, 1, body[0]]);
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}
