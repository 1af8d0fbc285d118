//! A client of the AWS-compatible listener: signed requests over one connection that is kept.

use std::io::{self, BufRead as _, BufReader, Cursor, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fractus_lambda::sigv4::{Credentials, body_sha256, sign};
use http::Request;
use http::header::HOST;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::{Node, text};

/// Longest wait for the next bytes of an answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where functions are, in paths.
const FUNCTIONS: &str = "/2015-03-31/functions";

/// A client of one node's listener. A copy has a connection of its own.
#[derive(Debug)]
pub(crate) struct Aws {
    address: SocketAddr,
    credentials: Credentials,
    region: String,
    stream: Option<BufReader<TcpStream>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head, in lower case.
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, in lower case; its name is, too.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.find_map(|(own, value)| (own == name).then_some(value.trim()))
    }

    /// The body, which must be JSON and come with this status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", text(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Clone for Aws {
    fn clone(&self) -> Self {
        Self {
            address: self.address,
            credentials: self.credentials.clone(),
            region: self.region.clone(),
            stream: None,
        }
    }
}

impl Aws {
    /// A client of a node, with the node's own access key.
    pub(crate) fn of(node: &Node) -> Self {
        let file = node.file("credentials.json");
        let known = |key: &str| file[key].as_str().unwrap().to_owned();
        Self {
            address: node.address("api"),
            credentials: Credentials {
                access_key_id: known("access_key_id"),
                secret_access_key: known("secret_access_key"),
            },
            region: known("region"),
            stream: None,
        }
    }

    /// The ARN of a function.
    pub(crate) fn arn(&self, function: &str) -> String {
        format!(
            "arn:aws:lambda:{}:000000000000:function:{function}",
            self.region
        )
    }

    /// The ARN of a queue.
    pub(crate) fn queue_arn(&self, queue: &str) -> String {
        format!("arn:aws:sqs:{}:000000000000:{queue}", self.region)
    }

    /// Sends a request and reads the answer; after an error the next one has a new connection.
    pub(crate) fn send(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let request = self.signed(line, headers, body);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.get_mut().write_all(&request)?;
        let answer = read(&mut stream)?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }

    /// The bytes of a request.
    fn signed(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let digest = body_sha256(body);
        sign(
            &mut head,
            &digest,
            &self.credentials,
            &self.region,
            "lambda",
            now_s,
        )
        .unwrap();
        let mut bytes = format!("{line} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in &head.headers {
            bytes.extend([name.as_str(), ": ", value.to_str().unwrap(), "\r\n"]);
        }
        [bytes.as_bytes(), b"\r\n", body].concat()
    }

    /// `CreateFunction`: one in Python, of one file with this code, published as version 1.
    pub(crate) fn create_function(&mut self, name: &str, code: &str) -> io::Result<Answer> {
        let request = json!({
            "FunctionName": name,
            "Runtime": "python3.12",
            "Handler": "app.handler",
            "Role": "arn:aws:iam::000000000000:role/any",
            "Code": {"ZipFile": STANDARD.encode(package(code))},
            "Timeout": 20,
            "Publish": true,
        });
        self.ask(&format!("POST {FUNCTIONS}"), &request)
    }

    /// `UpdateFunctionCode`, published as a further version.
    pub(crate) fn update_code(&mut self, name: &str, code: &str) -> io::Result<Answer> {
        let request = json!({"ZipFile": STANDARD.encode(package(code)), "Publish": true});
        self.ask(&format!("PUT {FUNCTIONS}/{name}/code"), &request)
    }

    /// `UpdateFunctionConfiguration`.
    #[track_caller]
    pub(crate) fn configure(&mut self, name: &str, change: &Value) {
        let path = format!("PUT {FUNCTIONS}/{name}/configuration");
        self.ask(&path, change).unwrap().json(200);
    }

    /// `PutFunctionConcurrency`: calls beyond so many are refused.
    #[track_caller]
    pub(crate) fn reserve(&mut self, name: &str, calls: u32) {
        let path = format!("PUT /2017-10-31/functions/{name}/concurrency");
        let request = json!({"ReservedConcurrentExecutions": calls});
        self.ask(&path, &request).unwrap().json(200);
    }

    /// `ListVersionsByFunction`, without `$LATEST`: the numbers.
    #[track_caller]
    pub(crate) fn versions(&mut self, name: &str) -> Vec<u64> {
        let path = format!("GET {FUNCTIONS}/{name}/versions");
        let told = self.send(&path, &[], b"").unwrap().json(200);
        let versions = told["Versions"].as_array().unwrap().iter();
        versions
            .filter_map(|one| one["Version"].as_str().unwrap().parse().ok())
            .collect()
    }

    /// `PutFunctionEventInvokeConfig`.
    #[track_caller]
    pub(crate) fn put_event_config(&mut self, name: &str, config: &Value) {
        let path = format!("PUT /2019-09-25/functions/{name}/event-invoke-config");
        self.ask(&path, config).unwrap().json(200);
    }

    /// `Invoke`, of a type such as `Event`. After the name may come `?Qualifier=…`.
    pub(crate) fn invoke(&mut self, name: &str, kind: &str, event: &Value) -> io::Result<Answer> {
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        let line = format!("POST {FUNCTIONS}/{name}/invocations?{query}");
        let kind = [("x-amz-invocation-type", kind)];
        self.send(
            line.trim_end_matches('?'),
            &kind,
            event.to_string().as_bytes(),
        )
    }

    fn ask(&mut self, line: &str, request: &Value) -> io::Result<Answer> {
        let kind = [("content-type", "application/json")];
        self.send(line, &kind, request.to_string().as_bytes())
    }
}

/// A deployment package: one file of Python.
fn package(code: &str) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive
        .start_file("app.py", SimpleFileOptions::default())
        .unwrap();
    archive.write_all(code.as_bytes()).unwrap();
    archive.finish().unwrap().into_inner()
}

fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    let mut answer = Answer {
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        head: head.to_lowercase(),
        body: Vec::new(),
    };
    let length = answer.header("content-length").map_or(Ok(0), str::parse);
    answer.body = vec![0; length.map_err(io::Error::other)?];
    stream.read_exact(&mut answer.body)?;
    Ok(answer)
}
