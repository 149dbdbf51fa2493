//! Spans and events around what is slow, for whoever listens with `tracing`. Nothing at all without the
//! feature of that name.

/// From here to the end of the block is a span: a name, and fields as `tracing` writes them.
macro_rules! span {
    ($name:literal $(, $($fields:tt)*)?) => {
        #[cfg(feature = "tracing")]
        let _span = ::tracing::debug_span!(target: "brimfs", $name $(, $($fields)*)?).entered();
    };
}

/// Something happened just now.
macro_rules! event {
    ($($fields:tt)*) => {
        #[cfg(feature = "tracing")]
        ::tracing::debug!(target: "brimfs", $($fields)*);
    };
}

pub(crate) use {event, span};
