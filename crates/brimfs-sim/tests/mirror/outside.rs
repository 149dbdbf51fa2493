//! What others do with the tree: changes of every kind, under each rule, and links that lead outside.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use brimfs::face::Wait;
use brimfs::{ErrorKind, EventKind, FileSystem, OnExternalChange, Watch, WatchOptions};

use super::world::{Place, builder, tree_of};

fn open(place: &Place, rule: OnExternalChange) -> FileSystem {
    builder()
        .on_external_change(rule)
        .open(place.root())
        .expect("a mirror")
}

fn started() -> Place {
    let place = Place::new();
    for name in ["same", "changed", "removed", "d/inner", "kind"] {
        place.put(name, format!("{name} as it was at first"));
    }
    place.open().close().unwrap();
    place
}

/// Changes of every kind.
fn meddle(place: &Place) {
    place.put("changed", "by somebody else");
    fs::remove_file(place.path("removed")).unwrap();
    place.put("added", "new");
    place.put("more/below", "new too");
    fs::remove_file(place.path("kind")).unwrap();
    fs::create_dir(place.path("kind")).unwrap();
    place.put("kind/file", "in what was a file");
}

#[test]
fn what_others_did_while_it_was_closed_is_taken() {
    for rule in [OnExternalChange::Reload, OnExternalChange::Keep] {
        let place = started();
        meddle(&place);
        let fs = open(&place, rule);
        let noticed = fs.external_changes();
        assert_eq!(
            (noticed.changed, noticed.added, noticed.removed),
            (2, 0, 1),
            "{noticed:?}"
        );
        assert_eq!(tree_of(&fs), place.tree());
        fs.close().unwrap();
        let fs = open(&place, OnExternalChange::Raise);
        assert_eq!(
            tree_of(&fs),
            place.tree(),
            "what was taken is known from then on"
        );
    }
}

#[test]
fn opening_raises_and_changes_nothing() {
    let place = started();
    meddle(&place);
    let error = builder()
        .on_external_change(OnExternalChange::Raise)
        .open(place.root())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExternalChange);
    assert!(error.to_string().contains("added"), "{error}");
    assert_eq!(error.errno(), libc::ESTALE);
    let fs = open(&place, OnExternalChange::Reload);
    assert_eq!(tree_of(&fs), place.tree());
}

#[test]
fn a_refresh_takes_what_others_did() {
    let place = started();
    let fs = open(&place, OnExternalChange::Reload);
    assert_eq!(fs.read("/changed").unwrap(), "changed as it was at first");
    meddle(&place);
    assert_eq!(
        fs.read("/changed").unwrap(),
        "changed as it was at first",
        "it is in memory"
    );
    let report = fs.refresh(None).unwrap();
    assert_eq!(
        (report.changed, report.added, report.removed, report.lost),
        (2, 2, 1, 0)
    );
    assert_eq!(tree_of(&fs), place.tree());
    assert!(fs.refresh(None).unwrap().is_empty());
}

#[test]
fn whoever_watches_is_told_what_others_did() {
    let place = started();
    symlink("same", place.path("link")).unwrap();
    let fs = open(&place, OnExternalChange::Reload);
    let watch = WatchOptions::new().recursive(true).watch(&fs, "/").unwrap();
    meddle(&place);
    fs::remove_file(place.path("link")).unwrap();
    symlink("changed", place.path("link")).unwrap();
    fs.refresh(None).unwrap();
    let told = |watch: &Watch| -> HashSet<(EventKind, String)> {
        let events = std::iter::from_fn(|| watch.try_next());
        events
            .map(|event| (event.kind, String::from_utf8(event.path).unwrap()))
            .collect()
    };
    let expected = [
        (EventKind::Modified, "/changed"),
        (EventKind::Removed, "/removed"),
        (EventKind::Created, "/added"),
        (EventKind::Modified, "/added"),
        (EventKind::Created, "/more"),
        (EventKind::Created, "/more/below"),
        (EventKind::Modified, "/more/below"),
        (EventKind::Removed, "/kind"),
        (EventKind::Created, "/kind"),
        (EventKind::Created, "/kind/file"),
        (EventKind::Modified, "/kind/file"),
        (EventKind::Modified, "/link"),
    ];
    let expected = expected.map(|(kind, path)| (kind, path.to_owned()));
    assert_eq!(told(&watch), HashSet::from(expected));
    place.put("d/inner", "by somebody else");
    assert_eq!(fs.read("/d/inner").unwrap(), "by somebody else");
    assert_eq!(
        told(&watch),
        HashSet::from([(EventKind::Modified, "/d/inner".to_owned())])
    );
}

