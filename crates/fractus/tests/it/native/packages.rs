//! What `requirements.txt` asks for: versions side by side, each once on the node, and refusals.

use std::fs;

use serde_json::json;

use crate::native::{cloud, deploy, write};
use crate::support::{Node, failed};

const SUM: &str = "\
import numpy


def f(event):
    values = numpy.array(event, dtype=float)
    return {\"version\": numpy.__version__, \"sum\": values.sum(), \"where\": numpy.__file__}
";

/// The folders of a distribution on a node.
fn folders(data: &std::path::Path, of: &str) -> Vec<String> {
    let packages = fs::read_dir(data.join("native/packages")).unwrap();
    let names = packages.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(of)).collect()
}

#[test]
fn two_versions_live_side_by_side_and_each_lies_there_once() {
    let (directory, node) = cloud();
    let data = directory.path().join("data");
    let versions = ["2.3.4", "2.3.5"];
    let files = versions.map(|version| format!("numpy == {version}\n"));
    let mut functions = Vec::new();
    for (at, requirements) in [&files[0], &files[1], &files[0]].into_iter().enumerate() {
        let files = [("f.py", SUM), ("requirements.txt", requirements.as_str())];
        functions.push(deploy(&directory, &node, &format!("sum-{at}"), &files));
    }
    for round in 1..=3 {
        for (function, version) in functions.iter_mut().zip(versions.iter().cycle()) {
            let event = json!([round, 0.5]).to_string();
            let answer = function.post("", event.as_bytes()).json(200);
            assert_eq!(answer["version"], *version, "{answer}");
            assert_eq!(answer["sum"], f64::from(round) + 0.5);
            let place = answer["where"].as_str().unwrap();
            assert!(place.starts_with("/var/packages/"), "{place}");
        }
    }
    let there = folders(&data, "numpy-");
    assert_eq!(there.len(), 2, "{there:?}");

    // What no function needs any more goes, once those that run it have ended.
    node.ok(&["rm", "sum-1"]);
    crate::support::until("the package that nobody needs is gone", || {
        (folders(&data, "numpy-").len() == 1).then_some(())
    });
    assert_eq!(functions[0].post("", b"[1]").json(200)["version"], "2.3.4");
}

#[test]
fn what_cannot_be_installed_is_refused_and_nothing_is_deployed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Asks PyPI.
    let node = Node::start(&data);
    let cases = [
        (
            "absent",
            "fractus-has-no-such-package==1.0\n",
            "fractus-has-no-such-package",
        ),
        // Published as source alone.
        ("source", "docopt==0.6.2\n", "not built on a node"),
        ("strange", "flask ===== 3\n", "flask"),
    ];
    for (name, requirements, told) in cases {
        let files = [("f.py", SUM), ("requirements.txt", requirements)];
        let folder = write(&directory, name, &files);
        let refused = node.run(&["deploy", folder.to_str().unwrap()]);
        let said = failed(&refused, 1);
        assert!(
            said.contains(told) && said.contains("requirements.txt"),
            "{said}"
        );
    }
    assert_eq!(node.json(&["ls"])["functions"], json!([]));
    assert_eq!(folders(&data, ""), Vec::<String>::new());
}
