//! Artifacts by digest: `DIR/artifacts/SHA256.wasm`, or `.zip`, and beside each what the runtime
//! for its form compiled it to, `SHA256.FINGERPRINT.compiled`.
//!
//! A file under its final name is whole and on disk. Nothing here knows which function uses what.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fractus_func::limits::ARTIFACT_MAX;
use fractus_func::{CompileError, Description, Identity, LoadError, Manifest, Program, Runtime};
use fractus_stdx::Hex;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::durable;
use crate::runtimes::{Form, Runtimes};

/// Compilations at once: each uses all processors already.
const COMPILATIONS: usize = 1;

/// The SHA-256 of an artifact; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

/// A text that is no digest.
#[derive(Clone, Copy, Debug, Error)]
#[error("not a SHA-256 digest: expected 64 lower-case hexadecimal digits")]
pub(crate) struct DigestError;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digit = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if text.len() != 64 || !text.as_bytes().iter().all(digit) {
            return Err(DigestError);
        }
        let byte = |at: usize| {
            u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("two hexadecimal digits")
        };
        Ok(Self(std::array::from_fn(byte)))
    }
}

/// The artifacts' folder.
#[derive(Debug)]
pub(crate) struct Artifacts {
    folder: PathBuf,
    runtimes: Runtimes,
    compiling: Arc<Semaphore>,
    /// Numbers the files that have no final name yet.
    temporaries: AtomicU64,
}

/// An artifact that is there in both forms.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "the names that the admin API gives them"
)]
pub(crate) struct Compiled {
    /// Bytes of the artifact.
    pub(crate) size: u64,
    /// Bytes of its compiled form.
    pub(crate) compiled_size: u64,
    /// How long the compilation took; 0 when it was done before.
    pub(crate) compile_ms: u64,
}

/// What a compilation may make do with.
#[derive(Clone, Copy, Debug)]
enum Reuse {
    /// A compiled form that is there.
    Found,
    Nothing,
}

