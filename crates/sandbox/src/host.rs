//! What the host has for functions: interpreters, shared libraries, and the root made of them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use fractus_stdx::ErrorChain;
use serde::{Deserialize, Serialize};

use crate::profile::{RUNTIME, Root};

/// A Python interpreter and where its parts are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Interpreter {
    pub(crate) program: PathBuf,
    /// Folders that it is made of.
    pub(crate) folders: Vec<PathBuf>,
    /// Such as `3.11`.
    pub(crate) version: String,
    /// Such as `cp311`.
    pub(crate) tag: String,
}

/// An interpreter as it was found, and what it was found by.
#[derive(Debug, Deserialize, Serialize)]
struct Found {
    path: PathBuf,
    modified: Option<SystemTime>,
    interpreter: Interpreter,
}

/// Files that take the place of what was found before.
const FOUND: &str = "python.json";

/// Finds a program on the node's path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The Python interpreter on the node's path. What it tells of itself is kept in `folder`, so that
/// a node starts without running it.
pub(crate) fn python(folder: &Path) -> Option<Interpreter> {
    let path = find("python3")?;
    let modified = fs::metadata(&path).and_then(|file| file.modified()).ok();
    let kept = folder.join(FOUND);
    let found = fs::read(&kept).ok();
    let found = found.and_then(|json| serde_json::from_slice::<Found>(&json).ok());
    if let Some(found) = found
        && found.path == path
        && found.modified == modified
        && found.interpreter.program.is_file()
    {
        return Some(found.interpreter);
    }
    let found = Found {
        interpreter: ask(&path)?,
        path,
        modified,
    };
    let json = serde_json::to_vec(&found).expect("paths of programs are text");
    if let Err(error) = fs::write(&kept, json) {
        tracing::debug!(error = %ErrorChain(&error), "the interpreter is asked again at the next start");
    }
    Some(found.interpreter)
}

/// Asks an interpreter what it is.
fn ask(program: &Path) -> Option<Interpreter> {
    const ASK: &str = "import json,sys,sysconfig as s\n\
        v=sys.version_info\n\
        print(json.dumps({'program': sys.executable, 'folders': sorted({p for p in (\
        s.get_path('stdlib'), s.get_path('platstdlib'), s.get_config_var('LIBDIR'), \
        s.get_config_var('DESTSHARED')) if p}), 'version': f'{v[0]}.{v[1]}', \
        'tag': f'cp{v[0]}{v[1]}'}))";
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
/// Where guests find their interpreter, whatever its own name.
const PYTHON3: &str = "/usr/local/bin/python3";
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
            (
                "/etc/passwd",
                "root:x:0:0:root:/tmp:/bin/sh\nsandbox:x:993:990::/tmp:/bin/sh\n",
            ),
            ("/etc/group", "root:x:0:\nsandbox:x:990:\n"),
            ("/etc/hosts", "127.0.0.1 localhost sandbox\n"),
            (
                "/etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\n",
            ),
            ("/etc/resolv.conf", ""),
        ];
        let files = files.map(|(place, content)| (place.to_owned(), content.to_owned()));
        root.files.extend(files);
        root
    }

    /// With an interpreter, which is the first `python3` on the path of guests.
    pub(crate) fn with_python(mut self, python: &Interpreter) -> Self {
        self.share(&python.program);
        python.folders.iter().for_each(|folder| self.share(folder));
        if python.program != Path::new(PYTHON3) {
            let program = python.program.to_string_lossy().into_owned();
            self.links.push((PYTHON3.to_owned(), program));
        }
        self
    }

    /// With programs for scripts, a shell among them.
    pub(crate) fn with_programs(mut self) -> Self {
        for place in PROGRAMS {
            self.share(Path::new(place));
        }
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
                self.links
                    .push((text, target.to_string_lossy().into_owned()));
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
    use super::{Root, python};

    #[test]
    fn python_tells_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let found = python(folder.path()).expect("python3 is on the path");
        assert!(
            found.program.is_file() && !found.folders.is_empty(),
            "{found:?}"
        );
        assert_eq!(python(folder.path()), Some(found), "as it is kept");
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
