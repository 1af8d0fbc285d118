use std::fs;

use fractus_func::RuntimeKind;
use tempfile::TempDir;

use super::cargo::Product;
use super::{Given, Made, Project, Source, function_name};
use crate::output::Output;

const CARGO: &str = "[package]\nname = \"prog\"\nversion = \"0.1.0\"\n";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("folder-")
        .tempdir()
        .unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn find(directory: &TempDir) -> Project {
    Project::find(directory.path(), Given::default()).unwrap()
}

#[test]
fn names_are_taken_from_files() {
    assert_eq!(function_name("My_Func.v2").unwrap().as_str(), "my-func-v2");
    assert!(function_name("_").is_err());
    assert!(function_name("größe").is_err());
}

#[test]
fn a_file_is_deployed_as_it_is() {
    let made = directory(&[("big_cat.wasm", ""), ("big_cat.zip", "")]);
    for name in ["big_cat.wasm", "big_cat.zip"] {
        let project = Project::find(&made.path().join(name), Given::default()).unwrap();
        assert_eq!(project.manifest.name.as_str(), "big-cat");
        assert!(matches!(project.source, Source::At(_)));
        // Nothing is packed: an empty file is refused as what its name says.
        let refused = project.build(&Output::new(false)).unwrap_err();
        assert!(refused.to_string().contains("not WebAssembly"), "{refused}");
    }
}

#[test]
fn a_lone_file_of_code_is_packed_and_its_function_found() {
    let made = directory(&[
        ("f.py", ""),
        ("hello.py", ""),
        ("hello.mjs", ""),
        ("prog", "\x7fELF"),
        ("note", "text"),
    ]);
    let of = |name: &str| Project::find(&made.path().join(name), Given::default()).unwrap();
    let output = Output::new(false);
    for name in ["f.py", "hello.py", "hello.mjs", "prog"] {
        assert!(of(name).build(&output).unwrap().is_archive(), "{name}");
    }
    assert!(of("note").build(&output).is_err());
    assert!(of("f.py").manifest.env.is_empty());
    assert_eq!(of("hello.py").manifest.env["OL_ENTRY_FILE"], "hello.py");
    let handler = of("hello.mjs").manifest.handler;
    assert_eq!(handler.as_deref(), Some("hello.handler"));
    let given = Given {
        handler: Some("hello.main".to_owned()),
        runtime: Some(RuntimeKind::Python3),
        ..Given::default()
    };
    let project = Project::find(&made.path().join("hello.py"), given).unwrap();
    assert!(project.manifest.env.is_empty());
    assert_eq!(project.manifest.handler.as_deref(), Some("hello.main"));
    assert_eq!(project.manifest.runtime, Some(RuntimeKind::Python3));
}

#[test]
fn a_manifest_says_what_to_do() {
    let manifest = "name = \"a\"\nartifact = \"out/a.wasm\"\n";
    let made = directory(&[("fractus.toml", manifest)]);
    for path in [made.path().to_owned(), made.path().join("fractus.toml")] {
        let given = Given {
            name: Some("b".parse().unwrap()),
            ..Given::default()
        };
        let project = Project::find(&path, given).unwrap();
        assert_eq!(project.manifest.name.as_str(), "b");
        let Source::At(artifact) = &project.source else {
            panic!("prebuilt");
        };
        assert!(artifact.ends_with("out/a.wasm"));
    }
    let build = "name = \"a\"\nbuild = \"make\"\nartifact = \"a.wasm\"\n";
    let made = directory(&[("fractus.toml", build)]);
    assert!(matches!(find(&made).source, Source::Made { .. }));
}

#[test]
fn a_folder_of_code_needs_no_manifest() {
    for file in ["f.py", "package.json", "index.mjs", "bootstrap"] {
        let made = directory(&[(file, "")]);
        let project = find(&made);
        assert!(project.manifest.name.as_str().starts_with("folder-"));
        assert!(
            matches!(&project.source, Source::At(path) if path.is_dir()),
            "{file}"
        );
        assert!(project.build(&Output::new(false)).unwrap().is_archive());
    }
    // With one, it is packed when the manifest names no artifact, and when it names a folder.
    let made = directory(&[("fractus.toml", "name = \"a\"\n"), ("app.py", "")]);
    assert!(matches!(find(&made).source, Source::At(_)));
    let manifest = "name = \"a\"\nruntime = \"nodejs\"\nbuild = \"mkdir out; touch out/x.js\"\n\
                    artifact = \"out\"\n";
    let made = directory(&[("fractus.toml", manifest)]);
    assert!(find(&made).build(&Output::new(false)).unwrap().is_archive());
    // A build with nothing said of its artifact makes it in place.
    let manifest = "name = \"a\"\nruntime = \"python3\"\nbuild = \"touch f.py\"\n";
    let made = directory(&[("fractus.toml", manifest)]);
    let project = find(&made);
    assert!(
        matches!(&project.source, Source::Made { artifact: Made::At(path), .. } if path.is_dir())
    );
    project.build(&Output::new(false)).unwrap();
    assert!(made.path().join("f.py").exists());
}

#[test]
fn a_cargo_project_is_built_for_what_runs_it() {
    let product = |files: &[(&str, &str)]| match find(&directory(files)).source {
        Source::Cargo(_, product)
        | Source::Made {
            artifact: Made::ByCargo(product),
            ..
        } => Some(product),
        Source::At(_) | Source::Made { .. } => None,
    };
    let cargo = ("Cargo.toml", CARGO);
    let manifest = |more: &'static str| ("fractus.toml", more);
    let plain = manifest("name = \"a\"\n");
    let provided = manifest("name = \"a\"\nruntime = \"provided\"\n");
    let built = manifest("name = \"a\"\nruntime = \"provided\"\nbuild = \"make\"\n");
    let python = manifest("name = \"a\"\nruntime = \"python3\"\n");
    assert_eq!(product(&[cargo, plain]), Some(Product::Component));
    assert_eq!(
        product(&[cargo, plain, ("f.py", "")]),
        Some(Product::Component)
    );
    assert_eq!(product(&[cargo, provided]), Some(Product::Program));
    assert_eq!(product(&[cargo, built]), Some(Product::Program));
    assert_eq!(product(&[cargo, provided, ("bootstrap", "")]), None);
    assert_eq!(product(&[cargo, python]), None);
}

#[test]
fn what_cannot_be_deployed_is_explained() {
    let empty = directory(&[]);
    let deeper = directory(&[]);
    fs::create_dir(deeper.path().join("src")).unwrap();
    fs::write(deeper.path().join("src/f.py"), "").unwrap();
    let silent = directory(&[("fractus.toml", "name = \"a\"\n")]);
    let wrong = directory(&[("fractus.toml", "name = \"a\"\nmemory = 3\n")]);
    for (path, told) in [
        (empty.path().join("none.wasm"), "does not exist"),
        (
            empty.path().to_owned(),
            "neither a fractus.toml nor a Cargo.toml",
        ),
        (deeper.path().to_owned(), "holds nothing to deploy"),
        (silent.path().to_owned(), "add `artifact ="),
        (wrong.path().to_owned(), "unknown field `memory`"),
    ] {
        let failure = Project::find(&path, Given::default()).unwrap_err();
        let failure = failure.to_string();
        assert!(failure.contains(told), "{failure}");
    }
}
