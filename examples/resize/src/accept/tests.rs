use super::{Accept, Format, Kind};

fn check(header: &str, expected: [Format; 3]) {
    let accept = Accept::parse(Some(header));
    let chosen = [Kind::Photograph, Kind::Drawing, Kind::Cutout].map(|kind| accept.choose(kind));
    assert_eq!(
        chosen, expected,
        "photograph, drawing, cutout for `{header}`"
    );
}

#[test]
fn browsers_get_webp_where_it_is_best() {
    let webp = [Format::Jpeg, Format::Png, Format::WebP];
    check(
        "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        webp,
    );
    check("image/webp,*/*", webp);
    check("image/png, IMAGE/WEBP ; q=0.5, image/jpeg", webp);
}

#[test]
fn clients_that_do_not_name_webp_do_not_get_it() {
    let classic = [Format::Jpeg, Format::Png, Format::Png];
    for header in [
        "*/*",
        "image/*",
        "",
        " ",
        "text/html, */*;q=0.1",
        "image/webp;q=0, */*",
    ] {
        check(header, classic);
    }
    assert_eq!(Accept::parse(None), Accept::parse(Some("*/*")));
}

#[test]
fn a_narrow_client_gets_what_it_takes_if_that_can_be() {
    check("image/png", [Format::Png; 3]);
    check("image/webp", [Format::WebP; 3]);
    check("image/jpeg", [Format::Jpeg, Format::Png, Format::Png]);
    check("image/*, image/jpeg;q=0", [Format::Png; 3]);
    check("image/avif", [Format::Jpeg, Format::Png, Format::Png]);
    check(
        "image/webp;q=nonsense",
        [Format::Jpeg, Format::Png, Format::Png],
    );
}

#[test]
fn letters_tell_the_answers_apart() {
    assert_eq!(Accept::parse(Some("image/webp,*/*")).letters(), "jpw");
    assert_eq!(Accept::parse(None).letters(), "jp");
    assert_eq!(Accept::parse(Some("image/gif")).letters(), "");
}
