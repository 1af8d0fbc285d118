//! `fractus demo`: a node, a bucket, a function and the cache, seen at work on photographs.

mod row;
mod steps;

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fractus_node::Addresses;
use serde_json::json;

use crate::cli::Context;
use crate::client::{Admin, url};
use crate::commands::demo::row::Row;
use crate::commands::up::{self, Listen, LogForm, Running};
use crate::commands::{bucket, cp, deploy};
use crate::failure::Failure;
use crate::output::Output;
use crate::remote::{Remote, content_type};

const ABOUT: &str = "\
It starts a node on the data directory, stores the photographs of examples/photos in a public
bucket, deploys examples/resize, makes real HTTP requests and prints what each of them took. The
node then stays up until Ctrl-C.

With --exit the exit code is 1 if any row of the table is not what it must be.";

const BUCKET: &str = "photos";
const PHOTO: &str = "chelsea.png";

#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub(crate) struct Args {
    /// End after the table, instead of waiting for Ctrl-C
    #[arg(long)]
    exit: bool,
    /// Where the examples are [default: the `examples` of this directory or one above it]
    #[arg(long, value_name = "DIR")]
    examples: Option<PathBuf>,
    #[command(flatten)]
    listen: Listen,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let examples = match args.examples {
        Some(examples) => examples,
        None => find_examples()?,
    };
    up::log_to_stderr(LogForm::Text, "warn")?;
    let output = &context.output;
    let data = context.data();
    let config = free(args.listen, output)
        .config(Some(data.to_owned()))
        .check()
        .map_err(|error| Failure::new("the node cannot be configured so").because(&error))?;
    let mut running = Running::start(config)?;
    let addresses = running.addresses();
    let shown = running.during(show(output, data, &examples, &addresses));
    if shown.is_ok() && !args.exit {
        invite(output, &addresses)?;
        running.wait();
    }
    let stopped = running.stop();
    let wrong = wrong(&shown?);
    if wrong.is_empty() {
        return Ok(stopped);
    }
    Err(Failure::new("the demo did not go as it must").why(wrong.join("\n")))
}

/// The `examples` of a checkout, if we are in one.
fn find_examples() -> Result<PathBuf, Failure> {
    let here = env::current_dir()
        .map_err(|error| Failure::new("there is no current directory").because(&error))?;
    here.ancestors()
        .map(|directory| directory.join("examples"))
        .find(|examples| examples.join("photos").is_dir() && examples.join("resize").is_dir())
        .ok_or_else(|| {
            Failure::new("the examples are not here")
                .why("neither this directory nor one above it holds examples/photos and examples/resize")
                .hint("run it from a checkout of Fractus, or name them with --examples DIR")
        })
}

/// Takes free ports for the usual ones that are taken.
fn free(listen: Listen, output: &Output) -> Listen {
    let choose = |given: Option<SocketAddr>, port: u16| {
        given.or_else(|| match TcpListener::bind(("127.0.0.1", port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                output.note(format_args!("port {port} is taken: using a free one"));
                Some(([127, 0, 0, 1], 0).into())
            }
            _ => None,
        })
    };
    Listen {
        edge: choose(listen.edge, 8080),
        api: choose(listen.api, 9000),
        admin: choose(listen.admin, 9090),
    }
}

async fn show(
    output: &Output,
    data: &Path,
    examples: &Path,
    addresses: &Addresses,
) -> Result<Vec<Row>, Failure> {
    output.note(format_args!("a node runs on {}", data.display()));
    let admin = Admin::connect(data)?;
    bucket::create(&admin, BUCKET, Some(true)).await?;
    for path in photos(&examples.join("photos"))? {
        let to = photo(&path.file_name().unwrap_or_default().to_string_lossy());
        cp::upload(&admin, output, cp::Source::file(&path, None).await?, &to).await?;
    }
    let resize = deploy::Args::plain(&examples.join("resize"));
    deploy::deploy(&admin, output, resize).await?;
    let rows = steps::run(&admin, addresses.edge).await?;
    let wrong = wrong(&rows);
    if output.json {
        output.json(&json!({"ok": wrong.is_empty(), "node": addresses, "rows": rows}))?;
    } else {
        output.raw(row::table(&rows).as_bytes())?;
        output.line(if wrong.is_empty() {
            steps::summary(&rows)
        } else {
            wrong.join("\n")
        })?;
    }
    Ok(rows)
}

/// The pictures in a directory.
fn photos(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(format!("cannot read {}", directory.display()))
            .because(&error)
            .hint("--examples names the directory that holds photos and resize")
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if content_type(&path).starts_with("image/") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn photo(name: &str) -> Remote {
    Remote {
        bucket: BUCKET.to_owned(),
        key: name.to_owned(),
    }
}

/// What is not as it must be, one line each.
fn wrong(rows: &[Row]) -> Vec<String> {
    let lines = |row: &Row| {
        let line = |wrong| format!("✗ {}: {wrong}", row.step);
        row.wrong.iter().map(line).collect::<Vec<_>>()
    };
    rows.iter().flat_map(lines).collect()
}

fn invite(output: &Output, addresses: &Addresses) -> Result<(), Failure> {
    if output.json {
        return Ok(());
    }
    let original = url(addresses.edge, &photo(PHOTO).edge_path());
    let small = url(addresses.edge, &steps::resized(300));
    output.line(format_args!(
        "\nOpen in a browser:\n  {original}\n  {small}\n\nThe node stays up until Ctrl-C."
    ))
}
