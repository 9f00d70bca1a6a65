//! Configuration files: from the project into a tar archive, and out of an archive again.
//!
//! Archives hold plain files with paths relative to the project's root. Each file is read whole into memory: so the same
//! bytes are hashed, checked and archived, whoever writes to the file meanwhile.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::artifact::StoredFile;
use crate::artifact::read::{ArtifactReader, Reader};
use crate::disk::place::{self, OpenError};
use crate::error::{Error, ErrorKind, Result};
use crate::record::digest::Digest;
use crate::record::manifest::FileEntry;
use crate::record::relpath::RelPath;

/// The largest configuration file that is backed up.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The most members of an archive, since their names are kept in memory.
pub const MAX_FILES: usize = 10_000;

/// The most bytes between the contents of two members. `tar` reads names and attributes into memory, however long they
/// are.
const MAX_BETWEEN: u64 = 1 << 20;

/// How often a file that changes is read again.
const TRIES: usize = 10;

/// A file on its way into or out of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub path: RelPath,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970, UTC.
    pub mtime: u64,
    pub content: Vec<u8>,
}

impl ConfigFile {
    /// Reads a file of the project. It is read until two readings are the same: a half-written file must not get into a
    /// backup.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it isn't a plain file or is too large, [`ErrorKind::Busy`] if no two readings are the
    /// same; and the errors of [`place::open_below`].
    pub fn read(root: &Path, path: &RelPath) -> Result<Self> {
        let mut found = Self::read_once(root, path)?;
        for _ in 0..TRIES {
            let again = Self::read_once(root, path)?;
            if again == found {
                return Ok(found);
            }
            found = again;
        }
        let message = format!("{} changes while it is read", path.under(root).display());
        Err(Error::new(ErrorKind::Busy, message)
            .with_hint("wait until the program that writes it is done, then run `backup` again"))
    }

    fn read_once(root: &Path, path: &RelPath) -> Result<Self> {
        let full = path.under(root);
        let file = open(root, path, &full)?;
        // Metadata of the open file: another file may have taken its place.
        let found = file.metadata().map_err(|e| Error::io("stat", &full, e))?;
        Ok(Self {
            path: path.clone(),
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            mtime: u64::try_from(found.mtime()).unwrap_or(0),
            content: read_content(file, &full)?,
        })
    }

    /// What the manifest records about it.
    pub fn entry(&self) -> FileEntry {
        FileEntry {
            path: self.path.clone(),
            bytes: self.content.len() as u64,
            sha256: Digest::of(&self.content),
            mode: self.mode,
        }
    }
}

/// Opens a file of the project, whose path for messages is `full`.
fn open(root: &Path, path: &RelPath, full: &Path) -> Result<File> {
    place::open_below(root, path).map_err(|unopened| match unopened {
        OpenError::Io(e) if e.kind() == io::ErrorKind::InvalidInput => {
            Error::new(ErrorKind::InvalidInput, format!("{} is not a plain file", full.display()))
                .with_hint("list each configuration file separately in the settings")
        }
        OpenError::Io(e) => Error::io("open", full, e),
        OpenError::Refused(error) => error,
    })
}

fn read_content(file: File, path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(|e| Error::io("read", path, e))?;
    if content.len() as u64 <= MAX_FILE_BYTES {
        return Ok(content);
    }
    let message = format!("{} is larger than {} MiB", path.display(), MAX_FILE_BYTES >> 20);
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint("sets of files are for configuration; a database belongs under [[database]]"))
}

/// Writes an archive, which is incomplete until [`ArchiveWriter::finish`].
pub(crate) struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
}

impl<W: Write> ArchiveWriter<W> {
    pub fn new(sink: W) -> Self {
        Self { tar: tar::Builder::new(sink) }
    }

