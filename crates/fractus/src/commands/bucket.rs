//! `fractus bucket`: make, list and remove buckets.

use std::process::ExitCode;

use clap::Subcommand;
use fractus_stdx::ByteSize;
use http::Method;
use serde_json::{Value, json};

use crate::api::{Buckets, Created, Objects};
use crate::cli::Context;
use crate::client::{Admin, encode_segment};
use crate::failure::Failure;
use crate::limits::STALL_MAX;
use crate::output::Output;
use crate::table::{Align, Table};
use crate::time::rfc3339;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a bucket, private unless told otherwise; of one that exists, change who may read it
    Create {
        /// The bucket's name
        name: String,
        /// Let the edge serve its objects to anyone, as /b/NAME/KEY
        #[arg(long)]
        public: bool,
        /// Let only functions and this command read it
        #[arg(long, conflicts_with = "public")]
        private: bool,
    },
    /// List the buckets, or the objects of one
    Ls {
        /// The bucket whose objects to list
        name: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Remove an empty bucket
    Rm {
        /// The bucket's name
        name: String,
    },
}

#[derive(clap::Args, Debug)]
struct Page {
    /// Only objects whose keys start so
    #[arg(long, default_value = "", hide_default_value = true, requires = "name")]
    prefix: String,
    /// Only objects whose keys come after this one
    #[arg(long, default_value = "", hide_default_value = true, requires = "name")]
    after: String,
    /// At most this many objects
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000)]
    limit: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    match args.action {
        Action::Create {
            name,
            public,
            private,
        } => {
            let asked = (public || private).then_some(public);
            let Created { public } = create(&admin, &name, asked).await?;
            let read = if public {
                "anyone may read it"
            } else {
                "private"
            };
            output.note(format_args!("bucket {name}: {read}"));
        }
        Action::Ls { name: None, .. } => buckets(&admin, output).await?,
        Action::Ls {
            name: Some(name),
            page,
        } => objects(&admin, output, &name, &page).await?,
        Action::Rm { name } => {
            admin.delete(&path(&name)).await?;
            output.note(format_args!("bucket {name} removed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(bucket: &str) -> String {
    format!("/v1/buckets/{}", encode_segment(bucket))
}

/// Makes a bucket, or changes who may read it; `None` leaves that as it is.
pub(crate) async fn create(
    admin: &Admin,
    name: &str,
    public: Option<bool>,
) -> Result<Created, Failure> {
    let settings = json!({"public": public});
    admin
        .call(Method::PUT, &path(name), &settings, STALL_MAX)
        .await
}

/// What stands behind a count of objects that is a lower bound.
pub(crate) fn more(capped: bool) -> &'static str {
    if capped { "+" } else { "" }
}

async fn buckets(admin: &Admin, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.json(&admin.get::<Value>("/v1/buckets").await?);
    }
    let Buckets { buckets } = admin.get("/v1/buckets").await?;
    let mut table = Table::new([
        ("BUCKET", Align::Left),
        ("READ BY", Align::Left),
        ("OBJECTS", Align::Right),
        ("SIZE", Align::Right),
    ]);
    for bucket in buckets {
        let readers = if bucket.public { "anyone" } else { "functions" };
        let more = more(bucket.objects_capped);
        table.push([
            bucket.name,
            readers.to_owned(),
            format!("{}{more}", bucket.objects),
            format!("{}{more}", ByteSize(bucket.bytes)),
        ]);
    }
    output.raw(table.to_string().as_bytes())
}

async fn objects(admin: &Admin, output: &Output, name: &str, page: &Page) -> Result<(), Failure> {
    let path = format!(
        "{}/objects?prefix={}&after={}&limit={}",
        path(name),
        encode_segment(&page.prefix),
        encode_segment(&page.after),
        page.limit
    );
    if output.json {
        return output.json(&admin.get::<Value>(&path).await?);
    }
    let Objects { objects, truncated } = admin.get(&path).await?;
    let last = objects.last().map(|object| object.key.clone());
    let mut table = Table::new([
        ("KEY", Align::Left),
        ("SIZE", Align::Right),
        ("TYPE", Align::Left),
        ("MODIFIED", Align::Left),
    ]);
    for object in objects {
        table.push([
            object.key,
            ByteSize(object.size).to_string(),
            object.content_type.unwrap_or_default(),
            rfc3339(object.modified_ms),
        ]);
    }
    output.raw(table.to_string().as_bytes())?;
    if let (true, Some(last)) = (truncated, last) {
        output.note(format_args!("there are more: add --after '{last}'"));
    }
    Ok(())
}
