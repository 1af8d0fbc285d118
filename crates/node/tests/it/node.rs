//! A node in a directory of its own, and how tests speak to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fractus_node::{Addresses, Config, ConfigFile, Credentials, Node};
use fractus_stdx::Hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::client::{self, Answer};

/// A node that listens on free ports.
#[derive(Debug)]
pub(crate) struct TestNode {
    node: Option<Node>,
    pub(crate) addresses: Addresses,
    token: String,
    dir: TempDir,
}

/// The configuration of a node on `dir` with free ports.
pub(crate) fn config(dir: &Path) -> Config {
    let any = "127.0.0.1:0".parse().ok();
    let file = ConfigFile {
        data: Some(dir.join("data")),
        edge: any,
        api: any,
        admin: any,
        threads: Some(2),
        drain_s: Some(5),
        ..ConfigFile::default()
    };
    file.check().expect("the configuration is sound")
}

impl TestNode {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = config(dir.path());
        change(&mut config);
        Self::start_on(dir, config)
    }

    /// A node on a directory that another one left.
    pub(crate) fn on(dir: TempDir) -> Self {
        let config = config(dir.path());
        Self::start_on(dir, config)
    }

    fn start_on(dir: TempDir, config: Config) -> Self {
        let node = Node::start(config).expect("the node starts");
        let token = Credentials::read(node.data())
            .expect("credentials")
            .admin_token;
        Self {
            addresses: node.addresses(),
            node: Some(node),
            token,
            dir,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn stop(mut self) -> TempDir {
        self.node.take().expect("a node stops once").shutdown();
        self.dir
    }

    pub(crate) fn restart(self) -> Self {
        Self::on(self.stop())
    }

    /// A request to the edge.
    pub(crate) fn edge(&self, path: &str) -> Answer {
        client::send(self.addresses.edge, "GET", path, &[], &[])
    }

    /// A request to the admin API, with the token.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.admin_with(method, path, &[], body)
    }

    pub(crate) fn admin_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        client::send(self.addresses.admin, method, path, &all, body)
    }

    /// Uploads an artifact and deploys it with a manifest.
    pub(crate) fn deploy(&self, manifest: &Value, artifact: &[u8]) -> Answer {
        let digest = digest(artifact);
        let upload = self.admin("PUT", &format!("/v1/artifacts/{digest}"), artifact);
        assert!(matches!(upload.status, 200 | 201), "{}", upload.text());
        let name = manifest["name"].as_str().expect("a name");
        let body = json!({"manifest": manifest, "artifact": digest}).to_string();
        self.admin(
            "POST",
            &format!("/v1/functions/{name}/versions"),
            body.as_bytes(),
        )
    }

    pub(crate) fn deploy_hello(&self) {
        self.deploy(&json!({"name": "hello"}), &component("hello"))
            .expect(201);
    }

    /// Deploys `examples/faults` with the limits of its manifest, in JSON.
    pub(crate) fn deploy_faults(&self) {
        let limits = json!({
            "memory_mb": 32, "timeout_s": 2.0, "cpu_s": 0.5,
            "request_mb": 1, "response_mb": 8, "concurrency": 8,
        });
        let manifest = json!({"name": "faults", "limits": limits, "env": {"GREETING": "hello"}});
        self.deploy(&manifest, &component("faults")).expect(201);
    }

    /// The usage record of a call, as soon as it is there.
    pub(crate) fn usage(&self, request_id: &str) -> Value {
        let path = format!("/v1/usage?request_id={request_id}");
        wait_for("a usage record", || {
            let found = self.admin("GET", &path, &[]).expect(200).json();
            found["records"].get(0).cloned()
        })
    }

    /// What a function has logged.
    pub(crate) fn logs(&self, function: &str) -> Vec<Value> {
        let path = format!("/v1/functions/{function}/logs?limit=10000");
        let text = self.admin("GET", &path, &[]).expect(200).text();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect()
    }
}

/// Asks until there is an answer; for what the node does after it has answered.
pub(crate) fn wait_for<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Hex(&Sha256::digest(bytes)).to_string()
}

/// The component of an example, built unless it is there.
pub(crate) fn component(name: &str) -> Vec<u8> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _turn = BUILDING.lock();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name);
    let artifact = project.join(format!("target/wasm32-wasip2/release/{name}.wasm"));
    if !artifact.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--target", "wasm32-wasip2"]);
        cargo.current_dir(&project).env_remove("CARGO_TARGET_DIR");
        assert!(
            cargo.status().expect("cargo runs").success(),
            "examples/{name} does not build"
        );
    }
    fs::read(artifact).expect("the component")
}
