use super::{Refusal, Reply, Validators};
use crate::accept::{Accept, Format};
use crate::picture::Picture;
use crate::request::Params;

fn derive(tag: Option<&str>, query: &str, accept: Option<&str>) -> Validators {
    let params = Params::parse(query).expect("the query is good");
    let date = Some("Sun, 22 Nov 2026 09:00:00 GMT".to_owned());
    Validators::derive(tag, date, &params, Accept::parse(accept))
}

fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    let mut values = reply.headers.iter().filter(|(known, _)| *known == name);
    let value = values.next().map(|(_, value)| value.as_str());
    assert!(values.next().is_none(), "{name} is sent once");
    value
}

#[test]
fn a_picture_carries_all_that_a_cache_needs() {
    let picture = Picture {
        format: Format::Jpeg,
        bytes: vec![7; 300],
    };
    let reply = derive(Some("\"abc\""), "w=320&q=70", None).picture(picture);
    assert_eq!((reply.status, reply.body.len()), (200, 300));
    assert_eq!(header(&reply, "content-type"), Some("image/jpeg"));
    assert_eq!(header(&reply, "content-length"), Some("300"));
    assert_eq!(
        header(&reply, "cache-control"),
        Some("public, max-age=60, stale-while-revalidate=86400")
    );
    assert_eq!(header(&reply, "vary"), Some("Accept"));
    assert_eq!(
        header(&reply, "etag"),
        Some("\"abc-320x0-contain-q70-jp-1\"")
    );
    assert_eq!(
        header(&reply, "last-modified"),
        Some("Sun, 22 Nov 2026 09:00:00 GMT")
    );
}

#[test]
fn the_tag_tells_source_parameters_and_client_apart() {
    let tag = |source, query, accept| derive(Some(source), query, accept).etag.expect("a tag");
    let base = tag("\"a\"", "w=1", None);
    assert_ne!(base, tag("\"b\"", "w=1", None));
    assert_ne!(base, tag("\"a\"", "w=2", None));
    assert_ne!(base, tag("\"a\"", "w=1", Some("image/webp")));
    assert_eq!(base, tag("\"a\"", "w=1", Some("text/html,*/*;q=0.2")));
    assert!(tag("W/\"a\"", "w=1", None).starts_with("W/\"a-"));
}

#[test]
fn a_source_without_a_sound_tag_gives_none() {
    for source in [None, Some("bare"), Some("\""), Some("")] {
        let validators = derive(source, "", None);
        assert!(!validators.held(Some("*")), "{source:?}");
        assert_eq!(
            header(&validators.not_modified(), "etag"),
            None,
            "{source:?}"
        );
    }
}

#[test]
fn a_client_that_has_the_picture_is_told_so() {
    let held = |condition: Option<&str>| derive(Some("\"a\""), "w=1", None).held(condition);
    let mine = "\"a-1x0-contain-q80-jp-1\"";
    assert!(held(Some(mine)));
    assert!(held(Some("*")));
    assert!(held(Some(&format!("\"x\", W/{mine}"))));
    assert!(!held(Some("\"a\"")));
    assert!(!held(None));

    let reply = derive(Some("\"a\""), "w=1", None).not_modified();
    assert_eq!((reply.status, reply.body.len()), (304, 0));
    assert_eq!(header(&reply, "etag"), Some(mine));
    assert_eq!(header(&reply, "vary"), Some("Accept"));
    assert_eq!(header(&reply, "content-length"), None);
}

#[test]
fn refusals_say_why_and_are_kept_for_a_moment_only() {
    let reply = Reply::from(Refusal::new(413, "too large"));
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (413, b"too large\n".as_slice())
    );
    assert_eq!(header(&reply, "content-length"), Some("10"));
    assert_eq!(header(&reply, "cache-control"), Some("public, max-age=10"));
    assert_eq!(header(&reply, "allow"), None);

    let reply = Reply::from(Refusal::new(405, "no"));
    assert_eq!(header(&reply, "allow"), Some("GET, HEAD"));
    let reply = Reply::from(Refusal::new(502, "the store is away"));
    assert_eq!(header(&reply, "cache-control"), Some("no-store"));
}
