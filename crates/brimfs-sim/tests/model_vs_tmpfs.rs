//! The model against the kernel's tmpfs: is the yardstick itself straight?

use brimfs_sim::drivers::tmpfs::TmpFs;
use brimfs_sim::model::Limits;
use brimfs_sim::run::{Plan, Trial, explore};

#[test]
fn the_model_answers_like_tmpfs() {
    if let Err(why) = TmpFs::new() {
        println!("skipped: {why}");
        return;
    }
    explore("model_vs_tmpfs", Plan::from_env(300), 100, |_, ops| {
        let tmpfs = TmpFs::new()?;
        Trial::new(Limits::default(), vec![Box::new(tmpfs)]).run(ops)
    });
}
