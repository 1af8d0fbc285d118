//! `fractus deploy`: from a project to a version that answers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fractus_func::{FunctionName, Manifest, RuntimeKind};
use fractus_stdx::ByteSize;
use http::Method;
use serde_json::{Value, json};

use crate::api::Deployed;
use crate::cli::Context;
use crate::client::Admin;
use crate::failure::Failure;
use crate::limits::COMPILE_MAX;
use crate::output::Output;
use crate::project::{Given, Project};
use crate::time::micros;

const EXAMPLES: &str = "\
Examples:
  fractus deploy examples/hello         a directory with a fractus.toml
  fractus deploy .                      a Cargo project needs none, nor does a directory with
                                        f.py, app.py, index.js or a program named bootstrap
  fractus deploy f.py                   one file of Python or Node code
  fractus deploy app.zip --handler app.lambda_handler --timeout 60
  fractus deploy app.wasm --name app --env MODE=test --memory 64

What runs it is told from the files. A requirements.txt among Python files is installed on the
node, each package once.";

/// What a flag says goes before the manifest.
#[derive(clap::Args, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A .wasm component, a .zip archive, a file or directory of code, or a directory with a
    /// fractus.toml or Cargo.toml
    path: PathBuf,
    /// The function's name [default: the manifest's, the package's, the file's or directory's]
    #[arg(long)]
    name: Option<FunctionName>,
    /// What runs it: wasm, python3, nodejs or provided [default: told from the files]
    #[arg(long)]
    runtime: Option<RuntimeKind>,
    /// What is called, such as app.handler [default: found by the usual names]
    #[arg(long, value_name = "MODULE.FUNCTION")]
    handler: Option<String>,
    /// Set an environment variable; may be given again
    #[arg(long, value_name = "K=V", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Memory of an instance, in MiB
    #[arg(long, value_name = "MB")]
    memory: Option<u32>,
    /// Wall time of a call, in seconds
    #[arg(long, value_name = "S")]
    timeout: Option<f64>,
}

impl Args {
    /// Those of a project that is deployed as its manifest says.
    pub(crate) fn plain(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }

    fn change(self, manifest: &mut Manifest) {
        manifest.env.extend(self.env);
        let limits = &mut manifest.limits;
        limits.memory_mb = self.memory.unwrap_or(limits.memory_mb);
        limits.timeout_s = self.timeout.unwrap_or(limits.timeout_s);
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    // First, because a build takes long: is there a node at all?
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    let answer = deploy(&admin, output, args).await?;
    if output.json {
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Deployed {
        name,
        version,
        size,
        compiled_size,
        compile_ms,
        runtime,
        packages,
        urls,
    } = read(answer)?;
    let took = match compile_ms {
        0 => "before".to_owned(),
        ms => format!("in {}", micros(ms * 1000)),
    };
    let size = ByteSize(size);
    let what = match runtime {
        RuntimeKind::Wasm => format!("{size}, compiled to {} {took}", ByteSize(compiled_size)),
        native => {
            let packages = match packages {
                0 => String::new(),
                1 => ", 1 package".to_owned(),
                several => format!(", {several} packages"),
            };
            format!("{native}, {size}{packages}, prepared {took}")
        }
    };
    output.line(format_args!("{name} version {version}: {what}"))?;
    urls.iter()
        .try_for_each(|url| output.line(format_args!("  {url}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Builds, sends and compiles a project; returns what the node answers.
pub(crate) async fn deploy(admin: &Admin, output: &Output, args: Args) -> Result<Value, Failure> {
    let given = Given {
        name: args.name.clone(),
        runtime: args.runtime,
        handler: args.handler.clone(),
    };
    let mut project = Project::find(&args.path, given)?;
    args.change(&mut project.manifest);
    project
        .manifest
        .check()
        .map_err(|error| Failure::new("the function cannot be deployed").because(&error))?;
    let artifact = project.build(output)?;
    let name = project.manifest.name.as_str();
    let path = format!("/v1/functions/{name}/versions");
    let version = json!({"manifest": project.manifest, "artifact": artifact.digest});
    let post = || admin.call(Method::POST, &path, &version, COMPILE_MAX);
    let doing = if artifact.is_archive() {
        "preparing"
    } else {
        "compiling"
    };
    // The node may have the artifact already, compiled.
    match post().await {
        Err(failure) if failure.is_refusal("no-such-artifact") => {}
        answer => return answer,
    }
    artifact.send(admin, output).await?;
    let spinner = output.spinner(&format!("{doing} {name}"));
    let answer = post().await;
    spinner.finish_and_clear();
    answer
}

/// What the node says of a version that it made.
pub(crate) fn read(answer: Value) -> Result<Deployed, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| Failure::new("the node's answer is not understood").because(&error))
}

#[cfg(test)]
mod tests {
    use fractus_func::Manifest;

    use super::{Args, variable};

    #[test]
    fn variables() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(variable("A=b=c"), pair("A", "b=c"));
        assert_eq!(variable("A="), pair("A", ""));
        assert!(variable("A").is_err());
        assert!(variable("=b").is_err());
    }

    #[test]
    fn flags_go_before_the_manifest() {
        let mut manifest = Manifest::from_toml(
            "name = \"x\"\n[limits]\nmemory_mb = 16\n[env]\nA = \"1\"\nB = \"2\"\n",
        )
        .unwrap();
        let args = Args {
            env: vec![("B".to_owned(), "3".to_owned())],
            timeout: Some(1.5),
            ..Args::default()
        };
        args.change(&mut manifest);
        assert_eq!(
            (manifest.env["A"].as_str(), manifest.env["B"].as_str()),
            ("1", "3")
        );
        assert_eq!(manifest.limits.memory_mb, 16);
        assert!((manifest.limits.timeout_s - 1.5).abs() < f64::EPSILON);
    }
}
