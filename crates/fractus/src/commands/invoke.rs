//! `fractus invoke`: calls a function through the edge, as any client would.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use fractus_func::FunctionName;
use fractus_func::trace::{SpanId, TraceContext, TraceId};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use indicatif::ProgressBar;
use tokio::fs::File;
use tokio::io::{stdin, stdout};

use crate::cli::Context;
use crate::client::{
    Admin, Body, Pace, copy, empty, find, from_bytes, from_reader, header, send, url,
};
use crate::commands::trace::show_fresh;
use crate::failure::Failure;
use crate::limits::INVOKE_MAX;
use crate::output::Output;
use crate::remote::content_type;

const EXAMPLES: &str = "\
Examples:
  fractus invoke hello
  fractus invoke echo --data '{\"a\": 1}' -v
  fractus invoke hello --trace                         see `fractus trace --help`
  fractus invoke resize --path '/cat.jpg?w=320' > small.jpg
  fractus --data DIR invoke hello --data @body.json    DIR is the node's data directory

The body goes to standard output. The exit code is 1 if the call failed, whatever the function
itself answered otherwise.";

/// The W3C's field (Trace Context §3.2).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The function
    name: FunctionName,
    /// What to send: text, @FILE, or - for standard input
    #[arg(id = "input", long = "data", short = 'd', value_name = "BODY")]
    input: Option<Input>,
    /// A header to send; may be given again. JSON is taken for the type of --data
    #[arg(long, short = 'H', value_name = "K: V", value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The method [default: POST with --data, else GET]
    #[arg(long, short = 'X', value_name = "M")]
    method: Option<Method>,
    /// Path and query after /run/NAME
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    path: String,
    /// Show status and headers on standard error
    #[arg(long, short)]
    verbose: bool,
    /// Trace the call, and show on standard error what happened when and what it cost
    #[arg(long)]
    trace: bool,
    /// Write the trace to a file, in the form of Chrome's trace events
    #[arg(long, value_name = "FILE", requires = "trace")]
    chrome: Option<PathBuf>,
    /// The node's data directory, as `fractus --data DIR` before the command also says
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Input {
    Text(String),
    File(PathBuf),
    Standard,
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        match text.strip_prefix('@') {
            _ if text == "-" => Self::Standard,
            Some(path) => Self::File(PathBuf::from(path)),
            None => Self::Text(text.to_owned()),
        }
    }
}

impl Input {
    fn content_type(&self) -> &'static str {
        match self {
            Self::File(path) => content_type(path),
            Self::Text(_) | Self::Standard => "application/json",
        }
    }

    async fn body(&self, pace: &Pace) -> Result<Body, Failure> {
        Ok(match self {
            Self::Text(text) => from_bytes(text.clone()),
            Self::Standard => from_reader(stdin(), None, ProgressBar::hidden(), pace),
            Self::File(path) => {
                let (file, size) = open(path).await.map_err(|error| {
                    Failure::new(format!("cannot read {}", path.display())).because(&error)
                })?;
                from_reader(file, size, ProgressBar::hidden(), pace)
            }
        })
    }
}

async fn open(path: &Path) -> std::io::Result<(File, Option<u64>)> {
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| "write `Name: value`".to_owned())?;
    let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    let value = HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let node = find(context.data())?;
    // Who may not read traces is told so before the call.
    let admin = args
        .trace
        .then(|| Admin::connect(context.data()))
        .transpose()?;
    let pace = Pace::default();
    let target = url(node.edge, &path(&args));
    let mut request = request(&args, &target, &pace).await?;
    if args.trace {
        ask_for_trace(request.headers_mut());
    }
    let response = send(request, &pace, INVOKE_MAX).await?;
    if args.verbose {
        show_head(&context.output, &response);
    }
    let head = response.headers();
    let id = header(head, "x-request-id").unwrap_or_default().to_owned();
    let is_cached = header(head, "cache-status").is_some_and(|status| status.contains("; hit"));
    let called = answer(args.name.as_str(), response).await;
    match admin {
        Some(_) if is_cached => context.output.note("the cache answered: no function ran"),
        Some(admin) => {
            let shown = show_fresh(context, &admin, &id, args.chrome.as_deref()).await;
            // What went wrong with the call comes first.
            return called.and_then(|code| shown.map(|()| code));
        }
        None => {}
    }
    called
}

