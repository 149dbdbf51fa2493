//! What listeners hear of what is slow.
#![cfg(all(feature = "tracing", not(feature = "shuttle")))]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use brimfs::FileSystem;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the names of spans, and the fields of events.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<BTreeSet<String>>>);

impl Listener {
    fn note(&self, name: &str) {
        self.0.lock().expect("no panic").insert(name.to_owned());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "brimfs"
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.note(span.metadata().name());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let fields = event.fields().map(|field| field.name().to_owned());
        fields.for_each(|field| self.note(&field));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn slow_things_are_spans_and_stalls_are_events() {
    let listener = Listener::default();
    tracing::subscriber::set_global_default(listener.clone()).expect("the first one");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let fs = FileSystem::builder()
        .memory_limit(12 << 20)
        .spill_dir(directory.path())
        .disk_limit(256 << 20)
        .build()
        .expect("a filesystem");
    for file in 0..300 {
        let path = format!("/{file}");
        fs.write_slice(path, &vec![1; 60_000]).expect("written");
    }
    fs.read("/0").expect("read");
    fs.gc(0.0).expect("collected");
    let preload = fs.preload(["/1"], None).expect("begun");
    assert!(preload.wait(None));
    let heard = listener.0.lock().expect("no panic").clone();
    for name in ["reclaim", "read_cold", "gc", "preload", "nanos"] {
        assert!(heard.contains(name), "{name} is not among {heard:?}");
    }
}
