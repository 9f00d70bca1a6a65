//! Deltas of database images in the format of librsync, which `rdiff patch` applies
//! (<https://librsync.github.io/page_formats.html>): copies from the base, and literal pages.
//!
//! A page stays where it is in a file for ever. So every copy is to the place that it comes from, and a delta can be laid
//! over its base in place. [`lay`] takes no other deltas.

use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

/// Begins every delta.
const MAGIC: u32 = 0x7273_0236;

const END: u8 = 0x00;
/// A literal whose length is in the next 8 bytes.
const LITERAL_N8: u8 = 0x44;
/// A copy whose offset and length are in the next 8 bytes each.
const COPY_N8_N8: u8 = 0x54;

/// Up to this code, a literal whose length is the code itself.
const LITERAL_64: u8 = 0x40;
const LITERAL_N1: u8 = 0x41;
const COPY_N1_N1: u8 = 0x45;

/// The largest page of an SQLite database, in bytes.
const LARGEST_PAGE: u32 = 65_536;

/// Writes the delta of an image with pages of `page_size` bytes. All changes come in the order of the pages.
pub(crate) struct DeltaWriter<W> {
    sink: W,
    page_size: u64,
    /// The number of the next page of the image.
    next: u64,
}

impl<W: Write> DeltaWriter<W> {
    pub fn begin(mut sink: W, page_size: u32) -> io::Result<Self> {
        sink.write_all(&MAGIC.to_be_bytes())?;
        Ok(Self { sink, page_size: page_size.into(), next: 1 })
    }

    /// Continues with these pages, which follow as bytes through `Write`. Pages before them are as in the base.
    pub fn begin_pages(&mut self, numbers: RangeInclusive<u64>) -> io::Result<()> {
        self.copy_up_to(*numbers.start())?;
        let bytes = (numbers.end() + 1 - numbers.start()) * self.page_size;
        self.next = numbers.end() + 1;
        self.sink.write_all(&[LITERAL_N8])?;
        self.sink.write_all(&bytes.to_be_bytes())
    }

    /// Ends the delta of an image with `page_count` pages: the rest are as in the base.
    pub fn finish(mut self, page_count: u64) -> io::Result<()> {
        self.copy_up_to(page_count + 1)?;
        self.sink.write_all(&[END])
    }

    fn copy_up_to(&mut self, number: u64) -> io::Result<()> {
        if number <= self.next {
            return Ok(());
        }
        let (offset, bytes) = ((self.next - 1) * self.page_size, (number - self.next) * self.page_size);
        self.next = number;
        self.sink.write_all(&[COPY_N8_N8])?;
        self.sink.write_all(&offset.to_be_bytes())?;
        self.sink.write_all(&bytes.to_be_bytes())
    }
}

impl<W: Write> Write for DeltaWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.sink.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// The sizes that a delta has to do with, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub page: u32,
    pub base: u64,
    pub image: u64,
}

/// Reads a delta and calls `each` with the number and the bytes of every page in it, in order.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it isn't a delta of pages from a base to an image of these sizes; errors of reading,
/// and those of `each`.
pub(crate) fn lay(
    mut delta: impl Read,
    sizes: Sizes,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if u32::from_be_bytes(read(&mut delta)?) != MAGIC {
        return Err(invalid("it doesn't begin as a delta"));
    }
    let page_bytes = u64::from(sizes.page);
    if !(1..=LARGEST_PAGE).contains(&sizes.page) {
        return Err(invalid("its pages have a size that there is not"));
    }
    let mut page = vec![0; sizes.page as usize];
    let mut at = 0;
    loop {
        let [code] = read(&mut delta)?;
        let (is_copy, bytes) = match code {
            END if at == sizes.image => break,
            END => return Err(invalid("it ends before the image does")),
            1..=LITERAL_64 => (false, code.into()),
            LITERAL_N1..=LITERAL_N8 => (false, number(&mut delta, code - LITERAL_N1)?),
            COPY_N1_N1..=COPY_N8_N8 => {
                let widths = code - COPY_N1_N1;
                let (from, bytes) = (number(&mut delta, widths / 4)?, number(&mut delta, widths % 4)?);
                if from != at || bytes > sizes.base.saturating_sub(from) {
                    return Err(invalid("it copies from another place, or from beyond the end of its base"));
                }
                (true, bytes)
            }
            _ => return Err(invalid("it has a command that there is not")),
        };
        if bytes % page_bytes != 0 || bytes > sizes.image.saturating_sub(at) {
            return Err(invalid("it has a part of a page, or goes beyond the end of the image"));
        }
        if !is_copy {
            for number in at / page_bytes..(at + bytes) / page_bytes {
                delta.read_exact(&mut page)?;
                each(number + 1, &page)?;
            }
        }
        at += bytes;
    }
    match delta.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(invalid("something follows its end")),
    }
}