/// Asks for a trace, unless the user did in other words.
fn ask_for_trace(headers: &mut HeaderMap) {
    if headers.contains_key(TRACEPARENT) {
        return;
    }
    // The keys of a hash map are random.
    let random = || RandomState::new().build_hasher().finish();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let trace = TraceId::new(now_ms, u128::from(random()) << 64 | u128::from(random()));
    let context = TraceContext::new(trace).within(SpanId::new(random()));
    let field = context
        .to_traceparent()
        .and_then(|text| HeaderValue::try_from(text).ok());
    headers.insert(
        TRACEPARENT,
        field.expect("there is a parent, and digits are ASCII"),
    );
}

/// Writes an answer out; a failed call is a failure.
async fn answer(name: &str, response: Response<Incoming>) -> Result<ExitCode, Failure> {
    let status = response.status();
    let error = header(response.headers(), "x-fractus-error").map(str::to_owned);
    let id = header(response.headers(), "x-request-id").map(str::to_owned);
    let look =
        format!("`fractus logs {name}` shows what it wrote, `fractus usage {name}` what it took");
    copy(response.into_body(), &mut stdout(), &ProgressBar::hidden())
        .await
        .map_err(|failure| failure.or_hint(look.as_str()))?;
    let Some(error) = error else {
        return Ok(ExitCode::SUCCESS);
    };
    let hint = match error.as_str() {
        "no-route" => "`fractus ls` shows what is deployed",
        _ => &look,
    };
    let id = id.unwrap_or_default();
    Err(Failure::new(format!("the call of {name} failed"))
        .why(format!("{error}, status {status}, request {id}"))
        .hint(hint))
}

/// Where the call goes on the edge.
fn path(args: &Args) -> String {
    let slash = if args.path.is_empty() || args.path.starts_with(['/', '?']) {
        ""
    } else {
        "/"
    };
    format!("/run/{}{slash}{}", args.name.as_str(), args.path)
}

async fn request(args: &Args, target: &str, pace: &Pace) -> Result<Request<Body>, Failure> {
    let (default, body) = match &args.input {
        Some(input) => (Method::POST, input.body(pace).await?),
        None => (Method::GET, empty()),
    };
    let mut request = Request::builder()
        .method(args.method.clone().unwrap_or(default))
        .uri(target)
        .body(body)
        .map_err(|error| {
            Failure::usage(format!("{target} is no URL"))
                .because(&error)
                .hint("percent-encode what is not plain ASCII in --path")
        })?;
    let headers = request.headers_mut();
    if let Some(input) = &args.input {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(input.content_type()));
    }
    for (name, value) in &args.header {
        if headers.contains_key(name) && *name == CONTENT_TYPE {
            headers.remove(name);
        }
        headers.append(name, value.clone());
    }
    Ok(request)
}

fn show_head(output: &Output, response: &Response<Incoming>) {
    output.note(format_args!(
        "{:?} {}",
        response.version(),
        response.status()
    ));
    for (name, value) in response.headers() {
        output.note(format_args!(
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    output.note("");
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Input, parse_header};

    #[test]
    fn headers() {
        let (name, value) = parse_header("X-Time:  12:30 ").unwrap();
        assert_eq!(
            (name.as_str(), value.to_str().unwrap()),
            ("x-time", "12:30")
        );
        for text in ["novalue", ": x", "a b: c", "a: b\nc: d"] {
            assert!(parse_header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn inputs() {
        assert_eq!(Input::from("-"), Input::Standard);
        assert_eq!(Input::from("@a.json"), Input::File(PathBuf::from("a.json")));
        assert_eq!(Input::from("{}"), Input::Text("{}".to_owned()));
        assert_eq!(Input::from("@a.png").content_type(), "image/png");
    }
}
