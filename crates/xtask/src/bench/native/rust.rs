//! A function in Rust on the crate that AWS publishes.

use std::path::PathBuf;

use anyhow::Result;

use super::super::Setup;
use super::python::write;
use crate::process::{cargo, run};

const MANIFEST: &str = "\
[package]
name = \"bootstrap\"
version = \"0.0.0\"
edition = \"2024\"

[dependencies]
lambda_runtime = \"1\"
serde_json = \"1\"
tokio = { version = \"1\", features = [\"macros\", \"rt\"] }

[profile.release]
panic = \"abort\"
strip = true

[workspace]
";

const MAIN: &str = "\
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

async fn hello(_: LambdaEvent<Value>) -> Result<Value, Error> {
    Ok(json!({
        \"statusCode\": 200,
        \"headers\": {\"content-type\": \"text/plain\"},
        \"body\": \"Hello from Fractus\\n\",
    }))
}

#[tokio::main(flavor = \"current_thread\")]
async fn main() -> Result<(), Error> {
    run(service_fn(hello)).await
}
";

/// The program, in a directory that holds nothing else but its manifest.
pub(super) fn bootstrap(setup: &Setup<'_>) -> Result<PathBuf> {
    let project = setup.scratch().join("rust-hello");
    write(&project, &[("Cargo.toml", MANIFEST)])?;
    write(&project.join("src"), &[("main.rs", MAIN)])?;
    let mut build = cargo(&project, &["build", "--quiet", "--release"]);
    run(build.env("CARGO_TARGET_DIR", project.join("target")))?;
    let code = project.join("function");
    write(
        &code,
        &[("fractus.toml", "name = \"hello\"\nruntime = \"provided\"\n")],
    )?;
    let bootstrap = code.join("bootstrap");
    std::fs::copy(project.join("target/release/bootstrap"), &bootstrap)?;
    Ok(bootstrap)
}