/// An artifact that cannot be taken, compiled or found.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// There is no such artifact.
    #[error("there is no artifact {artifact}")]
    Missing {
        /// Its digest.
        artifact: String,
    },
    /// More bytes than an artifact may have.
    #[error("an artifact has at most {ARTIFACT_MAX} bytes")]
    TooLarge,
    /// The bytes are not those of the digest.
    #[error("the bytes have the SHA-256 {found}, not {expected}")]
    Mismatch {
        /// The digest announced.
        expected: String,
        /// The digest of what arrived.
        found: String,
    },
    /// It is no function.
    #[error("the artifact cannot become a function")]
    Invalid(#[source] CompileError),
    /// The disk failed or is full.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Gone,
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> ArtifactError + 'a {
    move |source| ArtifactError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn source(folder: &Path, artifact: Digest, form: Form) -> PathBuf {
    folder.join(format!("{artifact}.{}", form.extension()))
}

impl Artifacts {
    /// The artifacts in `folder`, compiled by `runtimes`. Removes what uploads and
    /// compilations left unfinished.
    pub(crate) fn open(folder: PathBuf, runtimes: Runtimes) -> Result<Self, ArtifactError> {
        let artifacts = Self {
            folder,
            runtimes,
            compiling: Arc::new(Semaphore::new(COMPILATIONS)),
            temporaries: AtomicU64::new(0),
        };
        artifacts.sweep(|path| {
            let known = |extension| {
                extension == "compiled"
                    || Form::ALL.iter().any(|form| extension == form.extension())
            };
            !path.extension().is_some_and(known)
        })?;
        Ok(artifacts)
    }

    /// Removes all that belongs to none of `used`, and all that was compiled by another runtime.
    pub(crate) fn retain(&self, used: &BTreeSet<Digest>) -> Result<(), ArtifactError> {
        let files = |artifact: &Digest| [self.source(*artifact), self.compiled(*artifact)];
        let kept: BTreeSet<_> = used.iter().flat_map(files).collect();
        self.sweep(|path| !kept.contains(path))
    }

    /// Has the runtimes give up what they keep of artifacts that are not in `used`. Comes after
    /// those have been compiled, so that nothing is made anew that is there.
    pub(crate) fn retain_in_runtimes(&self, used: &BTreeSet<Digest>) {
        for form in Form::ALL {
            let Ok(runtime) = self.runtimes.of(form) else {
                continue;
            };
            let of_form = used.iter().filter(|artifact| self.form(**artifact) == form);
            let compiled = of_form.map(|artifact| self.compiled_as(*artifact, form));
            let there: Vec<_> = compiled.filter(|path| path.exists()).collect();
            runtime.retain(&there);
        }
    }

    fn sweep(&self, is_garbage: impl Fn(&Path) -> bool) -> Result<(), ArtifactError> {
        let list = io_error("list", &self.folder);
        for entry in fs::read_dir(&self.folder).map_err(&list)? {
            let path = entry.map_err(&list)?.path();
            if is_garbage(&path) {
                durable::remove(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Where an artifact of this form lies.
    fn source_as(&self, artifact: Digest, form: Form) -> PathBuf {
        source(&self.folder, artifact, form)
    }

    /// Where an artifact lies.
    fn source(&self, artifact: Digest) -> PathBuf {
        self.source_as(artifact, self.form(artifact))
    }

    /// What an artifact is; WebAssembly if it is not there.
    fn form(&self, artifact: Digest) -> Form {
        let other = [Form::Zip].into_iter();
        let mut there = other.filter(|form| self.source_as(artifact, *form).exists());
        there.next().unwrap_or(Form::Wasm)
    }

    fn compiled_as(&self, artifact: Digest, form: Form) -> PathBuf {
        let fingerprint = self.runtimes.fingerprint(form);
        self.folder
            .join(format!("{artifact}.{fingerprint}.compiled"))
    }

    /// Where its compiled form lies.
    pub(crate) fn compiled(&self, artifact: Digest) -> PathBuf {
        self.compiled_as(artifact, self.form(artifact))
    }

    /// Tells what a compiled artifact is, and checks that it and a manifest go together. Blocks.
    pub(crate) fn describe(
        &self,
        artifact: Digest,
        manifest: &Manifest,
    ) -> Result<Description, ArtifactError> {
        let form = self.form(artifact);
        let runtime = self.runtimes.of(form).map_err(ArtifactError::Invalid)?;
        let described = runtime.describe(&self.compiled_as(artifact, form), manifest);
        described.map_err(ArtifactError::Invalid)
    }

    /// Has memory given back that waits for calls of functions; false when there is none.
    pub(crate) fn reclaim(&self) -> bool {
        self.runtimes.reclaim()
    }

    /// Loads the compiled form of an artifact. Blocks.
    pub(crate) fn load(
        &self,
        artifact: Digest,
        manifest: &Manifest,
        identity: &Identity,
    ) -> Result<Arc<dyn Program>, LoadError> {
        let form = self.form(artifact);
        let compiled = self.compiled_as(artifact, form);
        match self.runtimes.of(form) {
            Ok(runtime) => runtime.load(&compiled, manifest, identity),
            Err(why) => Err(LoadError {
                path: compiled.display().to_string(),
                reason: why.to_string(),
            }),
        }
    }

    /// An artifact's bytes. Blocks.
    pub(crate) fn read(&self, artifact: Digest) -> Result<Vec<u8>, ArtifactError> {
        let path = self.source(artifact);
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// The size of an artifact, if it is there.
    pub(crate) fn size(&self, artifact: Digest) -> Option<u64> {
        fs::metadata(self.source(artifact))
            .ok()
            .map(|file| file.len())
    }

    /// The size of its compiled form, if it is there.
    pub(crate) fn compiled_size(&self, artifact: Digest) -> Option<u64> {
        fs::metadata(self.compiled(artifact))
            .ok()
            .map(|file| file.len())
    }

    /// A name for a file of `artifact` that no other has; [`Artifacts::open`] removes what a crash
    /// leaves under it.
    fn temporary(&self, artifact: Digest) -> PathBuf {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{artifact}.{number}.new"))
    }

    /// Begins to take an artifact.
    pub(crate) async fn upload(&self, artifact: Digest) -> Result<Upload, ArtifactError> {
        let path = self.temporary(artifact);
        let file = File::create_new(&path).await;
        let file = file.map_err(io_error("create", &path))?;
        Ok(Upload {
            file,
            temporary: Temporary(path),
            hash: Sha256::new(),
            size: 0,
            head: Vec::with_capacity(Form::MAGIC),
            artifact,
            folder: self.folder.clone(),
        })
    }

    /// Keeps an artifact that is in memory, unless it is there already; durable when this returns.
    pub(crate) async fn keep(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let artifact = Digest(Sha256::digest(bytes).into());
        if self.size(artifact).is_none() {
            let mut upload = self.upload(artifact).await?;
            upload.write(bytes).await?;
            upload.finish().await?;
        }
        Ok(artifact)
    }

    /// Compiles an artifact unless that was done before.
    pub(crate) async fn compile(&self, artifact: Digest) -> Result<Compiled, ArtifactError> {
        self.compiled_by(artifact, Reuse::Found).await
    }

    /// Compiles an artifact in any case, in place of a compiled form that cannot be loaded.
    pub(crate) async fn compile_anew(&self, artifact: Digest) -> Result<Compiled, ArtifactError> {
        self.compiled_by(artifact, Reuse::Nothing).await
    }

    async fn compiled_by(&self, artifact: Digest, reuse: Reuse) -> Result<Compiled, ArtifactError> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.or(Err(ArtifactError::Gone))?;
        let size = self.size(artifact).ok_or_else(|| ArtifactError::Missing {
            artifact: artifact.to_string(),
        })?;
        if let (Reuse::Found, Some(compiled_size)) = (reuse, self.compiled_size(artifact)) {
            return Ok(Compiled {
                size,
                compiled_size,
                compile_ms: 0,
            });
        }
        let form = self.form(artifact);
        let runtime = self.runtimes.of(form).map_err(ArtifactError::Invalid)?;
        let runtime = Arc::clone(runtime);
        let source = self.source_as(artifact, form);
        let target = self.compiled_as(artifact, form);
        let temporary = Temporary(self.temporary(artifact));
        let begin = Instant::now();
        let work = move || {
            // A compilation cannot be broken off: it counts until its end, whoever goes away.
            let _permit = permit;
            compile(runtime.as_ref(), &source, &temporary.0, &target)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let compiled_size = done.unwrap_or(Err(ArtifactError::Gone))?;
        Ok(Compiled {
            size,
            compiled_size,
            compile_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Removes an artifact, what it was compiled to, and what the runtime keeps of it.
    pub(crate) fn remove(&self, artifact: Digest) -> Result<(), ArtifactError> {
        let form = self.form(artifact);
        let compiled = self.compiled_as(artifact, form);
        if compiled.exists() {
            self.runtimes.forget(form, &compiled);
        }
        for path in [compiled, self.source_as(artifact, form)] {
            durable::remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }
}

fn compile(
    runtime: &dyn Runtime,
    source: &Path,
    temporary: &Path,
    target: &Path,
) -> Result<u64, ArtifactError> {
    let artifact = fs::read(source).map_err(io_error("read", source))?;
    let compiled = runtime.compile(&artifact).map_err(|error| match error {
        CompileError::Io {
            action,
            path,
            source,
        } => ArtifactError::Io {
            action,
            path,
            source,
        },
        invalid => ArtifactError::Invalid(invalid),
    })?;
    durable::write(temporary, target, &compiled, 0o600).map_err(io_error("write", target))?;
    Ok(compiled.len() as u64)
}

/// A file that goes with the value, unless it has got another name by then.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nobody is left to be told; the next start removes it.
        drop(fs::remove_file(&self.0));
    }
}

/// An artifact on its way in. Dropping it abandons it.
#[derive(Debug)]
pub(crate) struct Upload {
    file: File,
    temporary: Temporary,
    hash: Sha256,
    size: usize,
    /// The first bytes, which tell the form.
    head: Vec<u8>,
    artifact: Digest,
    /// Where it gets its final name.
    folder: PathBuf,
}

impl Upload {
    /// Takes the next bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.size += bytes.len();
        if self.size > ARTIFACT_MAX {
            return Err(ArtifactError::TooLarge);
        }
        self.hash.update(bytes);
        let missing = Form::MAGIC - self.head.len();
        self.head.extend(bytes.iter().take(missing));
        let written = self.file.write_all(bytes).await;
        written.map_err(io_error("write", &self.temporary.0))
    }

    /// Checks the digest and keeps the artifact; durable when this returns. Answers its size.
    pub(crate) async fn finish(mut self) -> Result<usize, ArtifactError> {
        let found = Digest(self.hash.finalize().into());
        if found != self.artifact {
            return Err(ArtifactError::Mismatch {
                expected: self.artifact.to_string(),
                found: found.to_string(),
            });
        }
        let synced = async {
            self.file.flush().await?;
            self.file.sync_all().await
        };
        synced.await.map_err(io_error("write", &self.temporary.0))?;
        let target = source(&self.folder, self.artifact, Form::of(&self.head));
        let publish = move || {
            let published = durable::publish(&self.temporary.0, &target);
            published.map_err(io_error("write", &target))
        };
        let done = tokio::task::spawn_blocking(publish).await;
        done.unwrap_or(Err(ArtifactError::Gone))?;
        Ok(self.size)
    }
}

#[cfg(test)]
mod tests;
