//! AWS Security Token Service, as far as clients ask it who they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use fractus_func::RequestId;
use fractus_lambda::control::ServiceError;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::{Api, escape, signed_body};
use crate::limits::{ACCOUNT, API_BODY_MAX};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers a form that was posted to `/`.
pub(super) async fn answer(api: &Arc<Api>, id: RequestId, head: &Parts, body: Body) -> Response {
    let answered = async {
        let body = signed_body(api, head, body, ("sts", API_BODY_MAX)).await?;
        let text = str::from_utf8(&body).unwrap_or("");
        let uri = format!("/?{text}").parse().unwrap_or_default();
        let form = axum::extract::Query::<BTreeMap<String, String>>::try_from_uri(&uri);
        let form = form.map(|form| form.0).unwrap_or_default();
        match form.get("Action").map(String::as_str) {
            Some("GetCallerIdentity") => Ok(identity(id)),
            action => Err(ServiceError::new(
                400,
                "InvalidAction",
                format!(
                    "Could not find operation {} for version 2011-06-15: only GetCallerIdentity \
                     is here",
                    action.unwrap_or("(none)")
                ),
            )),
        }
    };
    let (status, text) = match answered.await {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            refused(&error, id),
        ),
    };
    (status, [(CONTENT_TYPE, "text/xml")], text).into_response()
}

fn identity(id: RequestId) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{ACCOUNT}:root</Arn><UserId>{ACCOUNT}</UserId>\
         <Account>{ACCOUNT}</Account></GetCallerIdentityResult><ResponseMetadata>\
         <RequestId>{id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>\n"
    )
}

fn refused(error: &ServiceError, id: RequestId) -> String {
    let message: String = error.message.chars().flat_map(escape).collect();
    let code = error.kind.strip_suffix("Exception").unwrap_or(error.kind);
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>\n"
    )
}
