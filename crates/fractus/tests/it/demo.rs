//! The demo goes as it must, and again on the same data.

use crate::support::{example, failed, fractus, text};

const FREE: &str = "127.0.0.1:0";

#[test]
fn every_row_is_what_it_must_be() {
    let directory = tempfile::tempdir().unwrap();
    let examples = example("");
    for _ in 0..2 {
        let demo = [
            "demo",
            "--exit",
            "--json",
            "--examples",
            examples.to_str().unwrap(),
        ];
        let free = ["--edge", FREE, "--api", FREE, "--admin", FREE];
        let output = fractus(directory.path(), &[&demo[..], &free].concat())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["ok"], true);
        let rows = shown["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 7);
        assert!(
            rows.iter().all(|row| row["bytes"].as_u64() > Some(0)),
            "{shown}"
        );
        assert_eq!(
            (&rows[3]["cold"], &rows[4]["cold"]),
            (&true.into(), &false.into())
        );
    }
}

#[test]
fn without_the_examples_it_says_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let output = fractus(directory.path(), &["demo", "--exit"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let told = failed(&output, 1);
    assert!(
        told.contains("checkout") && told.contains("--examples"),
        "{told}"
    );
}
