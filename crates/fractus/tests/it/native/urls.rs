//! Sites and programs, unmodified, as a client of AWS deploys them: an archive for
//! `CreateFunction`, a function URL that is open to all, and visitors at its host.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws_client::Aws;
use crate::clients::{Function, archive, crates};
use crate::native::client::Client;
use crate::native::{cloud, sites};
use crate::support::{Node, example, text};

/// Makes a function of these files, and gives it a URL that anyone may visit.
#[track_caller]
fn publish(node: &Node, name: &str, handler: &str, files: &[(&str, &str)]) -> Client {
    let files = files.iter().map(|(path, text)| (*path, text.as_bytes()));
    let files: Vec<_> = files.collect();
    let site = Function {
        name,
        runtime: "python3.12",
        handler,
        archive: archive(&files),
        variables: json!({}),
    };
    open(node, &site)
}

/// Makes a function and goes where its URL leads.
#[track_caller]
fn open(node: &Node, function: &Function<'_>) -> Client {
    let mut aws = Aws::of(node);
    function.create(&mut aws);
    let name = function.name;
    let kind = [("content-type", "application/json")];
    let policy = format!("POST /2015-03-31/functions/{name}/policy");
    for (permission, (condition, value)) in [
        ("InvokeFunctionUrl", ("FunctionUrlAuthType", json!("NONE"))),
        ("InvokeFunction", ("InvokedViaFunctionUrl", json!(true))),
    ] {
        let statement = json!({
            "StatementId": permission,
            "Action": format!("lambda:{permission}"),
            "Principal": "*",
            condition: value,
        });
        let added = aws.send(&policy, &kind, statement.to_string().as_bytes());
        added.unwrap().json(201);
    }
    let url = json!({"AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM"});
    let path = format!("POST /2021-10-31/functions/{name}/url");
    let url = aws.send(&path, &kind, url.to_string().as_bytes());
    Client::visit(
        node,
        url.unwrap().json(201)["FunctionUrl"].as_str().unwrap(),
    )
}

#[test]
fn flask() {
    let (_directory, node) = cloud();
    let mut site = publish(&node, "at-flask", "app.app", sites::FLASK);
    sites::check(&mut site);
    sites::static_files(&mut site);
}

#[test]
fn fastapi() {
    let (_directory, node) = cloud();
    let mut site = publish(&node, "at-fastapi", "main.app", sites::FASTAPI);
    sites::check(&mut site);
    sites::describe(&mut site);
}

#[test]
fn django() {
    let (_directory, node) = cloud();
    let mut site = publish(&node, "at-django", "shop.wsgi.application", sites::DJANGO);
    sites::check(&mut site);
    sites::administer(&mut site);
}

#[test]
fn node_stream() {
    let (_directory, node) = cloud();
    let code = fs::read(example("node-stream").join("index.mjs")).unwrap();
    let function = Function {
        name: "at-node",
        runtime: "nodejs20.x",
        handler: "index.handler",
        archive: archive(&[("index.mjs", &code)]),
        variables: json!({}),
    };
    let mut site = open(&node, &function);
    let answer = site.get("/?lines=3");
    assert_eq!(answer.header("x-lines"), "3");
    answer.assert_streamed("line 1\nline 2\nline 3\n", Duration::from_millis(400));
}

/// A function that is a program.
fn program<'a>(name: &'a str, program: &Path, variables: Value) -> Function<'a> {
    let code = fs::read(program).unwrap();
    Function {
        name,
        runtime: "provided.al2023",
        handler: "bootstrap",
        archive: archive(&[("bootstrap", &code)]),
        variables,
    }
}

