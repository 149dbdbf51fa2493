//! All rows, in the order of the table.

mod content;
mod large;
mod namespace;
mod threads;

use crate::row::Row;

pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(content::rows());
    rows.extend(namespace::rows());
    rows.extend(large::rows());
    rows.extend(threads::rows());
    rows
}
