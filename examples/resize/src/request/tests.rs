use super::{Fit, Params, key};

fn parse(query: &str) -> Params {
    Params::parse(query).expect("the query is good")
}

fn refused(query: &str) -> String {
    let refusal = Params::parse(query).expect_err("the query is bad");
    assert_eq!(refusal.status, 400, "{query}");
    refusal.text
}

#[test]
fn parameters_are_read_and_have_defaults() {
    let all = parse("w=320&h=200&fit=cover&q=65");
    let expected = Params {
        width: Some(320),
        height: Some(200),
        fit: Fit::Cover,
        quality: 65,
    };
    assert_eq!(all, expected);
    assert_eq!(parse("").to_string(), "0x0-contain-q80");
    assert_eq!(parse("h=4096").height, Some(4096));
}

#[test]
fn equal_requests_have_one_canonical_form() {
    assert_eq!(
        parse("w=32&q=7").to_string(),
        parse("q=7&w=032").to_string()
    );
    assert_ne!(parse("w=32").to_string(), parse("h=32").to_string());
}

#[test]
fn bad_parameters_are_refused_with_the_reason() {
    for value in [
        "",
        "0",
        "4097",
        "-1",
        "+5",
        "1.5",
        "wide",
        "99999999999",
        "%31",
    ] {
        assert!(
            refused(&format!("w={value}")).starts_with("w is a whole number"),
            "{value}"
        );
        assert!(
            refused(&format!("h={value}")).starts_with("h is a whole number"),
            "{value}"
        );
    }
    assert!(refused("q=101").contains("from 1 to 100"));
    assert!(refused("q=0").contains("not `0`"));
    assert!(refused("fit=squeeze").contains("not `squeeze`"));
    assert!(refused("width=3").contains("`width` is no parameter"));
    assert!(refused("w=3&w=4").contains("given twice"));
}

#[test]
fn the_key_follows_either_prefix() {
    assert_eq!(key("/resize/cat.png").ok(), Some("cat.png"));
    assert_eq!(key("/resize/2026/cat.png").ok(), Some("2026/cat.png"));
    assert_eq!(key("/run/resize/cat.png").ok(), Some("cat.png"));
    assert_eq!(key("/run/thumbnails/a%20b").ok(), Some("a%20b"));
}

#[test]
fn paths_without_a_sound_key_are_refused() {
    let status = |path| key(path).expect_err("no key").status;
    for path in [
        "/",
        "/resize/",
        "/resize",
        "/run/resize",
        "/run/resize/",
        "/other/cat.png",
    ] {
        assert_eq!(status(path), 404, "{path}");
    }
    for path in [
        "/resize/../secret/a",
        "/resize/a/./b",
        "/resize//a",
        "/run/resize/a/",
    ] {
        assert_eq!(status(path), 400, "{path}");
    }
}

#[test]
fn contain_keeps_the_proportions_inside_the_box() {
    let target = |query, (width, height)| parse(query).target(width, height);
    assert_eq!(target("w=320&h=320", (640, 427)), (320, 214));
    assert_eq!(target("w=320&h=100", (640, 427)), (150, 100));
    assert_eq!(target("w=320", (640, 427)), (320, 214));
    assert_eq!(target("h=200", (400, 800)), (100, 200));
    assert_eq!(target("w=1", (4000, 3)), (1, 1));
    assert_eq!(target("", (8192, 4096)), (4096, 2048));
}

#[test]
fn cover_keeps_the_proportions_of_the_box() {
    let target = |query, (width, height)| parse(query).target(width, height);
    assert_eq!(target("w=200&h=200&fit=cover", (640, 427)), (200, 200));
    assert_eq!(target("w=1000&h=500&fit=cover", (640, 427)), (640, 320));
    assert_eq!(target("w=500&h=1000&fit=cover", (640, 427)), (214, 427));
    assert_eq!(target("w=320&fit=cover", (640, 427)), (320, 214));
}

#[test]
fn fill_stretches() {
    let target = |query, (width, height)| parse(query).target(width, height);
    assert_eq!(target("w=100&h=300&fit=fill", (640, 427)), (100, 300));
    assert_eq!(target("w=1000&h=300&fit=fill", (640, 427)), (640, 300));
}

#[test]
fn nothing_is_ever_enlarged_or_empty() {
    let boxes = [1, 2, 3, 640, 4095, 4096];
    for (w, h) in boxes.iter().flat_map(|w| boxes.map(|h| (*w, h))) {
        for fit in ["contain", "cover", "fill"] {
            let params = parse(&format!("w={w}&h={h}&fit={fit}"));
            for (width, height) in [(1, 1), (1, 60_000), (60_000, 1), (640, 427), (5000, 4999)] {
                let (x, y) = params.target(width, height);
                assert!(
                    (1..=width.min(w)).contains(&x),
                    "{params} of {width}x{height}: {x}x{y}"
                );
                assert!(
                    (1..=height.min(h)).contains(&y),
                    "{params} of {width}x{height}: {x}x{y}"
                );
            }
        }
    }
}
