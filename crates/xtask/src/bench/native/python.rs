//! The interpreter that everybody runs, the packages of the others, and the functions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::super::contestant::argument;
use super::super::report::Report;
use super::super::{Setup, tools};
use crate::process::output;

/// A handler as AWS Lambda has them.
pub(super) const HANDLER: &str = "\
def handler(event, context):
    return {
        'statusCode': 200,
        'headers': {'content-type': 'text/plain'},
        'body': 'Hello from Fractus\\n',
    }
";

/// The same with a package that takes long to import.
pub(super) const HANDLER_BOTO3: &str = "\
import boto3


def handler(event, context):
    return {
        'statusCode': 200,
        'headers': {'content-type': 'text/plain'},
        'body': 'Hello from boto3 %s\\n' % boto3.__version__,
    }
";

/// The same answer by a WSGI application.
pub(super) const APP: &str = "\
def app(environ, start_response):
    body = b'Hello from Fractus\\n'
    start_response('200 OK', [
        ('Content-Type', 'text/plain'),
        ('Content-Length', str(len(body))),
    ])
    return [body]
";

/// A Python that has what the others need.
#[derive(Debug)]
pub(super) struct Python {
    pub(super) interpreter: PathBuf,
    /// Where its library is.
    pub(super) prefix: PathBuf,
    pub(super) version: String,
    /// Packages: the Runtime API's client, and gunicorn; None where they are not installed.
    pub(super) peers: Option<PathBuf>,
}

/// What the interpreter says of itself.
#[derive(Debug, Deserialize)]
struct Told {
    interpreter: PathBuf,
    prefix: PathBuf,
    version: String,
}

impl Python {
    pub(super) fn find(setup: &Setup<'_>, report: &mut Report) -> Result<Self> {
        const ASKED: &str = "import json, os, sys; print(json.dumps({'interpreter': \
                             os.path.realpath(sys.executable), 'prefix': sys.base_prefix, \
                             'version': sys.version.split()[0]}))";
        let text = output(Command::new("python3").args(["-I", "-c", ASKED]))?;
        let told: Told = serde_json::from_str(&text).with_context(|| text.clone())?;
        let peers = report.found(tools::AWSLAMBDARIC.find(setup));
        Ok(Self {
            interpreter: told.interpreter,
            prefix: told.prefix,
            version: told.version,
            peers: peers.and_then(|file| Some(file.parent()?.parent()?.to_owned())),
        })
    }

    /// Packages of the others.
    pub(super) fn peers(&self) -> Result<&Path> {
        self.peers.as_deref().context("it needs awslambdaric")
    }

    /// The command that serves `app.py` by the Runtime API.
    pub(super) fn runtime(&self) -> Vec<String> {
        let interpreter = argument(&self.interpreter);
        [&interpreter, "-m", "awslambdaric", "app.handler"]
            .map(str::to_owned)
            .to_vec()
    }
}

/// A package for those who have no zygote.
#[derive(Debug)]
pub(super) struct Package {
    /// The directory it is found in.
    pub(super) path: PathBuf,
    pub(super) version: String,
}

/// boto3, which takes long to import.
pub(super) fn boto3(setup: &Setup<'_>) -> Result<Package> {
    let found = tools::BOTO3.find(setup)?;
    let path = found.parent().and_then(Path::parent);
    let path = path.context("the package lies in a directory")?;
    let mut version = None;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let own = name.strip_prefix("boto3-");
        version = version.or(own.and_then(|it| it.strip_suffix(".dist-info").map(str::to_owned)));
    }
    Ok(Package {
        path: path.to_owned(),
        version: version.context("boto3 has no version")?,
    })
}

/// Writes a function's directory: its code, and what else is to be in it.
pub(in crate::bench) fn write(directory: &Path, files: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(directory)?;
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
