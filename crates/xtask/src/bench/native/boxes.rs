//! Sandboxes of others around a runtime: what starting one for a call costs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::super::contestant::argument;
use super::super::{Setup, tools};
use super::peer::NUMBER;
use super::python::Python;

/// Where the function, its packages and our own program are inside.
const TASK: &str = "/var/task";
const PACKAGES: &str = "/opt/packages";
const PROGRAM: &str = "/opt/xtask";

/// Directories of the host that a dynamically linked program needs.
const SYSTEM: [&str; 5] = ["/bin", "/etc", "/lib", "/lib64", "/usr"];

/// What is run inside.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    pub(super) python: &'a Python,
    /// This program, in release mode.
    pub(super) program: &'a Path,
    /// The function's directory.
    pub(super) code: PathBuf,
    /// A directory with all packages.
    pub(super) packages: PathBuf,
}

impl Inside<'_> {
    /// Without a sandbox.
    pub(super) fn bare(&self) -> Vec<String> {
        let (program, code) = (argument(self.program), argument(&self.code));
        self.once(&program, &code, &argument(&self.packages))
    }

    /// By bubblewrap, in namespaces of every kind.
    pub(super) fn bwrap(&self, setup: &Setup<'_>) -> Result<Vec<String>> {
        let mut command = vec![argument(&tools::BWRAP.find(setup)?)];
        let options = "--unshare-all --die-with-parent --proc /proc --dev /dev --tmpfs /tmp";
        command.extend(options.split(' ').map(str::to_owned));
        for (source, destination) in self.mounts() {
            command.extend(["--ro-bind".to_owned(), source, destination]);
        }
        command.extend(self.once(PROGRAM, TASK, PACKAGES));
        Ok(command)
    }

    /// By crun, as a container of a bundle that is written to `bundle`.
    pub(super) fn crun(&self, setup: &Setup<'_>, bundle: &Path) -> Result<Vec<String>> {
        let crun = argument(&tools::CRUN.find(setup)?);
        fs::create_dir_all(bundle.join("rootfs"))?;
        let path = bundle.join("config.json");
        fs::write(&path, self.config().to_string()).with_context(|| path.display().to_string())?;
        let name = format!("bench-{}-{NUMBER}", std::process::id());
        let command = [&crun, "run", "--bundle", &argument(bundle), &name];
        Ok(command.map(str::to_owned).to_vec())
    }

    fn once(&self, program: &str, code: &str, packages: &str) -> Vec<String> {
        let words = [program, "peer", "once", "--directory", code];
        let words = words.into_iter().chain(["--packages", packages, "--"]);
        let mut command: Vec<_> = words.map(str::to_owned).collect();
        command.extend(self.python.runtime());
        command
    }

    /// What is seen inside, read-only.
    fn mounts(&self) -> Vec<(String, String)> {
        let mut mounts: Vec<_> = SYSTEM
            .iter()
            .filter(|path| Path::new(path).is_dir())
            .map(|path| ((*path).to_owned(), (*path).to_owned()))
            .collect();
        let prefix = &self.python.prefix;
        if !prefix.starts_with("/usr") {
            mounts.push((argument(prefix), argument(prefix)));
        }
        let own = [
            (self.code.as_path(), TASK),
            (self.packages.as_path(), PACKAGES),
            (self.program, PROGRAM),
        ];
        mounts.extend(own.map(|(source, place)| (argument(source), place.to_owned())));
        mounts
    }

    fn config(&self) -> Value {
        let mount = |kind: &str, source: &str, place: &str, options: &[&str]| json!({"type": kind, "source": source, "destination": place, "options": options});
        let mut mounts = vec![
            mount("proc", "proc", "/proc", &[]),
            mount("tmpfs", "tmpfs", "/dev", &["nosuid", "mode=755"]),
            mount("tmpfs", "tmpfs", "/tmp", &["nosuid", "nodev"]),
        ];
        let binds = self.mounts().into_iter();
        mounts.extend(binds.map(|(source, place)| mount("bind", &source, &place, &["bind", "ro"])));
        let kinds = ["pid", "network", "ipc", "uts", "mount"];
        json!({
            "ociVersion": "1.0.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": self.once(PROGRAM, TASK, PACKAGES),
                "env": ["PATH=/usr/bin:/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": {},
            },
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "bench",
            "mounts": mounts,
            "linux": {"namespaces": kinds.map(|kind| json!({"type": kind}))},
        })
    }
}

/// A command in a mount namespace without the second hierarchy of cgroups: crun refuses to start
/// where both versions are mounted. Only the measuring process is started so; it is not timed.
pub(super) fn with_one_cgroup_version(command: Vec<String>) -> Vec<String> {
    const SCRIPT: &str = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", SCRIPT];
    let words = words.map(str::to_owned).into_iter();
    words.chain(command).collect()
}
