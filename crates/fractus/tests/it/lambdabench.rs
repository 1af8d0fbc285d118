//! The applications of `LambdaBench` give only right answers.

use std::process::Command;

use crate::support::{cloud, example, text};

#[test]
fn every_application_answers_rightly_under_load() {
    let (directory, _node) = cloud();
    let mut bench = Command::new("python3");
    bench.arg(example("lambdabench").join("run.py"));
    bench.args([
        "--fractus",
        env!("CARGO_BIN_EXE_fractus"),
        "--seconds",
        "1",
        "--data",
    ]);
    let output = bench.arg(directory.path().join("data")).output().unwrap();
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{told}");
}
