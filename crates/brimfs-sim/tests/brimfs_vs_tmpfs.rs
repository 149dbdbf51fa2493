//! brimfs and the kernel's tmpfs side by side, with the model between them:
//! results and errno of every operation.
#![cfg(not(feature = "shuttle"))]

use brimfs_sim::drivers::brimfs::Brimfs;
use brimfs_sim::drivers::tmpfs::TmpFs;
use brimfs_sim::model::Limits;
use brimfs_sim::run::{Plan, Trial, explore};
use brimfs_sim::tier::Manners;

/// Sets these sequences apart from those of the comparison with the model alone.
const OFFSET: u64 = 1 << 40;

#[test]
fn brimfs_answers_like_tmpfs() {
    if let Err(why) = TmpFs::new() {
        println!("skipped: {why}");
        return;
    }
    let plan = Plan::from_env_at(2_000, OFFSET);
    explore("brimfs_vs_tmpfs", plan, 100, |_, ops| {
        let limits = Limits::default();
        let brimfs = Brimfs::new(limits)?;
        let tmpfs = TmpFs::new()?;
        Trial::new(limits, vec![Box::new(tmpfs), Box::new(brimfs)]).run(ops)
    });
}

#[test]
fn brimfs_answers_like_tmpfs_while_content_comes_and_goes() {
    if let Err(why) = TmpFs::new() {
        println!("skipped: {why}");
        return;
    }
    let plan = Plan::from_env_at(300, OFFSET);
    explore("brimfs_vs_tmpfs", plan, 100, |seed, ops| {
        let limits = Limits::default();
        let brimfs = Brimfs::with_tier(limits, 256 << 20, Manners::ERRATIC, seed)?;
        let tmpfs = TmpFs::new()?;
        Trial::new(limits, vec![Box::new(tmpfs), Box::new(brimfs)]).run(ops)
    });
}
