//! From the bytes of a source to the bytes of an answer.

use std::collections::BTreeSet;
use std::io::Cursor;

use fast_image_resize::{MulDiv, ResizeOptions, Resizer};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, GenericImageView, ImageDecoder, ImageEncoder, ImageError, ImageFormat,
    ImageReader, Limits,
};

use crate::accept::{Accept, Format, Kind};
use crate::reply::Refusal;
use crate::request::{Fit, Params};

/// Largest source, in bytes.
pub const MAX_SOURCE: usize = 16 << 20;

/// Largest source, in pixels. A progressive JPEG takes nine bytes for each while it is decoded,
/// which is what fills the memory that `fractus.toml` asks for.
pub const MAX_PIXELS: u64 = 20_000_000;

/// Largest source, in bytes once decoded: [`MAX_PIXELS`] does not foresee sixteen-bit colours.
const MAX_DECODED: u64 = 4 * MAX_PIXELS;

const TOO_LARGE: &str =
    "the picture is too large: at most 20 megapixels and 80 MB decoded are taken";
const _: () = assert!(MAX_PIXELS == 20_000_000 && MAX_DECODED == 80_000_000);

/// A picture from a lossless source is a drawing up to so many colours; the smallest photograph
/// has more.
const DRAWING_COLOURS: usize = 1024;

/// Largest colour profile that is handed on, in bytes.
const MAX_PROFILE: usize = 16 << 10;

/// An encoded picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    pub format: Format,
    pub bytes: Vec<u8>,
}

/// A decoded source: `Luma8`, `Rgb8` or `Rgba8`.
struct Source {
    image: DynamicImage,
    orientation: Orientation,
    profile: Option<Vec<u8>>,
    kind: Kind,
}

/// Decodes `source`, resizes it and encodes it for the client.
pub fn transform(source: &[u8], params: &Params, accept: Accept) -> Result<Picture, Refusal> {
    let Source {
        image,
        orientation,
        profile,
        kind,
    } = decode(source)?;
    let image = resize(image, orientation, params);
    let format = accept.choose(kind);
    let bytes = match format {
        Format::Jpeg => jpeg(&image, profile, params.quality),
        Format::Png => png(&image, profile, kind),
        Format::WebP => webp(&image, profile),
    };
    Ok(Picture { format, bytes })
}

