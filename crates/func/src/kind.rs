//! What can run a function.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The file that [`RuntimeKind::Provided`] starts.
pub const BOOTSTRAP: &str = "bootstrap";

/// What runs a function.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// A WebAssembly component.
    Wasm,
    /// Python source.
    Python3,
    /// JavaScript for Node.
    #[serde(rename = "nodejs")]
    NodeJs,
    /// A Linux program of its own, named [`BOOTSTRAP`].
    Provided,
}

impl RuntimeKind {
    /// As it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Python3 => "python3",
            Self::NodeJs => "nodejs",
            Self::Provided => "provided",
        }
    }

    /// The runtimes that files with these names may be meant for, the likeliest first. Names are
    /// relative to the function's own folder, with `/` between their parts.
    pub fn told_from<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        // From what says most to what says least.
        let mut at_root = [Self::Provided, Self::Python3, Self::NodeJs].map(|kind| (kind, false));
        let mut deeper = [Self::Python3, Self::NodeJs].map(|kind| (kind, false));
        for file in files {
            let found = match file.rsplit_once('.').map(|(_, extension)| extension) {
                Some("py") => Self::Python3,
                Some("js" | "mjs" | "cjs") => Self::NodeJs,
                _ if file == "package.json" => Self::NodeJs,
                _ if file == BOOTSTRAP => Self::Provided,
                _ => continue,
            };
            let kinds = if file.contains('/') {
                &mut deeper[..]
            } else {
                &mut at_root[..]
            };
            for (_, is_seen) in kinds.iter_mut().filter(|(kind, _)| *kind == found) {
                *is_seen = true;
            }
        }
        let mut kinds = Vec::new();
        for (kind, is_seen) in at_root.into_iter().chain(deeper) {
            if is_seen && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RuntimeKind {
    type Err = RuntimeKindError;

    fn from_str(text: &str) -> Result<Self, RuntimeKindError> {
        let all = [Self::Wasm, Self::Python3, Self::NodeJs, Self::Provided];
        let found = all.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or(RuntimeKindError)
    }
}

/// A text that names no runtime.
#[derive(Clone, Copy, Debug, Error)]
#[error("not a runtime: there are wasm, python3, nodejs and provided")]
pub struct RuntimeKindError;

#[cfg(test)]
mod tests {
    use super::RuntimeKind::{self, NodeJs, Provided, Python3, Wasm};

    #[test]
    fn names_are_read_as_they_are_shown() {
        for kind in [Wasm, Python3, NodeJs, Provided] {
            assert_eq!(kind.to_string().parse::<RuntimeKind>().unwrap(), kind);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
        }
        let error = "python".parse::<RuntimeKind>().unwrap_err().to_string();
        assert!(error.contains("python3"), "{error}");
    }

    #[test]
    fn files_tell_what_runs_them() {
        let told = |files: &[&str]| RuntimeKind::told_from(files.iter().copied());
        assert_eq!(told(&["f.py", "data.json"]), [Python3]);
        assert_eq!(told(&["index.mjs"]), [NodeJs]);
        assert_eq!(told(&["package.json", "src/app.js"]), [NodeJs]);
        assert_eq!(told(&["lib/x.py", "bootstrap"]), [Provided, Python3]);
        assert_eq!(told(&["package.json", "app.py"]), [Python3, NodeJs]);
        assert_eq!(
            told(&["index.js", "node_modules/gyp/a.py"]),
            [NodeJs, Python3]
        );
        assert_eq!(told(&["src/app.py"]), [Python3]);
        assert_eq!(told(&["README", "bin/bootstrap", "py", "a.pyc"]), []);
    }
}