#[test]
fn rust_lambda() {
    let (_directory, node) = cloud();
    let own = crates("rust-lambda").join("rust-lambda");
    let mut site = open(&node, &program("at-rust", &own, json!({})));
    assert_eq!(site.get("/hello?name=Ada").text(), "Hello, Ada!\n");
    assert_eq!(site.get("/nothing").status, 404);
    assert_eq!(site.get("/fail").status, 502);
    assert_eq!(site.get("/hello").text(), "Hello, you!\n", "it lives on");

    let streaming = program("at-rust-stream", &own, json!({"ANSWERS": "stream"}));
    let answer = open(&node, &streaming).get("/");
    answer.assert_streamed("line 1\nline 2\nline 3\n", Duration::from_millis(400));
}

#[test]
fn axum() {
    let (_directory, node) = cloud();
    let mut site = open(
        &node,
        &program("at-axum", &crates("aws-rust").join("web"), json!({})),
    );
    assert_eq!(
        site.get("/hello?name=Ada%20%26%20co").text(),
        "Hello, Ada & co!\n"
    );
    assert_eq!(site.get("/hello").status, 400, "without a name");
    let item = site.get("/items/7").json(200);
    assert_eq!(item["item"], 7);
    let host = item["host"].as_str().unwrap();
    assert!(host.contains(".lambda-url.us-east-1."), "{host}");
    assert_eq!(site.get("/items/seven").status, 400);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let login = site.send("POST /login", &form, b"name=Grace").unwrap();
    assert_eq!((login.status, login.header("location")), (303, "/me"));
    let cookie = login.header("set-cookie").split(';').next().unwrap();
    let me = site.send("GET /me", &[("cookie", cookie)], b"").unwrap();
    assert_eq!(me.json(200), json!({"cookie": "name=Grace"}));
    assert_eq!(site.send("DELETE /me", &[], b"").unwrap().status, 405);
}

#[test]
fn events_of_the_crate_lambda_runtime() {
    let (_directory, node) = cloud();
    let mut aws = Aws::of(&node);
    program("divide", &crates("aws-rust").join("events"), json!({})).create(&mut aws);
    let mut call = |event| aws.invoke("divide", "RequestResponse", &event).unwrap();
    let answer = call(json!({"dividend": 42, "divisor": 6}));
    assert_eq!(answer.header("x-amz-function-error"), None);
    let id = answer.header("x-amzn-requestid").unwrap().to_owned();
    let expected = json!({"quotient": 7, "function": "divide", "request": id});
    assert_eq!(answer.json(200), expected);
    for (event, kind, message) in [
        (
            json!({"dividend": 1, "divisor": 0}),
            "DivisionByZero",
            "1 cannot be divided by zero",
        ),
        (
            json!({"dividend": 1, "divisor": -1}),
            "Any",
            "a negative divisor",
        ),
        (json!({"dividend": "one"}), "", "invalid type: string"),
    ] {
        let failed = call(event);
        assert_eq!(failed.header("x-amz-function-error"), Some("unhandled"));
        let error = failed.json(200);
        assert!(
            error["errorType"].as_str().unwrap().contains(kind),
            "{error}"
        );
        assert!(
            error["errorMessage"].as_str().unwrap().contains(message),
            "{error}"
        );
    }
    assert_eq!(
        call(json!({"dividend": 9, "divisor": 3})).json(200)["quotient"],
        3
    );
}

#[test]
fn a_stream_of_the_crate_lambda_runtime_is_whole_to_who_does_not_stream() {
    let (_directory, node) = cloud();
    let mut aws = Aws::of(&node);
    program("speak", &crates("aws-rust").join("stream"), json!({})).create(&mut aws);
    let words = json!(["to", "and", "fro"]);
    let answer = aws.invoke("speak", "RequestResponse", &words).unwrap();
    assert_eq!(answer.header("x-amz-function-error"), None);
    assert_eq!(
        (answer.status, text(&answer.body).as_str()),
        (200, "to\nand\nfro\n")
    );
    let failed = aws.invoke("speak", "RequestResponse", &json!({})).unwrap();
    assert_eq!(failed.header("x-amz-function-error"), Some("unhandled"));
}