    pub fn add(&mut self, file: &ConfigFile) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(file.mode);
        header.set_uid(file.uid.into());
        header.set_gid(file.gid.into());
        header.set_mtime(file.mtime);
        header.set_size(file.content.len() as u64);
        self.tar.append_data(&mut header, file.path.as_str(), file.content.as_slice())
    }

    pub fn finish(self) -> io::Result<W> {
        self.tar.into_inner()
    }
}

/// Reads an archive named `name`, and calls `each` with its files in their order. Folders are skipped, and a `./` before a
/// path is removed, since archives made by hand have them. Messages number members instead of naming them: in a damaged
/// archive a "name" can be a piece of a secret.
///
/// # Errors
/// [`ErrorKind::Damaged`] if it is no tar archive, lacks its end, has more than [`MAX_FILES`] members, or has one that is
/// no plain file, is larger than [`MAX_FILE_BYTES`], has an endless name, or has a path that leads out of the project; and
/// the errors of `each` and of the reader.
pub(crate) fn read_archive(
    name: &str,
    reader: &mut dyn Read,
    mut each: impl FnMut(ConfigFile) -> Result<()>,
) -> Result<()> {
    let (ration, ended) = (Cell::new(MAX_BETWEEN), Cell::new(false));
    let mut archive = tar::Archive::new(BoundedReader { reader, ration: &ration, ended: &ended });
    let mut seen = BTreeSet::new();
    for (at, entry) in archive.entries().map_err(|e| own_or_damaged(name, e))?.enumerate() {
        let member = Member { archive: name, number: at + 1, ration: &ration };
        if let Some(file) = member.read(entry, &mut seen)? {
            each(file)?;
        }
    }
    // An archive that is cut off between two members looks whole, except that it lacks the empty block at its end.
    if ended.get() { Err(Error::damaged(name, "its end is missing")) } else { Ok(()) }
}

/// Reads a stored archive, and calls `each` with its files, which are good only if this returns `Ok`.
///
/// # Errors
/// As [`Reader::copy`] and [`read_archive`], and the errors of `each`.
pub(crate) fn read_stored_archive(
    reader: Reader<'_>,
    file: &StoredFile,
    each: impl FnMut(ConfigFile) -> Result<()>,
) -> Result<()> {
    let mut archive = ArtifactReader::open(reader, file)?;
    let result = read_archive(&file.file, &mut archive, each);
    match (archive.take_error(), result) {
        (Some(cause), _) => Err(cause),
        // If the bytes are not those that were stored, that explains more than the error of `tar`.
        (None, Err(error)) if error.kind() == ErrorKind::Damaged => archive.finish().and(Err(error)),
        (None, result) => result.and_then(|()| archive.finish()),
    }
}

/// A member of an archive that is being read.
struct Member<'a> {
    archive: &'a str,
    /// Counted from 1.
    number: usize,
    ration: &'a Cell<u64>,
}

impl Member<'_> {
    /// Its file; `None` for a folder.
    fn read<R: Read>(
        &self,
        entry: io::Result<tar::Entry<'_, R>>,
        seen: &mut BTreeSet<RelPath>,
    ) -> Result<Option<ConfigFile>> {
        let mut entry = entry.map_err(|e| self.unreadable(e))?;
        self.ration.set(MAX_BETWEEN);
        if self.number > MAX_FILES {
            return Err(self.refused("is one too many"));
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            return Ok(None);
        }
        if !kind.is_file() {
            return Err(self.refused("is not a plain file"));
        }
        if entry.size() > MAX_FILE_BYTES {
            return Err(self.refused("is too large for a configuration file"));
        }
        let path = self.path(&entry.path_bytes())?;
        if !seen.insert(path.clone()) {
            return Err(self.refused("is in it twice"));
        }
        let content = self.content(&mut entry)?;
        file(path, content, entry.header()).map(Some).map_err(|e| self.unreadable(e))
    }

    fn path(&self, bytes: &[u8]) -> Result<RelPath> {
        let path = String::from_utf8_lossy(bytes);
        RelPath::new(path.strip_prefix("./").unwrap_or(&path)).map_err(|_| self.refused("leads out of the project"))
    }

    fn content<R: Read>(&self, entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.ration.set(entry.size());
        entry.read_to_end(&mut content).map_err(|e| self.unreadable(e))?;
        self.ration.set(MAX_BETWEEN);
        Ok(content)
    }

    fn unreadable(&self, e: io::Error) -> Error {
        match self.ration.get() {
            0 => self.refused("has a name or attributes of more than 1 MiB"),
            _ => own_or_damaged(self.archive, e),
        }
    }

    fn refused(&self, why: &str) -> Error {
        Error::damaged(self.archive, format!("member {} {why}", self.number))
    }
}

