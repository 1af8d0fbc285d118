//! `fractus cp`: files into buckets and objects out of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use fractus_stdx::ByteSize;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Response};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, stdin, stdout};

use crate::api::Stored;
use crate::cli::Context;
use crate::client::{Admin, Pace, copy, empty, from_reader, header, read};
use crate::failure::Failure;
use crate::limits::STALL_MAX;
use crate::output::Output;
use crate::remote::{Remote, content_type};

const EXAMPLES: &str = "\
Examples:
  fractus cp cat.jpg fractus://photos/cats/cat.jpg
  fractus cp cat.jpg fractus://photos/cats/       keeps the file's name
  fractus cp fractus://photos/cats/cat.jpg .
  tar c . | fractus cp - fractus://backups/today.tar";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to copy: a file, `-` for standard input, or `fractus://BUCKET/KEY`
    from: Place,
    /// Where to: `fractus://BUCKET/KEY`, a file or directory, or `-` for standard output
    to: Place,
    /// Content type of the object [default: by the file's extension]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

/// Where a copy starts or ends.
#[derive(Clone, Debug)]
enum Place {
    Object(Remote),
    Standard,
    File(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            _ if Remote::is_meant(text) => text.parse().map(Self::Object),
            "-" => Ok(Self::Standard),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let Args {
        from,
        to,
        content_type: kind,
    } = args;
    let output = &context.output;
    match (from, to) {
        (Place::Object(from), Place::Standard) => {
            let admin = Admin::connect(context.data())?;
            to_standard_output(&admin, output, &from).await?;
        }
        (Place::Object(from), Place::File(to)) => {
            let admin = Admin::connect(context.data())?;
            let (path, size) = download(&admin, output, &from, &to).await?;
            output.note(format_args!("{}: {}", path.display(), ByteSize(size)));
        }
        (Place::Standard, Place::Object(to)) => {
            if to.file_name().is_none() {
                return Err(Failure::usage(format!("{to} names no object")).hint(
                    "what comes from standard input has no name: write fractus://BUCKET/KEY",
                ));
            }
            let source = Source::standard_input(kind);
            let admin = Admin::connect(context.data())?;
            stored(output, &to, upload(&admin, output, source, &to).await?)?;
        }
        (Place::File(from), Place::Object(to)) => {
            let source = Source::file(&from, kind).await?;
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            let to = to.completed(&name);
            let admin = Admin::connect(context.data())?;
            stored(output, &to, upload(&admin, output, source, &to).await?)?;
        }
        (Place::Object(_), Place::Object(_)) | (_, Place::Standard | Place::File(_)) => {
            return Err(
                Failure::usage("one of the two places must be an object, and one not")
                    .hint("write fractus://BUCKET/KEY for the object"),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is stored.
pub(crate) struct Source {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    name: String,
    size: Option<u64>,
    content_type: String,
}

impl Source {
    /// A file, as of the type that its extension stands for unless one is given.
    pub(crate) async fn file(path: &Path, kind: Option<String>) -> Result<Self, Failure> {
        let unreadable =
            |error| Failure::new(format!("cannot read {}", path.display())).because(&error);
        let file = File::open(path).await.map_err(unreadable)?;
        let metadata = file.metadata().await.map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::new(format!("{} is a directory", path.display()))
                .hint("copy its files one by one"));
        }
        // A pipe or device has no size to tell.
        let size = metadata.is_file().then_some(metadata.len());
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self {
            reader: Box::new(file),
            name: name.to_string_lossy().into_owned(),
            size,
            content_type: kind.unwrap_or_else(|| content_type(path).to_owned()),
        })
    }

    fn standard_input(kind: Option<String>) -> Self {
        Self {
            reader: Box::new(stdin()),
            name: "standard input".to_owned(),
            size: None,
            content_type: kind.unwrap_or_else(|| "application/octet-stream".to_owned()),
        }
    }
}

/// Stores an object; returns what the node answers.
pub(crate) async fn upload(
    admin: &Admin,
    output: &Output,
    source: Source,
    to: &Remote,
) -> Result<Value, Failure> {
    let bar = output.bar(&format!("storing {}", source.name), source.size);
    let pace = Pace::default();
    let body = from_reader(source.reader, source.size, bar.clone(), &pace);
    let request = admin
        .request(Method::PUT, &to.path())
        .header(CONTENT_TYPE, source.content_type)
        .body(body);
    let response = admin.send(request, &pace, STALL_MAX).await?;
    bar.finish_and_clear();
    let answer = read(response).await?;
    serde_json::from_slice(&answer)
        .map_err(|error| Failure::new("the node's answer is not understood").because(&error))
}

fn stored(output: &Output, to: &Remote, answer: Value) -> Result<(), Failure> {
    if output.json {
        return output.json(&answer);
    }
    let Stored { size, etag } = serde_json::from_value(answer)
        .map_err(|error| Failure::new("the node's answer is not understood").because(&error))?;
    let etag = etag.map_or_else(String::new, |etag| format!(", etag {etag}"));
    output.note(format_args!("{to}: {}{etag}", ByteSize(size)));
    Ok(())
}

async fn to_standard_output(admin: &Admin, output: &Output, from: &Remote) -> Result<(), Failure> {
    let response = get(admin, from).await?;
    let bar = output.bar(&format!("reading {from}"), length(&response));
    let copied = copy(response.into_body(), &mut stdout(), &bar).await;
    bar.finish_and_clear();
    copied.map(drop).map_err(damaged)
}

/// An answer that broke off cannot say why.
fn damaged(failure: Failure) -> Failure {
    if !failure.is_broken_off() {
        return failure;
    }
    failure.or_hint(
        "the node stops where it finds damaged data, or it was stopped itself: its log says which",
    )
}

/// Where a file is to appear: a link stays one, and what it points to is replaced.
async fn behind_links(path: PathBuf) -> Result<PathBuf, Failure> {
    let is_link = fs::symlink_metadata(&path)
        .await
        .is_ok_and(|there| there.is_symlink());
    if !is_link {
        return Ok(path);
    }
    fs::canonicalize(&path).await.map_err(|error| {
        Failure::new(format!("cannot write {}", path.display()))
            .because(&error)
            .hint("it is a link that leads nowhere: remove it, or name another file")
    })
}

/// Reads an object into a file, or into a directory under its own name. A file appears whole or not
/// at all; a pipe or device is written to as it is.
async fn download(
    admin: &Admin,
    output: &Output,
    from: &Remote,
    to: &Path,
) -> Result<(PathBuf, u64), Failure> {
    let path = if to.is_dir() {
        let name = from.file_name().ok_or_else(|| {
            Failure::usage(format!("{from} names no object")).hint("write fractus://BUCKET/KEY")
        })?;
        to.join(name)
    } else {
        to.to_owned()
    };
    let unwritable =
        |error| Failure::new(format!("cannot write {}", path.display())).because(&error);
    let is_special = std::fs::metadata(&path).is_ok_and(|there| !there.is_file());
    let target = behind_links(path.clone()).await?;
    let response = get(admin, from).await?;
    let bar = output.bar(&format!("reading {from}"), length(&response));
    if is_special {
        let mut file = File::options()
            .write(true)
            .open(&path)
            .await
            .map_err(unwritable)?;
        let copied = copy(response.into_body(), &mut file, &bar).await;
        bar.finish_and_clear();
        return copied.map(|size| (path.clone(), size)).map_err(damaged);
    }
    let mut part = target.clone().into_os_string();
    part.push(format!(".part-{}", std::process::id()));
    let part = PathBuf::from(part);
    let mut file = File::create_new(&part).await.map_err(unwritable)?;
    let copied = copy(response.into_body(), &mut file, &bar).await;
    bar.finish_and_clear();
    let moved = match copied {
        Ok(size) => fs::rename(&part, &target)
            .await
            .map(|()| size)
            .map_err(unwritable),
        Err(failure) => Err(damaged(failure)),
    };
    if moved.is_err() {
        // The failure is told; what is left over matters less.
        fs::remove_file(&part).await.ok();
    }
    moved.map(|size| (path.clone(), size))
}

async fn get(admin: &Admin, from: &Remote) -> Result<Response<Incoming>, Failure> {
    let request = admin.request(Method::GET, &from.path()).body(empty());
    let answer = admin.send(request, &Pace::default(), STALL_MAX).await;
    let hint = format!("`fractus bucket ls {}` shows what is there", from.bucket);
    answer.map_err(|failure| failure.or_hint(hint))
}

fn length(response: &Response<Incoming>) -> Option<u64> {
    header(response.headers(), CONTENT_LENGTH.as_str())?
        .parse()
        .ok()
}