fn decode(source: &[u8]) -> Result<Source, Refusal> {
    let format = image::guess_format(source).ok();
    let format = format
        .filter(|format| {
            matches!(
                format,
                ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP
            )
        })
        .ok_or_else(|| Refusal::new(422, "the object is no JPEG, PNG or WebP picture"))?;
    if format == ImageFormat::Jpeg && is_cut_short(source) {
        return Err(Refusal::new(
            422,
            "the picture is broken: its end is missing",
        ));
    }
    let broken = |error| match error {
        ImageError::Limits(_) => Refusal::new(413, TOO_LARGE),
        error => Refusal::new(422, format!("the picture is broken: {error}")),
    };

    let mut reader = ImageReader::with_format(Cursor::new(source), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;

    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || decoder.total_bytes() > MAX_DECODED {
        let text = format!(
            "{TOO_LARGE}; it has {width} by {height} pixels, {} bytes decoded",
            decoder.total_bytes(),
        );
        return Err(Refusal::new(413, text));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = decoder
        .icc_profile()
        .ok()
        .flatten()
        .filter(|profile| is_handed_on(profile));
    let image = plain(DynamicImage::from_decoder(decoder).map_err(broken)?);
    let kind = kind(&image, format);
    Ok(Source {
        image,
        orientation,
        profile,
        kind,
    })
}

/// Whether a JPEG has a scan that does not end. The decoder would paint the rest grey.
fn is_cut_short(source: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    let last = |marker: [u8; 2]| source.windows(2).rposition(|pair| pair == marker);
    last(START_OF_SCAN) >= last(END_OF_IMAGE)
}

/// A profile of printing inks does not describe the colours that were decoded from them.
fn is_handed_on(profile: &[u8]) -> bool {
    profile.len() <= MAX_PROFILE && matches!(profile.get(16..20), Some(b"RGB " | b"GRAY"))
}

/// The image in the plainest of eight-bit grey, colour, and colour with transparency.
fn plain(image: DynamicImage) -> DynamicImage {
    let image = match image.color() {
        ColorType::L8 | ColorType::Rgb8 | ColorType::Rgba8 => image,
        ColorType::L16 => image.into_luma8().into(),
        color if color.has_alpha() => image.into_rgba8().into(),
        _ => image.into_rgb8().into(),
    };
    match image {
        DynamicImage::ImageRgba8(pixels) if pixels.pixels().all(|pixel| pixel[3] == u8::MAX) => {
            DynamicImage::ImageRgba8(pixels).into_rgb8().into()
        }
        image => image,
    }
}

fn kind(image: &DynamicImage, source: ImageFormat) -> Kind {
    if source != ImageFormat::Jpeg && is_drawing(image) {
        Kind::Drawing
    } else if image.color().has_alpha() {
        Kind::Cutout
    } else {
        Kind::Photograph
    }
}

fn is_drawing(image: &DynamicImage) -> bool {
    let pixel_size = usize::from(image.color().bytes_per_pixel());
    let mut colours = BTreeSet::new();
    let mut last = None;
    for pixel in image.as_bytes().chunks_exact(pixel_size) {
        if last.replace(pixel) != Some(pixel) {
            colours.insert(pixel);
            if colours.len() > DRAWING_COLOURS {
                return false;
            }
        }
    }
    true
}

/// Resizes, and turns upright what the camera held sideways.
fn resize(image: DynamicImage, orientation: Orientation, params: &Params) -> DynamicImage {
    let (width, height) = image.dimensions();
    let sideways = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    // The box is meant for the picture as it is seen; the small picture is the one to turn.
    let (target_width, target_height) = if sideways {
        let (seen_width, seen_height) = params.target(height, width);
        (seen_height, seen_width)
    } else {
        params.target(width, height)
    };

    let mut resized = if (target_width, target_height) == (width, height) {
        image
    } else {
        scaled(image, target_width, target_height, params.fit)
    };
    resized.apply_orientation(orientation);
    resized
}

fn scaled(mut image: DynamicImage, width: u32, height: u32, fit: Fit) -> DynamicImage {
    const KNOWN: &str = "the image has one of the types the resizer knows";
    // Colours weigh as much as they are seen. The resizer would do this on a copy, which is more
    // memory than there is for the largest of pictures.
    let has_alpha = image.color().has_alpha();
    if has_alpha {
        MulDiv::new()
            .multiply_alpha_inplace(&mut image)
            .expect(KNOWN);
    }
    let mut options = ResizeOptions::new().use_alpha(false);
    if fit == Fit::Cover {
        options = options.fit_into_destination(None);
    }
    let mut scaled = DynamicImage::new(width, height, image.color());
    Resizer::new()
        .resize(&image, &mut scaled, &options)
        .expect(KNOWN);
    if has_alpha {
        MulDiv::new()
            .divide_alpha_inplace(&mut scaled)
            .expect(KNOWN);
    }
    scaled
}

fn jpeg(image: &DynamicImage, profile: Option<Vec<u8>>, quality: u8) -> Vec<u8> {
    let side = |side: u32| u16::try_from(side).expect("no answer is wider than MAX_SIDE");
    let color = match image.color() {
        ColorType::L8 => jpeg_encoder::ColorType::Luma,
        ColorType::Rgb8 => jpeg_encoder::ColorType::Rgb,
        other => unreachable!("{other:?} is never sent as JPEG"),
    };
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
    encoder.set_optimized_huffman_tables(true);
    if let Some(profile) = profile {
        encoder
            .add_icc_profile(&profile)
            .expect("MAX_PROFILE fits one segment");
    }
    let (width, height) = (side(image.width()), side(image.height()));
    encoder
        .encode(image.as_bytes(), width, height, color)
        .expect("memory takes all that is written");
    bytes
}

fn png(image: &DynamicImage, profile: Option<Vec<u8>>, kind: Kind) -> Vec<u8> {
    // A drawing becomes five times smaller with effort; all else next to nothing, in thirty times
    // the time.
    let effort = match kind {
        Kind::Drawing => CompressionType::Default,
        Kind::Photograph | Kind::Cutout => CompressionType::Fast,
    };
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, effort, FilterType::Adaptive);
    write(image, profile, encoder);
    bytes
}

fn webp(image: &DynamicImage, profile: Option<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(image, profile, WebPEncoder::new_lossless(&mut bytes));
    bytes
}

fn write(image: &DynamicImage, profile: Option<Vec<u8>>, mut encoder: impl ImageEncoder) {
    if let Some(profile) = profile {
        encoder
            .set_icc_profile(profile)
            .expect("both formats carry profiles");
    }
    image
        .write_with_encoder(encoder)
        .expect("memory takes all that is written");
}

#[cfg(test)]
mod tests;
