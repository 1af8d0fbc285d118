use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, Rgb, Rgba};
use jpeg_encoder::{ColorType, Encoder};

use super::{MAX_PIXELS, transform};
use crate::accept::{Accept, Format};
use crate::request::Params;

const WIDTH: u32 = 120;
const HEIGHT: u32 = 80;

/// Red grows to the right and green downwards, with a grain of many colours over both.
fn photograph() -> DynamicImage {
    image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let grain = (x * 7 + y * 13) % 8;
        Rgb([x * 2 + grain, y * 3 + grain, 64].map(|channel| u8::try_from(channel).expect("small")))
    })
    .into()
}

/// A black disc on white.
fn drawing() -> DynamicImage {
    image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let inside = x.abs_diff(WIDTH / 2).pow(2) + y.abs_diff(HEIGHT / 2).pow(2) < 900;
        Rgb([if inside { 0 } else { 255 }; 3])
    })
    .into()
}

/// Reds and greens on the left and nothing on the right; what is under nothing is blue and must
/// not show.
fn cutout() -> DynamicImage {
    image::RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let channel = |value: u32| u8::try_from(value).expect("small");
        let seen = [channel(128 + x), channel(y * 3), 0, 255];
        Rgba(if x < WIDTH / 2 { seen } else { [0, 0, 255, 0] })
    })
    .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, format)
        .expect("memory takes all");
    bytes.into_inner()
}

/// A JPEG made by hand: progressive, of inks, or with a note of how the camera was held.
fn jpeg(
    image: &DynamicImage,
    color: ColorType,
    adjust: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 92);
    adjust(&mut encoder);
    let side = |side: u32| u16::try_from(side).expect("small");
    let (width, height) = (side(image.width()), side(image.height()));
    encoder
        .encode(image.as_bytes(), width, height, color)
        .expect("memory takes all");
    bytes
}

fn made(source: &[u8], query: &str, accept: &str) -> (DynamicImage, Format, usize) {
    let params = Params::parse(query).expect("the query is good");
    let picture = transform(source, &params, Accept::parse(Some(accept))).expect("a picture");
    let format = match picture.format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::WebP => ImageFormat::WebP,
    };
    let image = image::load_from_memory_with_format(&picture.bytes, format);
    (
        image.expect("the answer can be read"),
        picture.format,
        picture.bytes.len(),
    )
}

fn refused(source: &[u8]) -> (u16, String) {
    let params = Params::parse("w=10").expect("the query is good");
    let refusal = transform(source, &params, Accept::parse(None)).expect_err("a refusal");
    (refusal.status, refusal.text)
}

fn assert_near(image: &DynamicImage, (x, y): (u32, u32), expected: [u8; 3]) {
    let found = image.to_rgb8()[(x, y)].0;
    let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 16);
    assert!(near, "pixel {x},{y} is {found:?}, not about {expected:?}");
}

#[test]
fn every_source_format_is_resized() {
    let photo = photograph();
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let (image, sent, _) = made(&encoded(&photo, format), "w=60&q=95", "*/*");
        assert_eq!(
            (image.width(), image.height(), sent),
            (60, 40, Format::Jpeg),
            "{format:?}"
        );
        assert_near(&image, (5, 5), [24, 34, 64]);
        assert_near(&image, (55, 35), [224, 214, 64]);
    }
}

#[test]
fn odd_jpegs_are_read() {
    let photo = photograph();
    let progressive = jpeg(&photo, ColorType::Rgb, |encoder| {
        encoder.set_progressive(true)
    });
    assert_near(
        &made(&progressive, "w=60&q=95", "*/*").0,
        (55, 35),
        [224, 214, 64],
    );

    let grey = jpeg(&photo.to_luma8().into(), ColorType::Luma, |_| ());
    let (image, sent, _) = made(&grey, "w=60", "*/*");
    assert_eq!((image.color(), sent), (image::ColorType::L8, Format::Jpeg));

    let inks: DynamicImage = image::RgbaImage::from_pixel(WIDTH, HEIGHT, Rgba([0, 0, 0, 0])).into();
    let inks = jpeg(&inks, ColorType::Cmyk, |_| ());
    assert_eq!(made(&inks, "w=60", "*/*").0.width(), 60);
}

#[test]
fn deep_colours_become_eight_bit() {
    for deep in [
        DynamicImage::ImageRgb16(photograph().to_rgb16()),
        DynamicImage::ImageLuma16(photograph().to_luma16()),
        DynamicImage::ImageRgba16(cutout().to_rgba16()),
        DynamicImage::ImageLumaA16(cutout().to_luma_alpha16()),
    ] {
        let (image, _, _) = made(&encoded(&deep, ImageFormat::Png), "w=60", "image/png");
        assert_eq!((image.width(), image.height()), (60, 40));
        assert!(image.color().bytes_per_pixel() == image.color().channel_count());
    }
}

#[test]
fn the_format_follows_the_picture_and_the_client() {
    let sent =
        |image: &DynamicImage, accept| made(&encoded(image, ImageFormat::Png), "w=60", accept).1;
    let (old, new) = ("*/*", "image/webp,*/*");
    assert_eq!(
        [sent(&photograph(), old), sent(&photograph(), new)],
        [Format::Jpeg; 2]
    );
    assert_eq!(
        [sent(&drawing(), old), sent(&drawing(), new)],
        [Format::Png; 2]
    );
    assert_eq!(
        [sent(&cutout(), old), sent(&cutout(), new)],
        [Format::Png, Format::WebP]
    );

    let opaque = DynamicImage::ImageRgba8(photograph().to_rgba8());
    assert_eq!(
        sent(&opaque, old),
        Format::Jpeg,
        "an alpha channel that hides nothing"
    );
}