/// A number of 1, 2, 4 or 8 bytes: `width` is the binary logarithm of how many.
fn number(delta: &mut impl Read, width: u8) -> io::Result<u64> {
    match width {
        0 => read(delta).map(|[byte]| byte.into()),
        1 => read(delta).map(|bytes| u16::from_be_bytes(bytes).into()),
        2 => read(delta).map(|bytes| u32::from_be_bytes(bytes).into()),
        _ => read(delta).map(u64::from_be_bytes),
    }
}

fn read<const N: usize>(delta: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    delta.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pages are so small only here.
    const PAGE: u32 = 4;

    /// The delta from `base` to `image`, with all pages that differ and those in `more`.
    fn delta(base: &[u8], image: &[u8], more: &[u64]) -> Vec<u8> {
        let page = PAGE as usize;
        let old: Vec<&[u8]> = base.chunks(page).collect();
        let mut sink = Vec::new();
        let mut writer = DeltaWriter::begin(&mut sink, PAGE).unwrap();
        for (at, new) in image.chunks(page).enumerate() {
            let number = at as u64 + 1;
            if old.get(at) != Some(&new) || more.contains(&number) {
                writer.begin_pages(number..=number).unwrap();
                writer.write_all(new).unwrap();
            }
        }
        writer.finish((image.len() / page) as u64).unwrap();
        sink
    }

    fn laid(delta: &[u8], base: &[u8], image_bytes: usize) -> io::Result<Vec<u8>> {
        let mut image = base.to_vec();
        image.resize(image_bytes, 0);
        let sizes = Sizes { page: PAGE, base: base.len() as u64, image: image_bytes as u64 };
        lay(delta, sizes, |number, page| {
            let at = usize::try_from(number - 1).unwrap() * page.len();
            image[at..at + page.len()].copy_from_slice(page);
            Ok(())
        })?;
        Ok(image)
    }

    fn image() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::collection::vec(0..3_u8, PAGE as usize), 0..12).prop_map(|pages| pages.concat())
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_its_base_to_its_image(
            base in image(), image in image(), more in prop::collection::vec(1..12_u64, 0..4)
        ) {
            prop_assert_eq!(laid(&delta(&base, &image, &more), &base, image.len()).unwrap(), image);
        }

        #[test]
        fn a_damaged_delta_is_an_error_or_leads_to_an_image_of_that_size(
            base in image(), image in image(), at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let mut delta = delta(&base, &image, &[]);
            *at.get_mut(&mut delta) = byte;
            prop_assert!(laid(&delta, &base, image.len()).is_ok_and(|laid| laid.len() == image.len())
                || laid(&delta, &base, image.len()).is_err());
        }

        #[test]
        fn whatever_is_read_never_panics(delta in prop::collection::vec(any::<u8>(), 0..60), base in image()) {
            let _ = laid(&[&MAGIC.to_be_bytes()[..], &delta].concat(), &base, base.len());
        }
    }

    #[test]
    fn a_delta_that_is_cut_short_or_goes_on_is_an_error() {
        let (base, image) = ([1; 16], [[1; 8], [2; 8]].concat());
        let whole = delta(&base, &image, &[]);
        for length in 0..whole.len() {
            assert!(laid(&whole[..length], &base, image.len()).is_err(), "{length}");
        }
        let error = laid(&[&whole[..], b"x"].concat(), &base, image.len()).unwrap_err();
        assert_eq!(error.to_string(), "something follows its end");
    }

    #[test]
    fn what_does_not_stay_in_its_place_is_refused() {
        let refused = |commands: &[u8], base: usize, image: usize| {
            let delta = [&MAGIC.to_be_bytes()[..], commands].concat();
            laid(&delta, &vec![0; base], image).unwrap_err().to_string()
        };
        let another_place = "it copies from another place, or from beyond the end of its base";
        assert_eq!(refused(&[COPY_N1_N1, 4, 4, END], 8, 4), another_place);
        assert_eq!(refused(&[COPY_N1_N1, 0, 12, END], 8, 12), another_place);
        let part = "it has a part of a page, or goes beyond the end of the image";
        assert_eq!(refused(&[COPY_N1_N1, 0, 3, END], 8, 4), part);
        assert_eq!(refused(&[COPY_N1_N1, 0, 8, END], 8, 4), part);
        assert_eq!(refused(&[8, 0, 0, 0, 0], 8, 4), part);
        assert_eq!(refused(&[END], 8, 4), "it ends before the image does");
        assert_eq!(refused(&[0x55], 8, 4), "it has a command that there is not");
    }

    /// Commands that this program doesn't write, but librsync does.
    #[test]
    fn short_commands_are_read_as_well() {
        let commands = [COPY_N1_N1, 0, 4, 4, 1, 1, 1, 1, 0x41, 4, 2, 2, 2, 2, 0x42, 0, 4, 3, 3, 3, 3, END];
        let delta = [&MAGIC.to_be_bytes()[..], &commands].concat();
        let image = laid(&delta, &[9; 4], 16).unwrap();
        assert_eq!(image, [[9; 4], [1; 4], [2; 4], [3; 4]].concat());
    }
}
