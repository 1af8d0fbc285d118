use std::fs;

use tempfile::TempDir;

use super::{Project, Source, function_name};

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn names_are_taken_from_files() {
    assert_eq!(function_name("My_Func.v2").unwrap().as_str(), "my-func-v2");
    assert!(function_name("_").is_err());
    assert!(function_name("größe").is_err());
}

#[test]
fn a_file_is_deployed_as_it_is() {
    let made = directory(&[("big_cat.wasm", "")]);
    let project = Project::find(&made.path().join("big_cat.wasm"), None).unwrap();
    assert_eq!(project.manifest.name.as_str(), "big-cat");
    assert!(matches!(project.source, Source::File(_)));
}

#[test]
fn a_manifest_says_what_to_do() {
    let manifest = "name = \"a\"\nartifact = \"out/a.wasm\"\n";
    let made = directory(&[("fractus.toml", manifest)]);
    for path in [made.path().to_owned(), made.path().join("fractus.toml")] {
        let project = Project::find(&path, Some("b".parse().unwrap())).unwrap();
        assert_eq!(project.manifest.name.as_str(), "b");
        let Source::File(artifact) = &project.source else {
            panic!("prebuilt");
        };
        assert!(artifact.ends_with("out/a.wasm"));
    }
    let build = "name = \"a\"\nbuild = \"make\"\nartifact = \"a.wasm\"\n";
    let made = directory(&[("fractus.toml", build)]);
    let project = Project::find(made.path(), None).unwrap();
    assert!(matches!(project.source, Source::Made { .. }));
}

#[test]
fn what_cannot_be_deployed_is_explained() {
    let empty = directory(&[]);
    let silent = directory(&[("fractus.toml", "name = \"a\"\n")]);
    let wrong = directory(&[("fractus.toml", "name = \"a\"\nmemory = 3\n")]);
    for (path, told) in [
        (empty.path().join("none.wasm"), "does not exist"),
        (
            empty.path().to_owned(),
            "neither a fractus.toml nor a Cargo.toml",
        ),
        (silent.path().to_owned(), "add `artifact ="),
        (wrong.path().to_owned(), "unknown field `memory`"),
    ] {
        let failure = Project::find(&path, None).unwrap_err().to_string();
        assert!(failure.contains(told), "{failure}");
    }
}
