//! A node of ours: its data directory filled by the command line, as a user would.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::Setup;
use super::contestant::{Contestant, Server, argument, free_address};
use super::http;
use crate::process::{cargo, output, run};
use crate::steps::build_example;

/// A node with a data directory of its own.
pub(super) struct Node {
    pub(super) contestant: Contestant,
    program: PathBuf,
    data: PathBuf,
    /// Where AWS's protocols are spoken.
    pub(super) api: SocketAddr,
    admin: SocketAddr,
}

/// What a usage record says of how a call began; times in microseconds.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub(super) start_us: u64,
    pub(super) load_us: u64,
    pub(super) cold: bool,
}

impl Node {
    /// A node that `fill` has put something into and that is asked for `target`. It is stopped.
    pub(super) fn new(
        setup: &Setup<'_>,
        name: &str,
        target: &str,
        fill: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Self> {
        let program = program(setup)?;
        let data = TempDir::new()?;
        let (api, admin) = (free_address()?, free_address()?);
        let contestant = Contestant::new(name, &program, target)?;
        let listeners = [
            ("--edge", contestant.address),
            ("--api", api),
            ("--admin", admin),
        ];
        let mut arguments = vec!["up".to_owned(), "--data".to_owned(), argument(data.path())];
        arguments.extend(
            listeners
                .iter()
                .flat_map(|(flag, at)| [(*flag).to_owned(), at.to_string()]),
        );
        let path = data.path().to_owned();
        let contestant = contestant.arguments(arguments).keep(data);
        let node = Self {
            contestant,
            program,
            data: path,
            api,
            admin,
        };
        let running = node.start()?;
        fill(&node)?;
        drop(running);
        Ok(node)
    }

    /// Starts it and waits until it is ready and its commands find it, whatever it has been given.
    pub(super) fn start(&self) -> Result<Server> {
        self.contestant.start_until(None, || {
            http::expect(self.admin, "/healthz")?;
            ensure!(
                self.data.join("node.json").is_file(),
                "it has not announced its addresses"
            );
            Ok(())
        })
    }

    /// `fractus ARGUMENTS --data DIR`, while it runs.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<()> {
        self.tell(arguments).map(drop)
    }

    /// What `fractus ARGUMENTS --data DIR` prints.
    pub(super) fn tell(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        output(command.args(arguments).arg("--data").arg(&self.data))
    }

    /// The file with its keys and its region.
    pub(super) fn credentials(&self) -> PathBuf {
        self.data.join("credentials.json")
    }

    pub(super) fn deploy(&self, path: &Path, name: &str) -> Result<()> {
        self.command(&["deploy", &argument(path), "--name", name])
    }

    /// Makes a bucket that anyone may read on the edge.
    pub(super) fn public_bucket(&self, name: &str) -> Result<()> {
        self.command(&["bucket", "create", name, "--public"])
    }

    /// Copies a file into a bucket.
    pub(super) fn put(&self, file: &Path, bucket: &str, key: &str) -> Result<()> {
        self.command(&["cp", &argument(file), &format!("fractus://{bucket}/{key}")])
    }

    /// The latest calls of a function, newest first, while the node runs.
    pub(super) fn calls(&self, function: &str, limit: usize) -> Result<Vec<Call>> {
        #[derive(Deserialize)]
        struct Credentials {
            admin_token: String,
        }
        #[derive(Deserialize)]
        struct Usage {
            records: Vec<Call>,
        }
        let credentials = fs::read(self.credentials())?;
        let Credentials { admin_token } = serde_json::from_slice(&credentials)?;
        let target = format!("/v1/usage?function={function}&limit={limit}");
        let answer = http::get(self.admin, &target, Some(&admin_token))?;
        ensure!(answer.status == 200, "{target}: {answer}");
        let Usage { records } = serde_json::from_slice(&answer.body).context("usage records")?;
        Ok(records)
    }
}

/// The release build of `fractus`.
fn program(setup: &Setup<'_>) -> Result<PathBuf> {
    if let Some(path) = &setup.options.fractus {
        return path
            .canonicalize()
            .with_context(|| path.display().to_string());
    }
    run(&mut cargo(
        setup.root,
        &["build", "--quiet", "--release", "--locked"],
    ))?;
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target
        .unwrap_or_else(|| setup.root.join("target"))
        .join("release/fractus"))
}

/// The component of an example, built.
pub(super) fn component(setup: &Setup<'_>, example: &str) -> Result<PathBuf> {
    let project = setup.root.join("examples").join(example);
    build_example(&project)?;
    Ok(project.join(format!("target/wasm32-wasip2/release/{example}.wasm")))
}
