//! `fractus://BUCKET/KEY`, and which content type a file has.

use std::path::Path;
use std::str::FromStr;

use crate::client::{encode, encode_segment};

const SCHEME: &str = "fractus://";

/// An object of the node's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Remote {
    pub(crate) bucket: String,
    /// Empty, or ending with `/`, where the file's own name is to follow.
    pub(crate) key: String,
}

impl Remote {
    /// Whether `text` is meant as one.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The object's path in the admin API.
    pub(crate) fn path(&self) -> String {
        let (bucket, key) = (encode_segment(&self.bucket), encode(&self.key));
        format!("/v1/objects/{bucket}/{key}")
    }

    /// The object's path on the edge, if its bucket is public.
    pub(crate) fn edge_path(&self) -> String {
        format!("/b/{}/{}", encode_segment(&self.bucket), encode(&self.key))
    }

    /// The last segment of the key.
    pub(crate) fn file_name(&self) -> Option<&str> {
        self.key
            .rsplit('/')
            .next()
            .filter(|name| !matches!(*name, "" | "." | ".."))
    }

    /// The object that a file named `name` becomes.
    #[must_use]
    pub(crate) fn completed(mut self, name: &str) -> Self {
        if self.key.is_empty() || self.key.ends_with('/') {
            self.key.push_str(name);
        }
        self
    }
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| format!("`{text}` does not start with {SCHEME}"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(format!(
                "`{text}` names no bucket: write {SCHEME}BUCKET/KEY"
            ));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        })
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket, self.key)
    }
}

/// The content type that a file's extension stands for.
pub(crate) fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" | "log" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" | "map" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Remote, content_type};

    fn remote(text: &str) -> Remote {
        text.parse().unwrap()
    }

    #[test]
    fn buckets_and_keys() {
        for (text, bucket, key) in [
            ("fractus://b/k", "b", "k"),
            ("fractus://b/a/b c/", "b", "a/b c/"),
            ("fractus://b", "b", ""),
        ] {
            let it = remote(text);
            assert_eq!(
                (it.bucket.as_str(), it.key.as_str()),
                (bucket, key),
                "{text}"
            );
        }
        for text in ["fractus://", "fractus:///k", "s3://b/k", "b/k"] {
            assert!(text.parse::<Remote>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_encoded_in_paths() {
        assert_eq!(
            remote("fractus://b/a/ü?.png").path(),
            "/v1/objects/b/a/%C3%BC%3F.png"
        );
        assert_eq!(remote("fractus://b/a b").edge_path(), "/b/b/a%20b");
    }

    #[test]
    fn a_folder_takes_the_files_name() {
        assert_eq!(remote("fractus://b").completed("x").key, "x");
        assert_eq!(remote("fractus://b/d/").completed("x").key, "d/x");
        assert_eq!(remote("fractus://b/d").completed("x").key, "d");
        assert_eq!(remote("fractus://b/d/x.png").file_name(), Some("x.png"));
        assert_eq!(remote("fractus://b/d/..").file_name(), None);
        assert_eq!(remote("fractus://b/d/").file_name(), None);
    }

    #[test]
    fn content_types() {
        for (name, kind) in [
            ("a.JPG", "image/jpeg"),
            ("a.tar.gz", "application/gzip"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(name)), kind, "{name}");
        }
    }
}