#[test]
fn a_refresh_raises_until_it_is_told_who_wins() {
    let place = started();
    let fs = open(&place, OnExternalChange::Raise);
    fs.write("/mine", "of this process").unwrap();
    place.put("changed", "by somebody else");
    let error = fs.refresh(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExternalChange);
    assert!(error.to_string().contains("changed"), "{error}");
    let error = fs.read("/changed").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExternalChange, "{error}");
    fs.write("/still", "writes go on").unwrap();
    fs.refresh(Some(OnExternalChange::Reload)).unwrap();
    assert_eq!(fs.read("/changed").unwrap(), "by somebody else");
    fs.sync().unwrap();
    assert_eq!(tree_of(&fs), place.tree());
    assert_eq!(place.get("mine"), b"of this process");
}

#[test]
fn a_cold_file_is_reloaded_when_it_is_read() {
    let place = Place::new();
    place.put("small", "old");
    place.put("large", vec![1; 3_000_000]);
    let fs = open(&place, OnExternalChange::Reload);
    let file = fs.open("/large").unwrap();
    place.put("small", "somewhat longer");
    place.put("large", vec![2; 2_500_000]);
    assert_eq!(fs.read("/small").unwrap(), "somewhat longer");
    let mut found = vec![0; 3_000_000];
    assert_eq!(file.read_at(0, &mut found).unwrap(), 2_500_000);
    assert!(found[..2_500_000].iter().all(|byte| *byte == 2));
    assert_eq!(fs.external_changes().changed, 2);
    assert_eq!(fs.metadata("/small").unwrap().len(), 15);
}

/// Lengths below and above those that are read in pieces, each before and after somebody else's change.
const LENGTHS: [(usize, usize); 8] = [
    (5, 17),
    (17, 5),
    (0, 9),
    (9, 0),
    (5, 1_500_000),
    (1_500_000, 5),
    (1_500_000, 2_700_000),
    (2_700_000, 1_500_000),
];

#[test]
fn a_whole_read_has_the_length_that_others_gave_the_file() {
    // An empty file has no bytes elsewhere, so nobody looks at the host before it is refreshed.
    for (before, after) in LENGTHS.into_iter().filter(|(before, _)| *before > 0) {
        let place = Place::new();
        place.put("a", vec![1; before]);
        let fs = open(&place, OnExternalChange::Reload);
        place.put("a", vec![2; after]);
        let found = fs.read("/a").unwrap();
        assert_eq!(found.len(), after, "{before} bytes became {after}");
        assert!(found.iter().all(|byte| *byte == 2));
    }
}

#[test]
fn room_for_the_length_of_before_is_not_filled_with_what_others_wrote() {
    for (before, after) in LENGTHS.into_iter().filter(|(before, _)| *before > 0) {
        let place = Place::new();
        place.put("a", vec![1; before]);
        let fs = open(&place, OnExternalChange::Reload);
        let (node, _) = fs.resolve(b"/a").unwrap();
        let read = |len: usize| {
            let mut room = vec![0; len];
            let read = fs.read_node_exactly(&node, &mut room, Wait::Forever);
            read.unwrap().map(|()| room)
        };
        place.put("a", vec![2; after]);
        assert_eq!(
            read(before),
            Err(after as u64),
            "{before} bytes became {after}"
        );
        assert_eq!(read(after), Ok(vec![2; after]));
        assert_eq!(read(after + 1), Err(after as u64));
    }
}

