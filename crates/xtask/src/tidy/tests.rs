//! Every rule on a repository that breaks it, and on the same one mended.

use super::{File, RULES, Tree, crates};

/// Stands for the output of `cargo metadata` among a sample's files.
const METADATA: &str = "cargo-metadata.json";

type Files<'a> = &'a [(&'a str, &'a str)];

struct Sample<'a> {
    rule: &'a str,
    bad: Files<'a>,
    /// What the rule finds, as `path:line`.
    found: &'a [&'a str],
    good: Files<'a>,
}

fn tree(files: Files<'_>) -> Tree {
    let packages = files.iter().find(|(path, _)| *path == METADATA);
    let packages = packages.map(|(_, text)| crates::packages(text).expect("metadata"));
    let files = files.iter().filter(|(path, _)| *path != METADATA);
    Tree {
        files: files
            .map(|(path, text)| File::new(path, (*text).to_owned()))
            .collect(),
        packages: packages.unwrap_or_default(),
    }
}

fn findings(rule: &str, files: Files<'_>) -> Vec<String> {
    let rule = RULES
        .iter()
        .find(|known| known.name == rule)
        .expect("a rule of that name");
    let mut findings = (rule.check)(&tree(files));
    findings.sort();
    findings
        .iter()
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect()
}

