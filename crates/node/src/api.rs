//! The api listener, until it speaks S3 and Lambda: it says so.

use axum::Router;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};

/// Answers every request as an S3 client understands it.
pub(crate) fn router() -> Router {
    Router::new().fallback(not_implemented)
}

async fn not_implemented(uri: Uri) -> impl IntoResponse {
    let resource: String = uri.path().chars().take(1024).flat_map(escape).collect();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NotImplemented</Code><Message>This \
         listener will speak S3 and Lambda. Fractus {} does not yet: use the admin API or the \
         command line.</Message><Resource>{resource}</Resource></Error>\n",
        env!("CARGO_PKG_VERSION")
    );
    (
        StatusCode::NOT_IMPLEMENTED,
        [(CONTENT_TYPE, "application/xml")],
        text,
    )
}

/// A character as text of XML.
fn escape(character: char) -> Vec<char> {
    match character {
        '&' => "&amp;".chars().collect(),
        '<' => "&lt;".chars().collect(),
        '>' => "&gt;".chars().collect(),
        other => vec![other],
    }
}
