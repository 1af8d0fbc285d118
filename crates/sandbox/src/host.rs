//! What the host has for functions: interpreters, shared libraries, and the root made of them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::profile::{RUNTIME, Root};

/// A Python interpreter and where its parts are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Interpreter {
    pub(crate) program: PathBuf,
    /// Folders that it is made of.
    pub(crate) folders: Vec<PathBuf>,
}

/// Finds a program on the node's path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Where a Python interpreter's standard library is, by its own account.
pub(crate) fn python(program: &Path) -> Option<Interpreter> {
    const ASK: &str = "import json,sys,sysconfig as s\n\
        print(json.dumps({'program': sys.executable, 'folders': sorted({p for p in (\
        s.get_path('stdlib'), s.get_path('platstdlib'), s.get_config_var('LIBDIR'), \
        s.get_config_var('DESTSHARED')) if p})}))";
    let told = Command::new(program)
        .args(["-I", "-S", "-c", ASK])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let mut interpreter: Interpreter = serde_json::from_slice(&told.stdout).ok()?;
    interpreter.program = fs::canonicalize(&interpreter.program).ok()?;
    Some(interpreter)
}

/// Folders that programs on this host need beside their own: the shared libraries.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/lib", "/usr/lib64", "/lib64"];
/// What programs look up: certificates and time zones.
const SHARED: [&str; 4] = [
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
];
/// Where programs are, for scripts.
const PROGRAMS: [&str; 2] = ["/usr/bin", "/bin"];

impl Root {
    /// Libraries, certificates, time zones, and small files that programs expect; `runtime` holds
    /// our own bootstraps.
    pub(crate) fn base(runtime: &Path) -> Self {
        let mut root = Self::default();
        for place in LIBRARIES.iter().chain(&SHARED) {
            root.share(Path::new(place));
        }
        root.mounts.push((runtime.to_owned(), RUNTIME.to_owned()));
        let files = [
            ("/etc/passwd", "root:x:0:0:root:/tmp:/bin/sh\nsandbox:x:993:990::/tmp:/bin/sh\n"),
            ("/etc/group", "root:x:0:\nsandbox:x:990:\n"),
            ("/etc/hosts", "127.0.0.1 localhost sandbox\n"),
            ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
            ("/etc/resolv.conf", ""),
        ];
        let files = files.map(|(place, content)| (place.to_owned(), content.to_owned()));
        root.files.extend(files);
        root
    }

    /// With an interpreter.
    pub(crate) fn with_python(mut self, python: &Interpreter) -> Self {
        self.share(&python.program);
        python.folders.iter().for_each(|folder| self.share(folder));
        self
    }

    /// With programs for scripts, a shell among them.
    pub(crate) fn with_programs(mut self) -> Self {
        PROGRAMS.iter().for_each(|place| self.share(Path::new(place)));
        self
    }

    /// Shows what the host has at `place` at the same place, unless a folder above it is shared
    /// already. A symbolic link stays one, and its target is shared.
    pub(crate) fn share(&mut self, place: &Path) {
        let Ok(kind) = fs::symlink_metadata(place) else {
            return;
        };
        if self.has(place) {
            return;
        }
        let text = place.to_string_lossy().into_owned();
        if !kind.file_type().is_symlink() {
            // What lies below comes with it.
            self.mounts.retain(|(source, _)| !source.starts_with(place));
            self.mounts.push((place.to_owned(), text));
            return;
        }
        if let (Ok(target), Ok(real)) = (fs::read_link(place), fs::canonicalize(place)) {
            if self.links.iter().all(|(link, _)| *link != text) {
                self.links.push((text, target.to_string_lossy().into_owned()));
            }
            self.share(&real);
        }
    }

    fn has(&self, place: &Path) -> bool {
        self.mounts
            .iter()
            .any(|(source, at)| *source == Path::new(at) && place.starts_with(source))
    }
}

#[cfg(test)]
mod tests {
    use super::{Root, find, python};

    #[test]
    fn python_tells_where_it_is() {
        let program = find("python3").expect("python3 is on the path");
        let python = python(&program).expect("python3 runs");
        assert!(python.program.is_file() && !python.folders.is_empty(), "{python:?}");
    }

    #[test]
    fn links_stay_links_and_what_is_shared_is_shared_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("usr/lib/python")).unwrap();
        std::os::unix::fs::symlink("usr/lib", at("lib")).unwrap();
        let mut root = Root::default();
        root.share(&at("usr/lib/python"));
        root.share(&at("lib"));
        root.share(&at("usr/lib/python"));
        root.share(&at("absent"));
        assert_eq!(root.mounts.len(), 1);
        assert_eq!(root.mounts[0].0, at("usr/lib"));
        assert_eq!(root.links.len(), 1);
        assert_eq!(root.links[0].1, "usr/lib");
    }
}