#[test]
fn transparency_survives_without_fringes() {
    for accept in ["*/*", "image/webp,*/*"] {
        let (image, _, _) = made(&encoded(&cutout(), ImageFormat::Png), "w=31", accept);
        let image = image.to_rgba8();
        assert!(
            matches!(image[(2, 10)].0, [128..150, 110..140, 0, 255]),
            "{:?}",
            image[(2, 10)]
        );
        assert_eq!(image[(29, 10)][3], 0);
        for pixel in image.pixels().filter(|pixel| pixel[3] > 8) {
            assert!(pixel[2] < 8, "blue shines through: {pixel:?}");
        }
    }
}

#[test]
fn cover_cuts_the_middle_out() {
    let source = encoded(&photograph(), ImageFormat::Png);
    let (image, _, _) = made(&source, "w=40&h=40&fit=cover&q=95", "*/*");
    assert_eq!((image.width(), image.height()), (40, 40));
    // The middle 80 of 120 columns: the first one lies 20 in.
    assert_near(&image, (1, 1), [46, 12, 64]);
    assert_near(&image, (38, 38), [200, 232, 64]);
}

#[test]
fn pictures_held_sideways_are_turned_upright() {
    for exif in 1..=8_u8 {
        let mut expected = photograph();
        expected.apply_orientation(Orientation::from_exif(exif).expect("known"));
        let note = [
            b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
            &[exif, 0, 0, 0],
            &[0; 4],
        ];
        let source = jpeg(&photograph(), ColorType::Rgb, |encoder| {
            encoder
                .add_exif_metadata(&note.concat())
                .expect("the note is short");
        });
        let (image, _, _) = made(&source, "w=40&q=95", "*/*");
        let scale = f64::from(expected.width()) / 40.0;
        assert_eq!(image.width(), 40, "orientation {exif}");
        assert_eq!(
            image.height(),
            (f64::from(expected.height()) / scale).round() as u32
        );
        let corner =
            expected.resize_exact(image.width(), image.height(), image::imageops::Triangle);
        for spot in [(2, 2), (37, 2), (2, image.height() - 3)] {
            assert_near(&image, spot, corner.to_rgb8()[spot].0);
        }
    }
}

#[test]
fn quality_trades_size() {
    let source = encoded(&photograph(), ImageFormat::Png);
    let size = |quality| made(&source, &format!("w=100&q={quality}"), "*/*").2;
    assert!(size(10) < size(60) && size(60) < size(100));
}

#[test]
fn a_profile_is_handed_on_if_it_describes_the_pixels() {
    let profile = |space: &[u8; 4]| [[0; 16].as_slice(), space, &[9; 100]].concat();
    let carries = |space| {
        let source = jpeg(&photograph(), ColorType::Rgb, |encoder| {
            encoder
                .add_icc_profile(&profile(space))
                .expect("the profile is short");
        });
        let params = Params::parse("w=60").expect("the query is good");
        let picture = transform(&source, &params, Accept::parse(None)).expect("a picture");
        picture.bytes.windows(100).any(|part| part == [9; 100])
    };
    assert!(carries(b"RGB "));
    assert!(!carries(b"CMYK"));
}

#[test]
fn what_is_no_picture_is_refused() {
    for source in [
        b"".as_slice(),
        b"<svg/>",
        b"GIF89a",
        b"BM000000",
        &[0; 4096],
    ] {
        let (status, text) = refused(source);
        assert_eq!(status, 422);
        assert!(text.contains("no JPEG, PNG or WebP"), "{text}");
    }
}

#[test]
fn absurd_sizes_are_refused_before_they_are_decoded() {
    // The head of a PNG alone: 60,000 by 60,000 pixels, and its checksum.
    let mut head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0".to_vec();
    head.extend(crc(&head[12..]).to_be_bytes());
    head.extend(b"\0\0\x10\0IDAT");
    let (status, text) = refused(&head);
    assert_eq!(status, 413);
    assert!(text.contains("60000 by 60000"), "{text}");
    assert!(
        text.contains(&format!("{} megapixels", MAX_PIXELS / 1_000_000)),
        "{text}"
    );
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_picture_that_ends_early_is_refused() {
    let photo = photograph();
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let whole = encoded(&photo, format);
        for part in [20, whole.len() / 2, whole.len() - 20] {
            let (status, text) = refused(&whole[..part]);
            assert_eq!(status, 422, "{format:?} cut to {part} of {}", whole.len());
            assert!(text.starts_with("the picture is broken: "), "{text}");
        }
    }
}

/// A function has no way to catch a panic: it would be a trap, and a 500 for the client.
#[test]
fn damaged_pictures_never_panic() {
    let photo = photograph();
    let sources = [
        jpeg(&photo, ColorType::Rgb, |_| ()),
        jpeg(&photo, ColorType::Rgb, |encoder| {
            encoder.set_progressive(true)
        }),
        encoded(&photo, ImageFormat::Png),
        encoded(&cutout(), ImageFormat::Png),
        encoded(&cutout(), ImageFormat::WebP),
    ];
    let params = Params::parse("w=9&h=9&fit=cover").expect("the query is good");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("small")
    };
    for source in &sources {
        for _ in 0..100 {
            let mut damaged = source.clone();
            for _ in 0..=next(4) {
                // Heads are short and decide most: half of the damage goes there.
                let reach = if next(2) == 0 { 200 } else { damaged.len() };
                let place = next(reach.min(damaged.len()));
                damaged[place] = u8::try_from(next(256)).expect("a byte");
            }
            if let Err(refusal) = transform(&damaged, &params, Accept::parse(None)) {
                assert!((400..500).contains(&refusal.status), "{refusal:?}");
            }
        }
    }
}