#[test]
fn a_cold_file_that_is_gone_is_an_error_that_names_it() {
    let place = Place::new();
    place.put("d/a", "abc");
    let fs = open(&place, OnExternalChange::Raise);
    fs::remove_file(place.path("d/a")).unwrap();
    let error = fs.read("/d/a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExternalChange);
    assert!(error.to_string().contains("d/a"), "{error}");
    fs.refresh(Some(OnExternalChange::Reload)).unwrap();
    assert_eq!(fs.read("/d/a").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn both_changed_the_same_file() {
    for (rule, expected) in [
        (OnExternalChange::Reload, "theirs"),
        (OnExternalChange::Keep, "of this process"),
    ] {
        let place = started();
        let fs = open(&place, rule);
        fs.write("/changed", "of this process").unwrap();
        fs.write("/other", "goes on").unwrap();
        place.put("changed", "theirs");
        fs.sync().unwrap();
        assert_eq!(place.get("changed"), expected.as_bytes(), "{rule:?}");
        assert_eq!(place.get("other"), b"goes on");
        assert_eq!(tree_of(&fs), place.tree());
        let lost = u64::from(rule == OnExternalChange::Reload);
        assert_eq!(fs.external_changes().lost, lost);
    }
    let place = started();
    let fs = open(&place, OnExternalChange::Raise);
    fs.write("/changed", "of this process").unwrap();
    place.put("changed", "theirs");
    let error = fs.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExternalChange, "{error}");
    assert_eq!(
        place.get("changed"),
        b"theirs",
        "nothing was written over it"
    );
    assert_eq!(
        fs.read("/changed").unwrap(),
        "of this process",
        "nor over this"
    );
    fs.refresh(Some(OnExternalChange::Keep)).unwrap();
    assert_eq!(place.get("changed"), b"of this process");
}

#[test]
fn what_others_removed_is_written_again_where_memory_has_it() {
    let place = Place::new();
    place.put("d/read", "was read before");
    place.put("d/cold", "was not");
    let fs = open(&place, OnExternalChange::Keep);
    fs.read("/d/read").unwrap();
    fs::remove_dir_all(place.path("d")).unwrap();
    let report = fs.refresh(None).unwrap();
    assert_eq!(report.removed, 1);
    assert_eq!(place.get("d/read"), b"was read before");
    assert!(!place.path("d/cold").exists());
    assert_eq!(tree_of(&fs), place.tree());
}

#[test]
fn both_made_the_same_name() {
    for rule in [OnExternalChange::Reload, OnExternalChange::Keep] {
        let place = started();
        let fs = open(&place, rule);
        fs.write("/new", "mine").unwrap();
        fs.create_dir("/both").unwrap();
        fs.write("/both/mine", "mine").unwrap();
        place.put("new", "theirs");
        place.put("both/theirs", "theirs");
        fs.sync().unwrap();
        let expected: &[u8] = if rule == OnExternalChange::Keep {
            b"mine"
        } else {
            b"theirs"
        };
        assert_eq!(place.get("new"), expected);
        assert_eq!(place.get("both/theirs"), b"theirs");
        assert_eq!(place.get("both/mine"), b"mine");
        fs.refresh(None).unwrap();
        assert_eq!(tree_of(&fs), place.tree());
    }
}

#[test]
fn both_made_the_same_name_of_different_kinds() {
    type Act = fn(&FileSystem);
    type Meddle = fn(&Place);
    let ours: [(&str, Act); 4] = [
        ("file", |fs| fs.write("/new", "mine").unwrap()),
        ("link", |fs| fs.symlink("same", "/new").unwrap()),
        ("directory", |fs| {
            fs.create_dir("/new").unwrap();
            fs.write("/new/mine", "mine").unwrap();
        }),
        ("moved directory", |fs| fs.rename("/d", "/new").unwrap()),
    ];
    let theirs: [(&str, Meddle); 4] = [
        ("file", |place| place.put("new", "theirs")),
        ("link", |place| symlink("same", place.path("new")).unwrap()),
        ("directory", |place| {
            fs::create_dir(place.path("new")).unwrap();
        }),
        ("full directory", |place| place.put("new/theirs", "theirs")),
    ];
    for rule in [OnExternalChange::Reload, OnExternalChange::Keep] {
        for (mine, act) in ours {
            for (other, meddle) in theirs {
                let case = format!("{rule:?}: {mine} against {other}");
                println!("{case}");
                let place = started();
                let fs = open(&place, rule);
                act(&fs);
                meddle(&place);
                fs.sync().unwrap_or_else(|error| panic!("{case}: {error}"));
                fs.refresh(None).unwrap();
                assert_eq!(tree_of(&fs), place.tree(), "{case}");
                fs.close().unwrap();
                let fs = open(&place, OnExternalChange::Raise);
                assert_eq!(tree_of(&fs), place.tree(), "{case}, opened again");
            }
        }
    }
}

#[test]
fn what_others_put_into_a_removed_directory_stays() {
    let place = started();
    let fs = open(&place, OnExternalChange::Reload);
    fs.remove_dir_all("/d").unwrap();
    place.put("d/stranger", "not to be lost");
    fs.sync().ok();
    assert_eq!(place.get("d/stranger"), b"not to be lost");
    fs.refresh(None).unwrap();
    fs.sync().unwrap();
    assert_eq!(fs.read("/d/stranger").unwrap(), "not to be lost");
    assert_eq!(tree_of(&fs), place.tree());
}

#[test]
fn links_lead_nowhere() {
    for rule in [
        OnExternalChange::Reload,
        OnExternalChange::Keep,
        OnExternalChange::Raise,
    ] {
        let outside = Place::new();
        outside.put("secret", "not for you");
        outside.put("d/inner", "not for you");
        let place = started();
        let fs = open(&place, rule);
        // A file, and a directory, replaced by links while it is open.
        fs::remove_file(place.path("same")).unwrap();
        symlink(outside.path("secret"), place.path("same")).unwrap();
        fs::rename(place.path("d"), place.path("away")).unwrap();
        symlink(outside.path("d"), place.path("d")).unwrap();
        for path in ["/same", "/d/inner"] {
            let found = fs
                .read(path)
                .map(|bytes| bytes.to_vec())
                .unwrap_or_default();
            assert!(found != b"not for you", "{path} under {rule:?}");
        }
        fs.write("/same", "mine").ok();
        fs.write("/d/inner", "mine").ok();
        fs.write("/d/new", "mine").ok();
        fs.sync().ok();
        fs.refresh(Some(OnExternalChange::Reload)).ok();
        fs.close().ok();
        assert_eq!(outside.get("secret"), b"not for you");
        assert_eq!(outside.get("d/inner"), b"not for you");
        assert_eq!(
            outside.tree().len(),
            3,
            "nothing was written there: {:?}",
            outside.tree()
        );
    }
}

#[test]
fn a_link_in_the_place_of_the_side_directory_leads_nowhere() {
    let outside = Place::new();
    let place = started();
    fs::remove_dir_all(place.path(".brimfs")).unwrap();
    symlink(outside.root(), place.path(".brimfs")).unwrap();
    builder().open(place.root()).unwrap_err();
    assert!(outside.tree().is_empty());
    fs::remove_file(place.path(".brimfs")).unwrap();
    let fs = place.open();
    fs.write("/a", "a").unwrap();
    fs::rename(place.path(".brimfs"), place.path("was")).unwrap();
    symlink(outside.root(), place.path(".brimfs")).unwrap();
    fs.sync().unwrap_err();
    assert!(outside.tree().is_empty());
}

#[test]
fn other_bytes_under_the_same_stamp_are_damage() {
    let place = Place::new();
    let fs = place.open();
    fs.write("/a", vec![1; 200_000]).unwrap();
    fs.close().unwrap();
    // The time of the last change cannot be set back. A commit that is redone takes a file for the one that was
    // seen if all but that is the same: so that is how it looks to one.
    let path = place.path("a");
    let was = fs::metadata(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[150_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(was.modified().unwrap()).unwrap();
    let tree = super::crashes::Frozen::new(place.root(), "a", &was);
    let fs = builder().open_tree(tree).unwrap();
    assert!(fs.external_changes().is_empty());
    let error = fs.read("/a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains('a'), "{error}");
    let mut part = [0; 100];
    let file = fs.open("/a").unwrap();
    assert!(
        file.read_at(10, &mut part).is_ok(),
        "other blocks stay readable"
    );
    assert_eq!(
        file.read_at(149_990, &mut part).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn a_time_that_was_set_back_is_noticed() {
    let place = started();
    let fs = open(&place, OnExternalChange::Reload);
    let path = place.path("same");
    let was = fs::metadata(&path).unwrap();
    let other = "same as it was at firsT";
    assert_eq!(was.len(), other.len() as u64);
    fs::write(&path, other).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(was.modified().unwrap()).unwrap();
    assert_eq!(fs.read("/same").unwrap(), other);
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(7))
        .unwrap();
    assert_eq!(
        fs.refresh(None).unwrap().changed,
        1,
        "a change of times is a change"
    );
    assert_eq!(fs.metadata("/same").unwrap().modified().seconds, 7);
}

#[test]
fn what_others_linked_is_one_file() {
    let place = started();
    let fs = open(&place, OnExternalChange::Reload);
    fs::hard_link(place.path("same"), place.path("twin")).unwrap();
    fs.refresh(None).unwrap();
    assert_eq!(
        fs.metadata("/same").unwrap().ino(),
        fs.metadata("/twin").unwrap().ino()
    );
    // One of the names is replaced: the other keeps what it had.
    fs::remove_file(place.path("twin")).unwrap();
    place.put("twin", "its own");
    fs.refresh(None).unwrap();
    assert_eq!(tree_of(&fs), place.tree());
    assert!(fs.metadata("/same").unwrap().ino() != fs.metadata("/twin").unwrap().ino());
}
