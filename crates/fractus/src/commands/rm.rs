//! `fractus rm`: functions and objects go.

use std::process::ExitCode;
use std::str::FromStr;

use fractus_func::FunctionName;

use crate::cli::Context;
use crate::client::Admin;
use crate::failure::Failure;
use crate::remote::Remote;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Functions by name, objects as `fractus://BUCKET/KEY`
    #[arg(required = true, value_name = "NAME")]
    targets: Vec<Target>,
}

#[derive(Clone, Debug)]
enum Target {
    Function(FunctionName),
    Object(Remote),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !Remote::is_meant(text) {
            return match text.parse::<FunctionName>() {
                Ok(name) => Ok(Self::Function(name)),
                Err(error) => Err(error.to_string()),
            };
        }
        match text.parse::<Remote>()? {
            remote if remote.file_name().is_none() => Err(format!(
                "{remote} names no object; buckets go with `fractus bucket rm`"
            )),
            remote => Ok(Self::Object(remote)),
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    for target in &args.targets {
        let (path, shown) = match target {
            Target::Function(name) => {
                (format!("/v1/functions/{}", name.as_str()), name.to_string())
            }
            Target::Object(remote) => (remote.path(), remote.to_string()),
        };
        let deleted = match target {
            Target::Function(_) => admin.delete(&path).await,
            // What is not there cannot have been meant.
            Target::Object(remote) => admin.delete_present(&path).await.map_err(|failure| {
                if failure.is_refusal("precondition-failed") {
                    Failure::new(format!("there is no object {remote}")).hint(format!(
                        "`fractus bucket ls {}` shows what is there",
                        remote.bucket
                    ))
                } else {
                    failure
                }
            }),
        };
        deleted?;
        context.output.note(format_args!("{shown} removed"));
    }
    Ok(ExitCode::SUCCESS)
}
