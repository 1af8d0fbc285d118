//! Requests of AWS Lambda's API and their signatures, made ahead: by a script, so that what is
//! checked by us is not signed by us.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::super::Setup;
use super::super::fractus::Node;

/// A request that is to be signed.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    method: &'a str,
    target: String,
    headers: BTreeMap<&'a str, &'a str>,
    body: String,
}

impl<'a> Request<'a> {
    pub(super) fn get(target: impl Into<String>) -> Self {
        Self {
            method: "GET",
            target: target.into(),
            headers: BTreeMap::new(),
            body: String::new(),
        }
    }

    pub(super) fn post(target: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            method: "POST",
            target: target.into(),
            headers: BTreeMap::from([("content-type", "application/json")]),
            body: body.into(),
        }
    }

    /// A call of a function.
    pub(super) fn invoke(function: &str, event: impl Into<String>) -> Self {
        Self::post(
            format!("/2015-03-31/functions/{function}/invocations"),
            event,
        )
    }

    /// A call that nobody waits for.
    pub(super) fn event(function: &str, event: impl Into<String>) -> Self {
        Self::invoke(function, event).header("x-amz-invocation-type", "Event")
    }

    fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// As it is sent, without a signature.
    pub(super) fn plain(&self, host: &str) -> String {
        let fields = self.headers.iter();
        let fields = fields.map(|(name, value)| format!("{name}: {value}"));
        let host = format!("host: {host}");
        self.whole(std::iter::once(host).chain(fields))
    }

    fn whole(&self, fields: impl Iterator<Item = String>) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for field in fields {
            text += &field;
            text += "\r\n";
        }
        text + &format!("content-length: {}\r\n\r\n{}", self.body.len(), self.body)
    }
}

/// The script at work.
#[derive(Debug)]
pub(super) struct Signer {
    child: Child,
    /// Taken when it is to end.
    requests: Option<ChildStdin>,
    heads: BufReader<ChildStdout>,
}

impl Signer {
    /// Signs with a node's credentials for its api listener.
    pub(super) fn start(setup: &Setup<'_>, node: &Node) -> Result<Self> {
        let mut child = Command::new("python3")
            .arg(setup.root.join("crates/xtask/src/bench/sign.py"))
            .arg(node.credentials())
            .arg(node.api.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3")?;
        let heads = BufReader::new(child.stdout.take().expect("it was piped"));
        Ok(Self {
            requests: child.stdin.take(),
            child,
            heads,
        })
    }

    /// The request as it is sent, good for five minutes.
    pub(super) fn sign(&mut self, request: &Request<'_>) -> Result<String> {
        let line = serde_json::to_string(request)? + "\n";
        let requests = self.requests.as_mut().expect("taken at the end only");
        requests.write_all(line.as_bytes()).context("sign.py")?;
        let mut line = String::new();
        ensure!(self.heads.read_line(&mut line)? > 0, "sign.py has ended");
        let fields: Vec<String> = serde_json::from_str(&line).with_context(|| line.clone())?;
        Ok(request.whole(fields.into_iter()))
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // At the end of its input it ends.
        drop(self.requests.take());
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn a_request_is_written_whole() {
        let expect = "POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nhost: h:1\r\n\
                      content-type: application/json\r\nx-amz-invocation-type: Event\r\n\
                      content-length: 2\r\n\r\n{}";
        assert_eq!(Request::event("f", "{}").plain("h:1"), expect);
    }
}
