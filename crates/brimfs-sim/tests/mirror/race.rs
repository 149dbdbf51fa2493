//! Another process swaps directories and files for links that lead outside, all the time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use brimfs::{FileSystem, OnExternalChange};

use super::world::{Place, builder};

const ROOT: &str = "BRIMFS_TEST_RACE_ROOT";
const OUTSIDE: &str = "BRIMFS_TEST_RACE_OUTSIDE";
const NAMES: &str = "BRIMFS_TEST_RACE_NAMES";
const SECRET: &[u8] = b"not for you";

/// The other process, until it is dropped.
struct Swapper(Child);

impl Swapper {
    fn start(place: &Place, outside: &Place, names: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a running test has a file");
        let mut child = Command::new(program)
            .args([
                "--exact",
                "race::swap_for_links",
                "--ignored",
                "--nocapture",
            ])
            .env(ROOT, place.root())
            .env(OUTSIDE, outside.root())
            .env(NAMES, names.join(" "))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = child.stdout.take().expect("its output is a pipe");
        let mut lines = BufReader::new(output).lines();
        let begun = lines.any(|line| line.is_ok_and(|line| line.contains("swapping")));
        assert!(begun, "it did not begin");
        Swapper(child)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
#[ignore = "a process of the tests below"]
fn swap_for_links() {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(root), Some(outside)) = (path(ROOT), path(OUTSIDE)) else {
        return;
    };
    let names = std::env::var(NAMES).expect("the parent names some");
    println!("swapping");
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        for name in names.split(' ') {
            let (at, aside) = (root.join(name), root.join("aside"));
            if fs::rename(&at, &aside).is_err() {
                continue;
            }
            drop(symlink(outside.join(name), &at));
            std::thread::yield_now();
            // What was put there meanwhile gives way.
            drop(fs::remove_file(&at));
            drop(fs::rename(&aside, &at));
            clear(&aside);
        }
    }
}

fn clear(path: &Path) {
    drop(fs::remove_dir_all(path));
    drop(fs::remove_file(path));
}

fn outside() -> Place {
    let outside = Place::new();
    outside.put("d/inner", SECRET);
    outside.put("d/e/inner", SECRET);
    outside.put("file", SECRET);
    outside.put(".brimfs/kept", SECRET);
    outside
}

/// All calls that reach the host, for so long; returns how many of them met something that others had changed.
fn work(fs: &FileSystem, seconds: f32) -> u64 {
    let end = Instant::now() + Duration::from_secs_f32(seconds);
    let (mut round, mut met) = (0_u64, 0);
    while Instant::now() < end {
        round += 1;
        for path in ["/d/inner", "/d/e/inner", "/file"] {
            if let Ok(found) = fs.read(path) {
                assert!(found != SECRET, "{path} leads outside");
            }
        }
        for path in fs.read_dir("/").into_iter().flatten() {
            let name = String::from_utf8_lossy(path.name()).into_owned();
            assert!(!name.contains("kept"), "{name} is outside");
        }
        drop(fs.create_dir_all("/d/e"));
        drop(fs.write("/d/inner", vec![1; 1000]));
        drop(fs.write(format!("/d/e/new{}", round % 5), vec![2; 20_000]));
        drop(fs.write("/file", vec![3; 3000]));
        drop(fs.set_permissions("/d", 0o750));
        if round.is_multiple_of(3) {
            drop(fs.rename("/d/e", "/d/f"));
            drop(fs.remove_dir_all("/d/f"));
            drop(fs.hard_link("/file", "/d/linked"));
        }
        met += u64::from(fs.sync().is_err());
        // So that the next round reads from the host.
        drop(fs.gc(0.0));
        met += fs
            .refresh(None)
            .map_or(1, |found| u64::from(!found.is_empty()));
    }
    met
}

#[test]
fn links_that_another_process_swaps_in_lead_nowhere() {
    for rule in [OnExternalChange::Reload, OnExternalChange::Keep] {
        let (place, outside) = (Place::new(), outside());
        place.put("d/inner", "mine");
        place.put("d/e/inner", "mine");
        place.put("file", "mine");
        let before = outside.tree();
        let inodes = ["d", "d/inner", "d/e/inner", "file"].map(|name| outside.inode(name));
        let swapper = Swapper::start(&place, &outside, &["d", "d/e", "file"]);
        let mut met = 0;
        let mut lives = 0;
        // How soon they meet is the system's matter.
        while lives < 4 || (met < 3 && lives < 60) {
            lives += 1;
            let opened = builder().on_external_change(rule).open(place.root());
            match opened {
                Ok(fs) => met += work(&fs, 0.5),
                Err(_) => met += 1,
            }
        }
        drop(swapper);
        println!("{rule:?}: met {met} times in {lives} lives");
        assert!(met > 0, "nobody was in the way");
        assert_eq!(outside.tree(), before, "{rule:?}");
        let after = ["d", "d/inner", "d/e/inner", "file"].map(|name| outside.inode(name));
        assert_eq!(after, inodes, "{rule:?}: nothing was replaced");
        // Nobody is in the way any more: what is there can be opened, and is all there is.
        let fs = builder().on_external_change(rule).open(place.root());
        let fs = fs.expect("a quiet tree");
        fs.sync().expect("a quiet tree");
        assert_eq!(place.tree(), super::world::tree_of(&fs));
    }
}

#[test]
fn a_link_that_is_swapped_in_for_the_side_directory_leads_nowhere() {
    let (place, outside) = (Place::new(), outside());
    place.put("d/inner", "mine");
    let fs = place.open();
    let swapper = Swapper::start(&place, &outside, &[".brimfs"]);
    work(&fs, 1.0);
    drop(swapper);
    let kept = outside.path(".brimfs/kept");
    assert_eq!(fs::read(&kept).expect("there"), SECRET);
    let names = fs::read_dir(outside.path(".brimfs"))
        .expect("there")
        .count();
    assert_eq!(names, 1, "nothing was put there");
}
