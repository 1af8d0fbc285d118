//! Programs the benchmarks need and how to come by them.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail, ensure};

use super::Setup;
use crate::process::{run, shown};

/// A program from elsewhere.
pub(super) struct Tool {
    name: &'static str,
    /// Where `install` puts it, from the benchmarks' directory; empty when that is the PATH.
    place: &'static str,
    /// How to get it; run from the benchmarks' directory.
    install: &'static [&'static str],
}

const APT: [&str; 4] = ["apt-get", "install", "--yes", "--no-install-recommends"];

pub(super) const WRK: Tool = Tool {
    name: "wrk",
    place: "",
    install: &[APT[0], APT[1], APT[2], APT[3], "wrk"],
};

pub(super) const NGINX: Tool = Tool {
    name: "nginx",
    place: "",
    install: &[APT[0], APT[1], APT[2], APT[3], "nginx-light"],
};

pub(super) const NODE_JS: Tool = Tool {
    name: "node",
    place: "",
    install: &[APT[0], APT[1], APT[2], APT[3], "nodejs"],
};

pub(super) const WASMTIME: Tool = Tool {
    name: "wasmtime",
    place: "wasmtime/bin/wasmtime",
    install: &[
        "cargo",
        "install",
        "wasmtime-cli",
        "--version",
        "48.0.8",
        "--locked",
        "--root",
        "wasmtime",
    ],
};

pub(super) const WORKERD: Tool = Tool {
    name: "workerd",
    // What npm puts on the PATH is a script around it, with a process id of its own.
    place: if cfg!(target_arch = "aarch64") {
        "workerd/node_modules/@cloudflare/workerd-linux-arm64/bin/workerd"
    } else {
        "workerd/node_modules/@cloudflare/workerd-linux-64/bin/workerd"
    },
    install: &["npm", "install", "--prefix", "workerd", "workerd"],
};

pub(super) const BWRAP: Tool = Tool {
    name: "bwrap",
    place: "",
    install: &[APT[0], APT[1], APT[2], APT[3], "bubblewrap"],
};

pub(super) const CRUN: Tool = Tool {
    name: "crun",
    place: "",
    install: &[APT[0], APT[1], APT[2], APT[3], "crun"],
};

const PIP: [&str; 6] = ["python3", "-m", "pip", "install", "--quiet", "--target"];

/// The client of the Runtime API that AWS publishes; gunicorn lies beside it.
pub(super) const AWSLAMBDARIC: Tool = Tool {
    name: "awslambdaric",
    place: "python/peers/awslambdaric/__main__.py",
    install: &[
        PIP[0],
        PIP[1],
        PIP[2],
        PIP[3],
        PIP[4],
        PIP[5],
        "python/peers",
        "awslambdaric",
        "gunicorn",
    ],
};

pub(super) const CARGO_LAMBDA: Tool = Tool {
    name: "cargo-lambda",
    place: "python/cargo-lambda/bin/cargo-lambda",
    install: &[
        PIP[0],
        PIP[1],
        PIP[2],
        PIP[3],
        PIP[4],
        PIP[5],
        "python/cargo-lambda",
        // Without the linker for other systems that it can bring.
        "--no-deps",
        "cargo-lambda",
    ],
};

pub(super) const BOTO3: Tool = Tool {
    name: "boto3",
    place: "python/boto3/boto3/__init__.py",
    install: &[
        PIP[0],
        PIP[1],
        PIP[2],
        PIP[3],
        PIP[4],
        PIP[5],
        "python/boto3",
        "boto3",
        "awslambdaric",
    ],
};

impl Tool {
    /// Where it is; if it is missing, installs it when that was asked for, or says how to.
    pub(super) fn find(&self, setup: &Setup<'_>) -> Result<PathBuf> {
        let given = match self.name {
            "wasmtime" => setup.options.wasmtime.clone(),
            "workerd" => setup.options.workerd.clone(),
            _ => None,
        };
        if let Some(path) = given {
            ensure!(path.is_file(), "{} is no file", path.display());
            return Ok(path);
        }
        if let Some(path) = self.look(setup) {
            return Ok(path);
        }
        let directory = setup.scratch();
        let mut command = Command::new(self.install[0]);
        command.args(&self.install[1..]).current_dir(&directory);
        let command_line = shown(&command);
        if !setup.options.install {
            bail!(
                "{} is missing: `{command_line}`, or give --install",
                self.name
            );
        }
        std::fs::create_dir_all(&directory)?;
        run(&mut command)?;
        let found = self.look(setup);
        found.ok_or_else(|| anyhow::anyhow!("`{command_line}` brought no {}", self.name))
    }

    fn look(&self, setup: &Setup<'_>) -> Option<PathBuf> {
        let paths = env::var_os("PATH").unwrap_or_default();
        let on_path = env::split_paths(&paths).chain([PathBuf::from("/usr/sbin")]);
        let own = (!self.place.is_empty()).then(|| setup.scratch().join(self.place));
        own.into_iter()
            .chain(on_path.map(|path| path.join(self.name)))
            .find(|path| path.is_file())
    }
}
