//! Tests that need a process of their own: the test binary again, running one test alone.

use std::path::Path;
use std::process::{Command, Stdio};

/// Tells a test that it is in a process of its own; its value is up to the test.
const VARIABLE: &str = "FRACTUS_IT_CHILD";

/// What the parent told, in such a process.
pub(crate) fn told() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// The test of this name in a process of its own, which is told something.
pub(crate) fn command(test: &str, told: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, told)
        .stdin(Stdio::null());
    command
}

/// Runs a test whose pip shall find nothing but the wheels in a folder; false in that process.
pub(crate) fn is_run_with_wheels(test: &str, wheels: &Path) -> bool {
    if told().is_some() {
        return false;
    }
    let mut command = command(test, &wheels.display().to_string());
    command
        .env("PIP_NO_INDEX", "1")
        .env("PIP_CONFIG_FILE", "/dev/null")
        .env("PIP_FIND_LINKS", wheels);
    assert!(
        command.status().unwrap().success(),
        "{test}, in a process of its own"
    );
    true
}
