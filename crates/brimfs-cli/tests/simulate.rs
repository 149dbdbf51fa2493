//! The command as users run it.

use std::path::Path;
use std::process::{Command, Output};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::Value;

fn simulate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brimfs"));
    command.arg("simulate").args(arguments);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn write_trace(path: &Path, requests: impl IntoIterator<Item = (u64, u32)>) {
    let mut bytes = Vec::new();
    for (id, size) in requests {
        bytes.extend(id.to_le_bytes());
        bytes.extend(size.to_le_bytes());
    }
    let packed = compress_to_vec(bytes.as_slice(), CompressionLevel::Fastest);
    std::fs::write(path, packed).unwrap();
}

#[test]
fn miss_ratios_of_a_small_trace_are_what_a_hand_computes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("abc.zst");
    // Two of three pages fit: LRU misses a, b, c, a and hits the last a.
    write_trace(&path, [(1, 1), (2, 1), (3, 1), (1, 1), (1, 1)]);
    let path = path.to_str().unwrap();
    let output = simulate(&[path, "--policy", "lru", "--sizes", "67%,100%", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = &reports[0];
    assert_eq!(report["requests"], 5);
    assert_eq!(report["footprint"], 3);
    assert_eq!(report["uniform"], true);
    assert_eq!(report["results"][0]["capacity"], 2);
    assert_eq!(report["results"][0]["ratios"]["object"], 0.8);
    assert_eq!(report["results"][1]["ratios"]["object"], 0.6);
    assert_eq!(report["best_published"], Value::Array(vec![]));
}

#[test]
fn costs_and_bytes_weigh_misses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sized.zst");
    // The second object is larger than the cache and never admitted.
    write_trace(&path, [(1, 100), (2, 300), (1, 100), (2, 300)]);
    let path = path.to_str().unwrap();
    let output = simulate(&[path, "--sizes", "50%", "--swap-in-cost", "100", "--json"]);
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    for cell in reports[0]["results"].as_array().unwrap() {
        let ratios = &cell["ratios"];
        assert_eq!(ratios["object"], 0.75);
        assert_eq!(ratios["byte"], 0.875);
        // 200 + 400 + 400 of 1200.
        assert!((ratios["cost"].as_f64().unwrap() - 1000.0 / 1200.0).abs() < 1e-12);
    }
    assert_eq!(reports[0]["results"].as_array().unwrap().len(), 4);
}

#[test]
fn writing_back_costs_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("written.zst");
    write_trace(&path, [(1, 100), (2, 100), (1, 100)]);
    let path = path.to_str().unwrap();
    let arguments = [
        "--policy",
        "lru",
        "--sizes",
        "50%",
        "--swap-in-cost",
        "300",
        "--json",
    ];
    let output = simulate(&[&[path, "--writes", "100%"], &arguments[..]].concat());
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let costs = &reports[0]["results"][0]["with_writes"];
    // Three misses of 400, and two dirty objects of 100 that went, over three requests of 400.
    for told in ["told", "not_told"] {
        let cost = costs[told].as_f64().unwrap();
        assert!((cost - 1400.0 / 1200.0).abs() < 1e-12, "{costs}");
    }
}

#[test]
fn tables_are_aligned_and_weighted_runs_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("loop.zst");
    write_trace(&path, (0..3_000).map(|n| (n % 700, 1 + (n % 700) as u32)));
    let output = simulate(&[path.to_str().unwrap(), "--weighted", "--writes", "30%"]);
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    assert!(shown.contains("3000 requests, 700 objects"), "{shown}");
    assert!(shown.contains("with priorities"), "{shown}");
    assert!(shown.contains("with writes"), "{shown}");
    for paragraph in shown
        .split("\n\n")
        .filter(|part| part.starts_with("policy"))
    {
        let widths: Vec<usize> = paragraph.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 5, "{paragraph}");
        assert!(
            widths.iter().all(|width| *width == widths[0]),
            "{paragraph}"
        );
    }
}

#[test]
fn a_bad_trace_fails_the_command_and_not_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let (good, bad) = (
        directory.path().join("good.zst"),
        directory.path().join("bad"),
    );
    write_trace(&good, [(1, 1), (2, 1)]);
    std::fs::write(&bad, "hello").unwrap();
    let output = simulate(&[bad.to_str().unwrap(), good.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains(bad.to_str().unwrap()), "{error}");
    assert!(error.contains("not a zstd file"), "{error}");
    assert!(text(&output.stdout).contains("2 requests"), "{output:?}");
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    let wrong: [&[&str]; 4] = [
        &[],
        &["x", "--policy", "fifo"],
        &["x", "--sizes", "10"],
        &["x", "--swap-in-cost", "-1"],
    ];
    for arguments in wrong {
        let output = simulate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
    }
    let error = simulate(&["x", "--policy", "fifo"]).stderr;
    assert!(
        text(&error).contains("g2, lru, sieve, s3fifo"),
        "{}",
        text(&error)
    );
}

/// The quality that docs/performance.md states. Needs the traces: BRIMFS_TRACES names their directory.
#[test]
fn g2_keeps_up_with_the_best_published_policy_everywhere() {
    let Some(directory) = std::env::var_os("BRIMFS_TRACES") else {
        eprintln!("SKIPPED: BRIMFS_TRACES names no directory of traces");
        return;
    };
    let names = ["rust_build", "cloudphysics_block", "oltp", "sprite"];
    let paths = names.map(|name| Path::new(&directory).join(format!("{name}.bin.zst")));
    let mut arguments: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    arguments.extend(["--policy", "g2", "--json", "--weighted"]);
    let output = simulate(&arguments);
    assert!(output.status.success(), "{output:?}");
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    for report in reports.as_array().unwrap() {
        let uniform = report["uniform"].as_bool().unwrap();
        let column = if uniform { "object" } else { "cost" };
        let cells = report["results"].as_array().unwrap();
        let best = report["best_published"].as_array().unwrap();
        assert_eq!(cells.len(), 4);
        for (cell, best) in cells.iter().zip(best) {
            assert_eq!(cell["size"], best["size"]);
            let ratio = |run: &str, column: &str| cell[run][column].as_f64().unwrap();
            let ours = ratio("ratios", column);
            let theirs = best["ratio"].as_f64().unwrap();
            assert!(ours <= theirs * 1.03, "{}: {cell} {best}", report["trace"]);
            if !uniform && cell["size"] == "10%" {
                let gain = ratio("weighted", "weighted_cost") / ratio("ratios", "weighted_cost");
                let price = ratio("weighted", "cost") / ratio("ratios", "cost");
                assert!(gain <= 0.96 && price <= 1.05, "{}: {cell}", report["trace"]);
            }
        }
    }
}
