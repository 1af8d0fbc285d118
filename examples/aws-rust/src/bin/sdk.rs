//! AWS's SDK for Rust against a node: a function made, waited for, called, streamed, listed and
//! deleted. `sdk ARCHIVE`, with the archive of a module of Node that has the handlers
//! `index.echo` and `index.stream`; where the node is and its keys are in the environment.

use std::env;
use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::client::Waiters as _;
use aws_sdk_lambda::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_lambda::error::ProvideErrorMetadata as _;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvokeWithResponseStreamResponseEvent as Event;
use aws_sdk_lambda::types::builders::{EnvironmentBuilder, FunctionCodeBuilder};
use aws_sdk_lambda::types::{InvocationType, LogType, Runtime, State};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Longest wait for a function.
const PATIENCE: Duration = Duration::from_secs(60);

/// Functions that are made, all of whose names begin like this.
const NAME: &str = "rust-sdk";
const COUNT: usize = 3;

fn client() -> Result<Client> {
    let (id, secret) = (
        env::var("AWS_ACCESS_KEY_ID")?,
        env::var("AWS_SECRET_ACCESS_KEY")?,
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(env::var("AWS_ENDPOINT_URL")?)
        .region(Region::new(env::var("AWS_REGION")?))
        .credentials_provider(Credentials::new(id, secret, None, None, "environment"))
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Ok(Client::from_conf(config.build()))
}

fn name(number: usize) -> String {
    format!("{NAME}-{number}")
}

async fn create(client: &Client, archive: Vec<u8>) -> Result<()> {
    let code = FunctionCodeBuilder::default()
        .zip_file(Blob::new(archive))
        .build();
    for number in 1..=COUNT {
        let handler = if number == COUNT {
            "index.stream"
        } else {
            "index.echo"
        };
        let made = client
            .create_function()
            .function_name(name(number))
            .runtime(Runtime::Nodejs20x)
            .handler(handler)
            .role("arn:aws:iam::000000000000:role/any")
            .timeout(20)
            .code(code.clone())
            .environment(
                EnvironmentBuilder::default()
                    .variables("COLOUR", "red")
                    .build(),
            );
        let made = made.send().await?;
        assert_eq!(made.function_name(), Some(name(number).as_str()));
        let wait = client
            .wait_until_function_active_v2()
            .function_name(name(number));
        let active = wait.wait(PATIENCE).await?.into_result()?;
        let told = active.configuration().and_then(|told| told.state());
        assert_eq!(told, Some(&State::Active));
    }
    Ok(())
}

async fn call(client: &Client) -> Result<()> {
    let event = r#"{"words": ["to", "and", "fro"], "ü": 1.5}"#;
    let call = client
        .invoke()
        .function_name(name(1))
        .log_type(LogType::Tail);
    let answer = call.payload(Blob::new(event)).send().await?;
    let said = String::from_utf8(answer.payload().expect("an answer").as_ref().to_vec())?;
    assert_eq!(
        said,
        r#"{"event":{"words":["to","and","fro"],"ü":1.5},"colour":"red"}"#
    );
    assert_eq!((answer.status_code(), answer.function_error()), (200, None));
    assert!(
        answer.log_result().is_some_and(|log| !log.is_empty()),
        "{answer:?}"
    );

    let failed = client
        .invoke()
        .function_name(name(1))
        .payload(Blob::new("null"))
        .send()
        .await?;
    assert_eq!(failed.function_error(), Some("Unhandled"), "{failed:?}");
    let event = client
        .invoke()
        .function_name(name(1))
        .invocation_type(InvocationType::Event);
    assert_eq!(
        event.payload(Blob::new("{}")).send().await?.status_code(),
        202
    );
    Ok(())
}

async fn change(client: &Client) -> Result<()> {
    let change = client
        .update_function_configuration()
        .function_name(name(1));
    let variables = EnvironmentBuilder::default()
        .variables("COLOUR", "blue")
        .build();
    change.environment(variables).send().await?;
    let wait = client
        .wait_until_function_updated_v2()
        .function_name(name(1));
    wait.wait(PATIENCE).await?;
    let call = client
        .invoke()
        .function_name(name(1))
        .payload(Blob::new("{}"));
    let said = String::from_utf8(
        call.send()
            .await?
            .payload()
            .expect("an answer")
            .as_ref()
            .into(),
    )?;
    assert_eq!(said, r#"{"event":{},"colour":"blue"}"#);
    Ok(())
}

/// Pieces come when the function has written them, not when it has ended.
async fn stream(client: &Client) -> Result<()> {
    let call = client
        .invoke_with_response_stream()
        .function_name(name(COUNT));
    let mut answer = call.payload(Blob::new(r#"{"lines": 3}"#)).send().await?;
    let (mut said, mut times, mut ended) = (Vec::new(), Vec::new(), false);
    while let Some(event) = answer.event_stream.recv().await? {
        match event {
            Event::PayloadChunk(chunk) => {
                said.extend(chunk.payload().expect("a piece").as_ref());
                times.push(Instant::now());
            }
            Event::InvokeComplete(end) => {
                assert_eq!(end.error_code(), None, "{end:?}");
                ended = true;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(String::from_utf8(said)?, "line 1\nline 2\nline 3\n");
    assert!(ended, "no InvokeComplete");
    let took = times[times.len() - 1] - times[0];
    assert!(took >= Duration::from_millis(400), "all at once: {took:?}");
    Ok(())
}

async fn list(client: &Client) -> Result<()> {
    let mut pages = client.list_functions().into_paginator().page_size(2).send();
    let (mut found, mut count) = (Vec::new(), 0);
    while let Some(page) = pages.next().await {
        let page = page?;
        assert!(page.functions().len() <= 2, "{page:?}");
        count += 1;
        found.extend(
            page.functions()
                .iter()
                .filter_map(|one| one.function_name.clone()),
        );
    }
    let expected: Vec<_> = (1..=COUNT).map(name).collect();
    assert_eq!((found, count), (expected, 2));
    Ok(())
}

async fn delete(client: &Client) -> Result<()> {
    for number in 1..=COUNT {
        client
            .delete_function()
            .function_name(name(number))
            .send()
            .await?;
    }
    let gone = client.get_function().function_name(name(1)).send().await;
    let error = gone.expect_err("it was deleted").into_service_error();
    assert!(error.is_resource_not_found_exception(), "{error:?}");
    assert!(
        error
            .message()
            .is_some_and(|text| text.contains("rust-sdk-1")),
        "{error:?}"
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let archive = fs::read(env::args().nth(1).ok_or("which archive?")?)?;
    let client = client()?;
    create(&client, archive).await?;
    call(&client).await?;
    change(&client).await?;
    stream(&client).await?;
    list(&client).await?;
    delete(&client).await
}
