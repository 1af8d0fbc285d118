//! A component as a file: checked as far as can be told without compiling it, then sent.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _};
use std::path::Path;

use fractus_func::limits::ARTIFACT_MAX;
use fractus_stdx::{ByteSize, Hex};
use http::Method;
use http::header::CONTENT_TYPE;
use sha2::{Digest as _, Sha256};

use crate::client::{Admin, Pace, from_reader, read};
use crate::failure::Failure;
use crate::limits::{CHUNK, STALL_MAX};
use crate::output::Output;

/// `\0asm`, which every WebAssembly file starts with.
const MAGIC: [u8; 4] = *b"\0asm";
/// Version 1 of layer 0: a core module. Components are layer 1.
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];

/// A component that may be sent.
#[derive(Debug)]
pub(crate) struct Artifact {
    file: File,
    name: String,
    size: u64,
    /// SHA-256, in hexadecimal.
    pub(crate) digest: String,
}

impl Artifact {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let refuse =
            |why: String| Failure::new(format!("cannot deploy {}", path.display())).why(why);
        let mut file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => refuse("there is no such file".to_owned())
                .hint("build it first, or add a `build` command to fractus.toml"),
            _ => refuse(error.to_string()),
        })?;
        let unreadable = |error: std::io::Error| refuse(error.to_string());
        let size = file.metadata().map_err(unreadable)?.len();
        if size > ARTIFACT_MAX as u64 {
            let (size, most) = (ByteSize(size), ByteSize(ARTIFACT_MAX as u64));
            return Err(
                refuse(format!("it has {size}, and a component may have {most}"))
                    .hint("build in release mode with `strip = true`, and keep data in a bucket"),
            );
        }
        let mut head = Vec::new();
        file.by_ref()
            .take(8)
            .read_to_end(&mut head)
            .map_err(unreadable)?;
        if head.get(..4) != Some(MAGIC.as_slice()) {
            return Err(
                refuse("it is not WebAssembly: it does not start with \\0asm".to_owned())
                    .hint("name the .wasm file that the build makes, or the project's directory"),
            );
        }
        if head.get(4..) == Some(CORE_MODULE.as_slice()) {
            return Err(refuse("it is a core module, not a component".to_owned())
                .hint("build for wasm32-wasip2, or wrap it with `wasm-tools component new`"));
        }
        file.rewind().map_err(unreadable)?;
        let digest = digest(&file).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self {
            file,
            name: name.to_string_lossy().into_owned(),
            size,
            digest,
        })
    }

    /// Sends the component to the node.
    pub(crate) async fn send(self, admin: &Admin, output: &Output) -> Result<(), Failure> {
        let bar = output.bar(&format!("uploading {}", self.name), Some(self.size));
        let pace = Pace::default();
        let file = tokio::fs::File::from_std(self.file);
        let request = admin
            .request(Method::PUT, &format!("/v1/artifacts/{}", self.digest))
            .header(CONTENT_TYPE, "application/wasm")
            .body(from_reader(file, Some(self.size), bar.clone(), &pace));
        let response = admin.send(request, &pace, STALL_MAX).await?;
        bar.finish_and_clear();
        read(response).await.map(drop)
    }
}

fn digest(mut file: &File) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; CHUNK];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Hex(&hash.finalize()).to_string()),
            read => hash.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use fractus_func::limits::ARTIFACT_MAX;

    use super::Artifact;

    #[test]
    fn what_cannot_be_a_component_is_refused_before_it_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.wasm");
        let refused = |told: &str| {
            let failure = Artifact::open(&path).unwrap_err().to_string();
            assert!(failure.contains(told), "{failure}");
            assert!(
                failure.contains("x.wasm") && failure.contains("try: "),
                "{failure}"
            );
        };
        refused("no such file");
        fs::write(&path, b"").unwrap();
        refused("not WebAssembly");
        fs::write(&path, b"\x7fELF and more").unwrap();
        refused("not WebAssembly");
        fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        refused("core module");
        File::create(&path)
            .unwrap()
            .set_len(ARTIFACT_MAX as u64 + 1)
            .unwrap();
        refused("may have 100.0 MiB");
    }

    #[test]
    fn a_component_has_its_digest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.wasm");
        fs::write(&path, b"\0asm\x0d\0\x01\0").unwrap();
        let artifact = Artifact::open(&path).unwrap();
        assert_eq!(artifact.size, 8);
        assert_eq!(
            artifact.digest,
            "24eaf3439a60c96764c4f2c92a0a81b52bd4fe5d5b91f090184a0f6486b1bf29"
        );
    }
}
