//! Looking into a store: `ls`, `cat` and `stat`.

mod common;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{MIB, Store, brimfs, command, failure, noise, said};
use serde_json::Value;

#[test]
fn what_is_no_store_is_said_in_the_same_words_by_all() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "no directory").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    let cases = [
        ("file", "not a directory"),
        ("missing", "no such file or directory"),
        ("empty", "there is no store in this directory"),
    ];
    for (name, why) in cases {
        let (store, out) = (&at(name)[..], &at("out")[..]);
        for arguments in [
            &["ls", store][..],
            &["cat", store, "/a"],
            &["stat", store, "/a"],
            &["export", store, out],
            &["check", store],
            &["check", "--repair", store],
        ] {
            let said = failure(arguments);
            assert!(said.ends_with(&format!("{why}\n")), "{arguments:?}: {said}");
            assert!(said.contains(store), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn a_damaged_store_is_an_error_that_says_what_to_do_next() {
    let store = Store::usual();
    Store::flip(&store.files("journal-")[0], 4200);
    let said = failure(&["ls", store.name()]);
    let next = format!("`brimfs check {}` says which files are", store.name());
    assert!(said.contains("the stored data is damaged"), "{said}");
    assert!(said.contains(&next), "{said}");
}

#[test]
fn ls_sorts_names_and_leaves_bytes_alone() {
    let store = Store::usual();
    let output = brimfs(&["ls", store.name()]);
    assert!(output.status.success(), "{output:?}");
    let expected = b"b\xffd\ndangling\ndocs\nempty\nholes\nlink\nsecond name\n";
    assert_eq!(output.stdout, expected);
    assert_eq!(said(&["ls", store.name(), "docs"]), "a.txt\ndeep\n");
    assert_eq!(said(&["ls", store.name(), "/docs/a.txt"]), "/docs/a.txt\n");
    let below = said(&["ls", store.name(), "/docs/", "-R"]);
    assert_eq!(below, "a.txt\ndeep\ndeep/large\n");
}

#[test]
fn ls_long_has_modes_sizes_times_and_targets() {
    let store = Store::usual();
    let long = said(&["ls", "-l", store.name(), "/docs"]);
    let line = long.lines().next().unwrap();
    assert!(line.starts_with("-rw-r-----   2 "), "{line}");
    assert!(line.ends_with(" 32 2001-02-03 04:05:06 a.txt"), "{line}");
    let output = brimfs(&["ls", "-l", store.name()]);
    let root = String::from_utf8_lossy(&output.stdout);
    assert!(root.contains(" link -> docs/a.txt\n"), "{root}");
}

#[test]
fn ls_json_has_all_that_is_known() {
    let store = Store::usual();
    let listed: Value = serde_json::from_str(&said(&["ls", "--json", store.name()])).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 7);
    assert_eq!(
        listed[0]["path_bytes"],
        serde_json::json!([47, 98, 255, 100])
    );
    assert_eq!(listed[1]["target"], "/nowhere");
    assert_eq!(listed[4]["size"], 8 * MIB);
    assert_eq!(listed[6]["links"], 2);
    assert_eq!(listed[6]["modified"], "2001-02-03T04:05:06.000000007Z");
    store.change(|fs| fs.create_dir("/none").unwrap());
    let none: Value = serde_json::from_str(&said(&["ls", "--json", store.name(), "none"])).unwrap();
    assert_eq!(none, serde_json::json!([]));
}

#[test]
fn cat_prints_content_unchanged_and_goes_on_after_what_is_not_there() {
    let store = Store::usual();
    let output = brimfs(&["cat", store.name(), "/docs/deep/large", "/link"]);
    assert!(output.status.success(), "{output:?}");
    let mut expected = noise(5 * MIB / 2, 1);
    expected.extend(b"first line\nno newline at the end");
    assert!(output.stdout == expected);
    let output = brimfs(&[
        "cat",
        store.name(),
        "/missing",
        "/docs",
        "/empty",
        "/docs/a.txt",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"first line\nno newline at the end");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("\"/missing\": no such file or directory"),
        "{errors}"
    );
    assert!(errors.contains("\"/docs\": is a directory"), "{errors}");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let store = Store::usual();
    for arguments in [["cat", store.name(), "/holes"], ["ls", "-lR", store.name()]] {
        let mut child = command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert_eq!(errors, "");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn stat_of_a_store_counts_what_is_in_it() {
    let store = Store::usual();
    let about: Value = serde_json::from_str(&said(&["stat", "--json", store.name()])).unwrap();
    assert_eq!(about["format"], 1);
    assert_eq!(about["files"], 5);
    assert_eq!(about["directories"], 3);
    assert_eq!(about["symlinks"], 2);
    assert_eq!(about["more_names"], 1);
    assert_eq!(about["bytes"], 5 * MIB / 2 + 8 * MIB + 32 + 5);
    assert!(about["disk_bytes"].as_u64().unwrap() > 5 * MIB as u64 / 2);
    let text = said(&["stat", store.name()]);
    assert!(text.contains("\n  files           5\n"), "{text}");
    assert!(text.contains("\n  on disk         "), "{text}");
}

#[test]
fn stat_of_a_node_follows_no_link() {
    let store = Store::usual();
    let text = said(&["stat", store.name(), "/link"]);
    assert!(
        text.contains("\n  type            symlink\n  leads to        docs/a.txt\n"),
        "{text}"
    );
    let text = said(&["stat", store.name(), "/docs/a.txt"]);
    assert!(text.contains("0640 -rw-r-----"), "{text}");
    assert!(text.contains("\n  attributes      user.origin\n"), "{text}");
    let about = said(&["stat", "--json", store.name(), "/holes"]);
    let about: Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about["size"], 8 * MIB);
    assert!(about["allocated"].as_u64().unwrap() <= MIB as u64);
    let errors = failure(&["stat", store.name(), "/missing"]);
    assert!(
        errors.contains("\"/missing\": no such file or directory"),
        "{errors}"
    );
}

#[test]
fn looking_changes_nothing() {
    let store = Store::usual();
    let before = store.bytes();
    for arguments in [
        &["ls", "-lR", store.name()][..],
        &["stat", store.name()],
        &["stat", store.name(), "/docs/a.txt"],
        &["cat", store.name(), "/docs/a.txt", "/docs/deep/large"],
        &["check", store.name()],
    ] {
        assert!(brimfs(arguments).status.success(), "{arguments:?}");
    }
    assert!(store.bytes() == before);
}

#[test]
fn a_store_in_a_directory_that_takes_no_writes_can_be_looked_at() {
    let store = Store::usual();
    let mode = |mode| std::fs::set_permissions(store.path(), PermissionsExt::from_mode(mode));
    for file in store.files("") {
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o400)).unwrap();
    }
    mode(0o500).unwrap();
    assert_eq!(said(&["ls", store.name(), "docs"]), "a.txt\ndeep\n");
    assert!(said(&["check", store.name()]).starts_with("All is sound: "));
    mode(0o700).unwrap();
}

#[test]
fn whoever_writes_to_the_store_is_named() {
    let store = Store::usual();
    let fs = store.open();
    let holder = format!("process {}", std::process::id());
    let target = tempfile::tempdir().unwrap();
    let target = target.path().to_str().unwrap();
    for arguments in [
        &["ls", store.name()][..],
        &["cat", store.name(), "/empty"],
        &["stat", store.name()],
        &["export", store.name(), target],
        &["check", store.name()],
    ] {
        let errors = failure(arguments);
        assert!(errors.contains("the store is in use"), "{errors}");
        assert!(errors.contains(&holder), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    fs.close().unwrap();
    assert_eq!(said(&["ls", store.name(), "docs"]), "a.txt\ndeep\n");
}

#[test]
fn what_is_no_store_is_said_to_be_none_and_stays_empty() {
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("missing");
    for command in ["ls", "stat", "check"] {
        let errors = failure(&[command, place.path().to_str().unwrap()]);
        assert!(
            errors.contains("there is no store in this directory"),
            "{errors}"
        );
        let errors = failure(&[command, missing.to_str().unwrap()]);
        assert!(
            errors.to_lowercase().contains("no such file or directory"),
            "{errors}"
        );
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    for arguments in [
        &["ls"][..],
        &["cat", "store"],
        &["check"],
        &["export", "store"],
        &["ls", "--no-such"],
    ] {
        assert_eq!(brimfs(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