const SAMPLES: &[Sample<'_>] = &[
    Sample {
        rule: "crate-edges",
        bad: &[
            (
                METADATA,
                r#"{"packages": [
                    {"name": "fractus-func", "dependencies": [{"name": "fractus-wasm"}]},
                    {"name": "fractus-wasm", "dependencies": []},
                    {"name": "fractus-newcomer", "dependencies": []}]}"#,
            ),
            (
                "crates/func/Cargo.toml",
                "[dependencies]\nfractus-wasm.workspace = true\n",
            ),
        ],
        found: &["crates/func/Cargo.toml:2", "crates/newcomer/Cargo.toml:1"],
        good: &[(
            METADATA,
            r#"{"packages": [
                {"name": "fractus-func", "dependencies": []},
                {"name": "fractus-wasm", "dependencies": [{"name": "fractus-func"}]}]}"#,
        )],
    },
    Sample {
        rule: "library-homes",
        bad: &[(
            METADATA,
            r#"{"packages": [
                {"name": "fractus-node", "dependencies": [{"name": "wasmtime-wasi"}]},
                {"name": "fractus-blob", "dependencies": [{"name": "anyhow"}]},
                {"name": "fractus-cache", "dependencies": [{"name": "tokio", "kind": null}]}]}"#,
        )],
        found: &[
            "crates/blob/Cargo.toml:1",
            "crates/cache/Cargo.toml:1",
            "crates/node/Cargo.toml:1",
        ],
        good: &[(
            METADATA,
            r#"{"packages": [
                {"name": "fractus-wasm", "dependencies": [{"name": "wasmtime-wasi"}]},
                {"name": "fractus", "dependencies": [{"name": "anyhow"}]},
                {"name": "fractus-cache", "dependencies": [{"name": "tokio", "kind": "dev"}]}]}"#,
        )],
    },
    Sample {
        rule: "pure-crates",
        bad: &[
            (
                "crates/func/src/pool.rs",
                "fn f() {\n    std::fs::read(\"x\");\n}\n",
            ),
            (
                "crates/cache/src/age.rs",
                "fn f() -> Instant {\n    Instant::now()\n}\n",
            ),
        ],
        found: &["crates/cache/src/age.rs:2", "crates/func/src/pool.rs:2"],
        good: &[
            (
                "crates/blob/src/lib.rs",
                "fn f() { std::fs::read(\"x\"); }\n",
            ),
            (
                "crates/cache/src/age.rs",
                "// Never Instant::now().\nfn f(now: Instant) {}\n",
            ),
            (
                "crates/cache/src/age/tests.rs",
                "fn f() { std::thread::spawn(g); }\n",
            ),
            (
                "crates/func/src/pool.rs",
                "#[cfg(test)]\nmod tests { use tokio::spawn; }\n",
            ),
        ],
    },
    Sample {
        rule: "crate-frame",
        bad: &[
            ("ARCHITECTURE.md", "`crates/blob` keeps.\n"),
            ("crates/blob/Cargo.toml", "[package]\n"),
            ("crates/blob/src/lib.rs", "pub mod a;\n"),
            ("crates/func/Cargo.toml", "[lints]\nworkspace = true\n"),
        ],
        found: &[
            "crates/blob/Cargo.toml:1",
            "crates/blob/src/lib.rs:1",
            "crates/func/Cargo.toml:1",
            "crates/func/src/lib.rs:1",
        ],
        good: &[
            ("ARCHITECTURE.md", "`blob` keeps.\n"),
            (
                "crates/blob/Cargo.toml",
                "[package]\n\n[lints]\nworkspace = true\n",
            ),
            ("crates/blob/src/lib.rs", "//! Keeps.\npub mod a;\n"),
        ],
    },
    Sample {
        rule: "named-paths",
        bad: &[
            (
                "ARCHITECTURE.md",
                "See `crates/blob/src/old.rs`,\n`docs/gone.md` and `limits.rs`.\n",
            ),
            ("crates/blob/src/lib.rs", ""),
        ],
        found: &[
            "ARCHITECTURE.md:1",
            "ARCHITECTURE.md:2",
            "ARCHITECTURE.md:2",
        ],
        good: &[
            (
                "ARCHITECTURE.md",
                "See `crates/blob/src/lib.rs`, `blob/src`, `crates/blob/`, `lib.rs`; `text/html`,\n\
                 `/run/NAME`, `a/b`, `fractus-data/`, `.rs`.\n```\n`docs/gone.md`\n```\n",
            ),
            ("crates/blob/src/lib.rs", ""),
        ],
    },
    Sample {
        rule: "named-items",
        bad: &[
            (
                "ARCHITECTURE.md",
                "`func::Gone`\n`Pool::gone()`\n`fractus_func::pool::Gone`\n",
            ),
            ("crates/func/src/pool.rs", "pub struct Pool;\n"),
        ],
        found: &[
            "ARCHITECTURE.md:1",
            "ARCHITECTURE.md:2",
            "ARCHITECTURE.md:3",
        ],
        good: &[
            (
                "ARCHITECTURE.md",
                "`func::pool::Pool`, `Pool::take()`, `Option::Some`, `wasi::http`\n",
            ),
            (
                "crates/func/src/pool.rs",
                "pub struct Pool;\nimpl Pool { fn take() {} }\n",
            ),
        ],
    },
    Sample {
        rule: "readme-commands",
        bad: &[
            ("README.md", "`make`\n"),
            (".ci/run", "#!/usr/bin/env bash\nmake extra\n"),
        ],
        found: &[".ci/run:1", "README.md:1", "README.md:1"],
        good: &[
            (
                "README.md",
                "`cargo run --release -- demo`, `cargo xtask test`\n",
            ),
            (".ci/run", include_str!("../../../../.ci/run")),
        ],
    },
    Sample {
        rule: "forgotten-file",
        bad: &[
            ("crates/func/src/lib.rs", "// mod pool;\nmod pools;\n"),
            ("crates/func/src/pool.rs", ""),
            ("crates/func/src/pool/tests.rs", ""),
            ("crates/func/tests/it/main.rs", ""),
            ("crates/func/tests/it/pool.rs", ""),
            ("crates/func/tests/other.rs", ""),
        ],
        found: &[
            "crates/func/src/pool.rs:1",
            "crates/func/src/pool/tests.rs:1",
            "crates/func/tests/it/pool.rs:1",
            "crates/func/tests/other.rs:1",
        ],
        good: &[
            ("crates/func/src/lib.rs", "pub mod pool;\n"),
            ("crates/func/src/pool.rs", "#[cfg(test)]\nmod tests;\n"),
            ("crates/func/src/pool/tests.rs", ""),
            ("crates/func/tests/it/main.rs", "mod pool;\n"),
            ("crates/func/examples/replay.rs", ""),
            ("crates/func/build.rs", "build(\"src/boot/boot.rs\");\n"),
            ("crates/func/src/boot/boot.rs", ""),
            ("crates/func/tests/it/pool.rs", ""),
        ],
    },
    Sample {
        rule: "root-entries",
        bad: &[("NOTES.md", ""), ("scripts/a.sh", ""), ("scripts/b.sh", "")],
        found: &["NOTES.md:1", "scripts:1"],
        good: &[
            ("README.md", ""),
            ("crates/func/src/lib.rs", ""),
            (".ci/run", ""),
        ],
    },
    Sample {
        rule: "example-lock",
        bad: &[("examples/hello/Cargo.toml", "")],
        found: &["examples/hello/Cargo.toml:1"],
        good: &[
            ("examples/hello/Cargo.toml", ""),
            ("examples/hello/Cargo.lock", ""),
        ],
    },
    Sample {
        rule: "mod-rs",
        bad: &[("crates/func/src/pool/mod.rs", "fn f() {}\n")],
        found: &["crates/func/src/pool/mod.rs:1"],
        good: &[("crates/func/src/pool.rs", "fn f() {}\n")],
    },
    Sample {
        rule: "glob-import",
        bad: &[("a.rs", "use super::*;\nuse a::{\n    b::*,\n};\n")],
        found: &["a.rs:1", "a.rs:3"],
        good: &[(
            "a.rs",
            "// never use a::*;\nuse super::b;\nfn f() { 2 * 3 }\n",
        )],
    },
    Sample {
        rule: "unfinished",
        bad: &[("a.rs", "fn f() {\n    dbg!(1);\n    todo!()\n}\n")],
        found: &["a.rs:2", "a.rs:3"],
        good: &[("a.rs", "fn f() { print(\"dbg!\") }\n")],
    },
    Sample {
        rule: "ignored-test",
        bad: &[("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n")],
        found: &["a.rs:2"],
        good: &[("a.rs", "#[test]\nfn f() {}\n")],
    },
    Sample {
        rule: "error-chain",
        bad: &[(
            "a.rs",
            "fn f() {\n    warn!(error = %err, \"lost\");\n    warn!(%error);\n}\n",
        )],
        found: &["a.rs:2", "a.rs:3"],
        good: &[(
            "a.rs",
            "fn f() { warn!(error = %ErrorChain(&err), %errand, x % e); }\n",
        )],
    },
    Sample {
        rule: "error-display",
        bad: &[(
            "a.rs",
            "enum E {\n    #[error(\"cannot read: {source}\")]\n    Read,\n}\n",
        )],
        found: &["a.rs:2"],
        good: &[(
            "a.rs",
            "enum E {\n    #[error(\"cannot read {path}\")]\n    Read,\n}\n",
        )],
    },
    Sample {
        rule: "whitespace",
        bad: &[
            ("a.rs", "fn f() {}  \n"),
            ("b.md", "\ta\n"),
            ("c.toml", "a = 1"),
        ],
        found: &["a.rs:1", "b.md:1", "c.toml:1"],
        good: &[
            ("a.rs", "fn f() {}\n"),
            ("b.md", "a\n"),
            ("c.toml", "a = 1\n"),
        ],
    },
    Sample {
        rule: "line-length",
        bad: &[(
            "a.rs",
            "fn f() {}\n// This comment goes on for longer than anybody cares to read in a window \
             that stands beside another window.\n",
        )],
        found: &["a.rs:2"],
        good: &[(
            "a.rs",
            "// https://example.org/a/path/that/is/long/but/cannot/be/broken/without/breaking/it\
             /and/goes/on\nfn f() { g(\"a literal that goes on for longer than anybody cares to \
             read in a window, but has its reasons\") }\n",
        )],
    },
    Sample {
        rule: "licence-header",
        bad: &[(
            "a.rs",
            concat!("// SPDX", "-License-Identifier: Apache-2.0\n"),
        )],
        found: &["a.rs:1"],
        good: &[("a.rs", "fn f() {}\n")],
    },
    Sample {
        rule: "machine-path",
        bad: &[(
            "a.md",
            concat!("Read /wo", "rk/notes and\n`/ho", "me/me/x`.\n"),
        )],
        found: &["a.md:1", "a.md:2"],
        good: &[(
            "a.md",
            "Read `docs/work/notes`, https://example.org/home/x and /etc/hosts.\n",
        )],
    },
    Sample {
        rule: "phrase",
        bad: &[("a.md", concat!("Done.\nas req", "uested\n"))],
        found: &["a.md:2"],
        good: &[("a.md", "Done, as a request.\n")],
    },
];

#[test]
fn each_rule_finds_what_breaks_it() {
    for sample in SAMPLES {
        assert_eq!(
            findings(sample.rule, sample.bad),
            sample.found,
            "{}",
            sample.rule
        );
    }
}

#[test]
fn each_rule_is_content_with_what_is_mended() {
    for sample in SAMPLES {
        assert_eq!(
            findings(sample.rule, sample.good),
            [""; 0],
            "{}",
            sample.rule
        );
    }
}

#[test]
fn each_rule_has_one_name_and_a_sample() {
    let names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    let samples: Vec<_> = SAMPLES.iter().map(|sample| sample.rule).collect();
    assert_eq!(names, samples);
}
