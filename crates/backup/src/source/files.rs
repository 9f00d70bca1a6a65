//! Configuration files: from the project into a tar archive, and out of any archive again.
//!
//! Archives hold plain files with paths relative to the project's root. Files are taken whole into memory, one at a
//! time: what is hashed, checked and archived is then the same bytes, whoever writes to the file meanwhile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::FileEntry;
use crate::relpath::RelPath;

/// The largest configuration file that is taken.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

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
    /// Reads a file of the project.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it isn't a plain file or too large, else as the operating system says.
    pub fn read(root: &Path, path: &RelPath) -> Result<Self> {
        let full = path.under(root);
        let found = fs::metadata(&full).map_err(|e| Error::io("stat", &full, e))?;
        if !found.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{} is not a plain file", full.display()))
                .with_hint("name each configuration file by itself in the settings"));
        }
        let mut content = Vec::new();
        let file = File::open(&full).map_err(|e| Error::io("open", &full, e))?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(|e| Error::io("read", &full, e))?;
        if content.len() as u64 > MAX_FILE_BYTES {
            let message = format!("{} is larger than {} MiB", full.display(), MAX_FILE_BYTES >> 20);
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("sets of files are for configuration; a database belongs under [[database]]"));
        }
        Ok(Self {
            path: path.clone(),
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            mtime: u64::try_from(found.mtime()).unwrap_or(0),
            content,
        })
    }

    /// What the manifest says of it.
    pub fn entry(&self) -> FileEntry {
        FileEntry {
            path: self.path.clone(),
            bytes: self.content.len() as u64,
            sha256: Digest::of(&self.content),
            mode: self.mode,
        }
    }
}

/// Writes an archive. [`ArchiveWriter::finish`] makes it whole.
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

/// Reads an archive named `name`, calling `each` with its files in their order. Folders, and `./` before a path, are
/// passed over: people's archives have them. Messages count members and don't name
/// them: in a damaged archive a "name" may be a piece of a secret.
///
/// # Errors
/// [`ErrorKind::Damaged`] if it is no tar archive, or has a member that is no plain file, is larger than
/// [`MAX_FILE_BYTES`], or whose path leads out of the project; else what `each` or the reader says.
pub(crate) fn read_archive(
    name: &str,
    reader: &mut dyn Read,
    mut each: impl FnMut(ConfigFile) -> Result<()>,
) -> Result<()> {
    let mut archive = tar::Archive::new(reader);
    let mut seen = BTreeSet::new();
    for (at, member) in archive.entries().map_err(|e| own_or_damaged(name, e))?.enumerate() {
        let unreadable = |e| own_or_damaged(name, e);
        let mut member = member.map_err(unreadable)?;
        let refuse = |why: &str| Error::damaged(name, format!("member {} {why}", at + 1));
        if member.header().entry_type().is_dir() {
            continue;
        }
        if !member.header().entry_type().is_file() {
            return Err(refuse("is not a plain file"));
        }
        if member.size() > MAX_FILE_BYTES {
            return Err(refuse("is too large for a configuration file"));
        }
        let path = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let path = RelPath::new(path.strip_prefix("./").unwrap_or(&path));
        let path = path.map_err(|_| refuse("leads out of the project"))?;
        if !seen.insert(path.clone()) {
            return Err(refuse("stands in it twice"));
        }
        let mut content = Vec::new();
        member.read_to_end(&mut content).map_err(unreadable)?;
        let header = member.header();
        each(ConfigFile {
            path,
            mode: header.mode().map_err(unreadable)? & 0o7777,
            uid: u32::try_from(header.uid().map_err(unreadable)?).unwrap_or(u32::MAX),
            gid: u32::try_from(header.gid().map_err(unreadable)?).unwrap_or(u32::MAX),
            mtime: header.mtime().map_err(unreadable)?,
            content,
        })?;
    }
    Ok(())
}

/// An error of ours that came through the reader keeps its kind; what `tar` itself says means damage. Its words are
/// left out: they quote what stands in the archive.
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
        fs::create_dir(root.path().join("data")).unwrap();
        let path = |text| RelPath::new(text).unwrap();
        assert_eq!(ConfigFile::read(root.path(), &path(".env")).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(ConfigFile::read(root.path(), &path("data")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