/// The file of a member with this header.
fn file(path: RelPath, content: Vec<u8>, header: &tar::Header) -> io::Result<ConfigFile> {
    Ok(ConfigFile {
        path,
        mode: header.mode()? & 0o7777,
        uid: u32::try_from(header.uid()?).unwrap_or(u32::MAX),
        gid: u32::try_from(header.gid()?).unwrap_or(u32::MAX),
        mtime: header.mtime()?,
        content,
    })
}

/// A reader that fails when its ration is used up, and notes whether the input has ended.
struct BoundedReader<'a> {
    reader: &'a mut dyn Read,
    ration: &'a Cell<u64>,
    ended: &'a Cell<bool>,
}

impl Read for BoundedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.ration.get()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let count = self.reader.read(&mut buffer[..most])?;
        self.ration.set(self.ration.get() - count as u64);
        self.ended.set(count == 0 && most > 0);
        Ok(count)
    }
}

/// An error of this library that came through the reader stays as it is; an error of `tar` means damage. The text of `tar`
/// is left out, for it quotes the archive.
fn own_or_damaged(name: &str, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(_) => Error::damaged(name, "it is no readable tar archive"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(path: &str, content: &str) -> ConfigFile {
        ConfigFile {
            path: RelPath::new(path).unwrap(),
            mode: 0o640,
            uid: 1000,
            gid: 1000,
            mtime: 1_765_375_200,
            content: content.into(),
        }
    }

    fn read(archive: &[u8]) -> Result<Vec<ConfigFile>> {
        let mut files = Vec::new();
        read_archive("a.tar", &mut &*archive, |file| {
            files.push(file);
            Ok(())
        })?;
        Ok(files)
    }

    #[test]
    fn an_archive_gives_back_what_went_in() {
        let long = format!("data/{}.json", "x".repeat(150));
        let files = [config(".env", "A=1\n"), config("data/station_info.json", "{}"), config(&long, "")];
        let mut writer = ArchiveWriter::new(Vec::new());
        for file in &files {
            writer.add(file).unwrap();
        }
        assert_eq!(read(&writer.finish().unwrap()).unwrap(), files);
    }

    #[test]
    fn members_that_are_no_plain_files_are_refused() {
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo, tar::EntryType::Char] {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            builder.append_data(&mut header, "x", io::empty()).unwrap();
            assert_eq!(read(&builder.into_inner().unwrap()).unwrap_err().kind(), ErrorKind::Damaged, "{kind:?}");
        }
    }

    #[test]
    fn folders_and_a_leading_dot_are_passed_over() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, "data/", io::empty()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..6].copy_from_slice(b"./.env");
        header.set_size(0);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        let files = read(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), [".env"]);
    }

    #[test]
    fn members_that_lead_out_of_the_project_are_refused() {
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
            let error = read(&builder.into_inner().unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{path}");
            assert_eq!(error.one_line(), "a.tar is damaged: member 1 leads out of the project");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("data")).unwrap();
        let path = |text| RelPath::new(text).unwrap();
        assert_eq!(ConfigFile::read(root.path(), &path(".env")).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(ConfigFile::read(root.path(), &path("data")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
