//! A site in `axum` on `lambda_http`: what a server would be, with `run` in the place of `serve`.

use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use lambda_http::{Error, run};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Greeting {
    name: String,
}

async fn hello(Query(greeting): Query<Greeting>) -> String {
    format!("Hello, {}!\n", greeting.name)
}

async fn item(Path(number): Path<u32>, headers: HeaderMap) -> Json<Value> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    Json(json!({"item": number, "host": host}))
}

async fn login(Form(greeting): Form<Greeting>) -> (StatusCode, [(header::HeaderName, String); 2]) {
    let cookie = format!("name={}; HttpOnly", greeting.name);
    let head = [
        (header::LOCATION, "/me".to_owned()),
        (header::SET_COOKIE, cookie),
    ];
    (StatusCode::SEE_OTHER, head)
}

async fn me(headers: HeaderMap) -> Json<Value> {
    let cookie = headers
        .get(header::COOKIE)
        .and_then(|cookie| cookie.to_str().ok());
    Json(json!({"cookie": cookie}))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let site = Router::new()
        .route("/hello", get(hello))
        .route("/items/{number}", get(item))
        .route("/login", post(login))
        .route("/me", get(me));
    run(site).await
}
