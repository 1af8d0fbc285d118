//! A component or an archive: checked as far as can be told without compiling it, then sent.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read as _, Seek as _};
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
use crate::project::Packed;

/// What every WebAssembly file starts with.
const WASM: &[u8] = b"\0asm";
/// What a zip archive starts with, be it empty or not.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// Version 1 of layer 0: a core module. Components are layer 1.
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// An artifact that may be sent.
#[derive(Debug)]
pub(crate) struct Artifact {
    content: Content,
    is_archive: bool,
    name: String,
    size: u64,
    /// SHA-256, in hexadecimal.
    pub(crate) digest: String,
}

#[derive(Debug)]
enum Content {
    File(File),
    Bytes(Vec<u8>),
}

impl Artifact {
    /// Takes what was packed.
    pub(crate) fn packed(packed: Packed) -> Self {
        let Packed { name, zip } = packed;
        Self {
            is_archive: true,
            name,
            size: zip.len() as u64,
            digest: Hex(&Sha256::digest(&zip)).to_string(),
            content: Content::Bytes(zip),
        }
    }

    /// Whether it is an archive rather than a component.
    pub(crate) fn is_archive(&self) -> bool {
        self.is_archive
    }

    /// Takes the file at `path`, if it may be one.
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
                refuse(format!("it has {size}, and an artifact may have {most}")).hint(
                    "build in release mode with `strip = true`, list Python packages in \
                     requirements.txt in place of packing them, and keep data in a bucket",
                ),
            );
        }
        let mut head = Vec::new();
        file.by_ref()
            .take(8)
            .read_to_end(&mut head)
            .map_err(unreadable)?;
        let is_archive = ZIP.iter().any(|magic| head.starts_with(magic));
        if !is_archive && !head.starts_with(WASM) {
            return Err(refuse(
                "it is not WebAssembly, nor a zip archive: it starts with neither \\0asm nor PK"
                    .to_owned(),
            )
            .hint("name the .wasm or .zip file that the build makes, or the project's directory"));
        }
        if !is_archive && head[WASM.len()..] == *CORE_MODULE {
            return Err(refuse("it is a core module, not a component".to_owned())
                .hint("build for wasm32-wasip2, or wrap it with `wasm-tools component new`"));
        }
        file.rewind().map_err(unreadable)?;
        let digest = digest(&file).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self {
            content: Content::File(file),
            is_archive,
            name: name.to_string_lossy().into_owned(),
            size,
            digest,
        })
    }

    /// Sends it to the node.
    pub(crate) async fn send(self, admin: &Admin, output: &Output) -> Result<(), Failure> {
        let bar = output.bar(&format!("uploading {}", self.name), Some(self.size));
        let pace = Pace::default();
        let size = Some(self.size);
        let body = match self.content {
            Content::File(file) => {
                from_reader(tokio::fs::File::from_std(file), size, bar.clone(), &pace)
            }
            Content::Bytes(bytes) => from_reader(Cursor::new(bytes), size, bar.clone(), &pace),
        };
        let media_type = if self.is_archive {
            "application/zip"
        } else {
            "application/wasm"
        };
        let request = admin
            .request(Method::PUT, &format!("/v1/artifacts/{}", self.digest))
            .header(CONTENT_TYPE, media_type)
            .body(body);
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
    use crate::project::Packed;

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
    fn an_archive_is_taken_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.zip");
        fs::write(&path, b"PK\x03\x04 and more").unwrap();
        let opened = Artifact::open(&path).unwrap();
        let packed = Artifact::packed(Packed {
            name: "x".to_owned(),
            zip: b"PK\x03\x04 and more".to_vec(),
        });
        assert!(opened.is_archive() && packed.is_archive());
        assert_eq!(opened.digest, packed.digest);
        assert_eq!(opened.size, packed.size);
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
