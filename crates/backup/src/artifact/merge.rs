//! Merging: several deltas of one database, each on the image of the one before it, as one delta on the first one's base.
//!
//! The merged delta has every page that any of them has, as the newest of them has it, and none beyond the end of the last
//! image. That is enough: a page that is beyond the end of an image, and in a later one again, is in the delta that leads
//! there. Pages wait in a scratch file, so memory holds their numbers alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;

use super::StoredFile;
use super::delta::{DeltaWriter, Sizes, lay};
use super::image::{increment, laying};
use super::read::{ArtifactReader, Reader, damaged};
use crate::error::Result;
use crate::record::manifest::Increment;

/// Deltas that are being merged.
pub(crate) struct Merge {
    scratch: File,
    page_size: u32,
    /// Size of the last image in bytes; the base of the first one can have any.
    image_bytes: u64,
    /// Where in the scratch file the page with this number is, in pages.
    slots: BTreeMap<u32, u32>,
}

impl Merge {
    /// Begins with no delta of an image with pages of `page_size` bytes. The `scratch` file is empty.
    pub fn begin(scratch: File, page_size: u32) -> Self {
        Self { scratch, page_size, image_bytes: u64::MAX, slots: BTreeMap::new() }
    }

    /// Adds the next delta.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) as for [`Reader::copy`], and if it isn't a delta on the image so far. Any error
    /// of writing the scratch file.
    pub fn add(&mut self, reader: Reader<'_>, delta: &StoredFile) -> Result<()> {
        let increment = facts(delta)?;
        if increment.page_size != self.page_size {
            return Err(damaged(delta, "its pages have another size than those of its base"));
        }
        let mut decoded = ArtifactReader::open(reader, delta)?;
        if let Err(error) = self.add_pages(&mut decoded, increment.image_bytes()) {
            return Err(decoded.take_error().unwrap_or_else(|| laying(delta, error)));
        }
        decoded.finish()
    }

    /// Adds the pages of a delta that leads to an image of that size.
    fn add_pages(&mut self, delta: impl Read, image_bytes: u64) -> io::Result<()> {
        let sizes = Sizes { page: self.page_size, base: self.image_bytes, image: image_bytes };
        lay(delta, sizes, |number, page| {
            let number = u32::try_from(number).map_err(io::Error::other)?;
            let next = u32::try_from(self.slots.len()).map_err(io::Error::other)?;
            let slot = *self.slots.entry(number).or_insert(next);
            self.scratch.write_all_at(page, self.offset(slot))
        })?;
        self.image_bytes = image_bytes;
        Ok(())
    }

    /// The number of pages in the merged delta.
    pub fn changed_pages(&self) -> u64 {
        self.pages().count() as u64
    }

    /// Writes the merged delta.
    ///
    /// # Errors
    /// Any error of reading the scratch file, or of writing.
    pub fn write(&self, sink: impl Write) -> io::Result<()> {
        let mut delta = DeltaWriter::begin(sink, self.page_size)?;
        let mut page = vec![0; self.page_size as usize];
        let pages: Vec<(u64, u32)> = self.pages().collect();
        for run in pages.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
            delta.begin_pages(run[0].0..=run[run.len() - 1].0)?;
            for (_, slot) in run {
                self.scratch.read_exact_at(&mut page, self.offset(*slot))?;
                delta.write_all(&page)?;
            }
        }
        delta.finish(self.page_count())
    }

    /// The pages of the last image that any delta has, in order, each with its slot.
    fn pages(&self) -> impl Iterator<Item = (u64, u32)> {
        let last = self.page_count();
        self.slots
            .iter()
            .map(|(number, slot)| (u64::from(*number), *slot))
            .take_while(move |(number, _)| *number <= last)
    }

    fn page_count(&self) -> u64 {
        self.image_bytes / u64::from(self.page_size)
    }

    fn offset(&self, slot: u32) -> u64 {
        u64::from(slot) * u64::from(self.page_size)
    }
}

/// What is recorded of the image that a delta leads to.
///
/// # Errors
/// [`Damaged`](crate::ErrorKind::Damaged) if it isn't a delta, or its pages have a size that is not possible.
pub(crate) fn facts(delta: &StoredFile) -> Result<&Increment> {
    let increment = increment(delta)?;
    if !(512..=65_536).contains(&increment.page_size) {
        return Err(damaged(delta, "its pages have a size that is not possible"));
    }
    Ok(increment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pages are so small only here.
    const PAGE: u32 = 4;

    /// The delta from `base` to `image`, with all pages that differ.
    fn delta(base: &[u8], image: &[u8]) -> Vec<u8> {
        let old: Vec<&[u8]> = base.chunks(PAGE as usize).collect();
        let mut sink = Vec::new();
        let mut writer = DeltaWriter::begin(&mut sink, PAGE).unwrap();
        for (at, new) in image.chunks(PAGE as usize).enumerate().filter(|(at, new)| old.get(*at) != Some(new)) {
            writer.begin_pages(at as u64 + 1..=at as u64 + 1).unwrap();
            writer.write_all(new).unwrap();
        }
        writer.finish((image.len() / PAGE as usize) as u64).unwrap();
        sink
    }

    /// Applies a delta as `rdiff patch` would, and counts its pages.
    fn applied(delta: &[u8], base: &[u8], image_bytes: usize) -> (Vec<u8>, u64) {
        let (mut image, mut pages) = (base.to_vec(), 0);
        image.resize(image_bytes, 0);
        let sizes = Sizes { page: PAGE, base: base.len() as u64, image: image_bytes as u64 };
        let laid = lay(delta, sizes, |number, page| {
            let at = (usize::try_from(number).unwrap() - 1) * page.len();
            image[at..at + page.len()].copy_from_slice(page);
            pages += 1;
            Ok(())
        });
        laid.unwrap();
        (image, pages)
    }

    fn image() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::collection::vec(0..3_u8, PAGE as usize), 0..12).prop_map(|pages| pages.concat())
    }

    proptest! {
        #[test]
        fn a_merged_delta_does_what_its_parts_do(images in prop::collection::vec(image(), 2..7)) {
            let mut merge = Merge::begin(tempfile::tempfile().unwrap(), PAGE);
            let mut laid = images[0].clone();
            for pair in images.windows(2) {
                let part = delta(&pair[0], &pair[1]);
                merge.add_pages(&part[..], pair[1].len() as u64).unwrap();
                laid = applied(&part, &laid, pair[1].len()).0;
            }
            let mut merged = Vec::new();
            merge.write(&mut merged).unwrap();
            prop_assert_eq!(applied(&merged, &images[0], laid.len()), (laid, merge.changed_pages()));
        }
    }

    #[test]
    fn a_page_that_comes_and_goes_is_not_kept() {
        let mut merge = Merge::begin(tempfile::tempfile().unwrap(), PAGE);
        let images = [&[1; 4][..], &[[1; 4], [2; 4], [3; 4]].concat(), &[[1; 4], [2; 4]].concat()];
        for pair in images.windows(2) {
            merge.add_pages(&delta(pair[0], pair[1])[..], pair[1].len() as u64).unwrap();
        }
        assert_eq!(merge.changed_pages(), 1);
    }

    #[test]
    fn a_delta_on_another_image_is_refused() {
        let mut merge = Merge::begin(tempfile::tempfile().unwrap(), PAGE);
        merge.add_pages(&delta(&[1; 8], &[2; 8])[..], 8).unwrap();
        let longer = delta(&[[3; 4], [4; 4], [5; 4]].concat(), &[[6; 4], [4; 4], [5; 4]].concat());
        assert_eq!(merge.add_pages(&longer[..], 12).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
