//! The real disk with fail points before its verbs: `spool.VERB.FILE`, for example `spool.rename.identity`. So the spool
//! itself needs no hooks, and a test can let the agent die between any two things that it asks of the disk.
//!
//! Verbs: open (to write), write, tear (a write but for its last byte), sync, allocate, truncate, rename, remove. Files: segment, cursor,
//! identity, reserve. A directory has `spool.sync.dir`. A build without fail points uses [`RealDisk`] as it is.

use runtime::fail_point::{die, due, hit};
use spool::{Access, Entry, File, Fs, Lock, RealDisk};
use std::io;
use std::path::Path;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailDisk;

/// An open file of it.
struct FailFile {
    file: Box<dyn File>,
    kind: &'static str,
}

/// What a file is to the spool, by its name.
fn kind(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        _ if path.extension().is_some_and(|end| end == "seg") => "segment",
        _ if name.starts_with("cursor.") => "cursor",
        _ if name.starts_with("identity") => "identity",
        "reserve" => "reserve",
        _ => "other",
    }
}

// === impl FailDisk ===

impl Fs for FailDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.make_dir(dir)
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        RealDisk.is_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let kind = kind(path);
        if access != Access::Read {
            hit(&format!("spool.open.{kind}"));
        }
        Ok(Box::new(FailFile { file: RealDisk.open(path, access)?, kind }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        hit(&format!("spool.rename.{}", kind(to)));
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        hit(&format!("spool.remove.{}", kind(path)));
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        hit("spool.sync.dir");
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        RealDisk.lock(path)
    }
}

// === impl FailFile ===

impl File for FailFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        hit(&format!("spool.write.{}", self.kind));
        if due(&format!("spool.tear.{}", self.kind)) {
            // Not half of it: of a write of two records that may be one of them, and nothing would be torn.
            let torn = &bytes[..bytes.len().saturating_sub(1)];
            let _ = self.file.write_at(torn, offset); // written or not, we are gone
            die();
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        hit(&format!("spool.sync.{}", self.kind));
        self.file.sync()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        hit(&format!("spool.allocate.{}", self.kind));
        self.file.allocate(bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        hit(&format!("spool.truncate.{}", self.kind));
        self.file.truncate(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool::{Class, Mode, Options, Spool};
    use std::sync::Arc;

    #[test]
    fn without_an_order_it_is_the_real_disk() {
        let dir = tempfile::tempdir().expect("a directory");
        let options = || Options::new(Mode::Durable, 64 << 20, "boot");
        let (mut spool, _) = Spool::open(Arc::new(FailDisk), dir.path(), options()).expect("a new spool");
        spool.append(Class::Ordinary, b"a record").expect("there is room");
        spool.close().expect("the disk works");
        let (_, report) = Spool::open(Arc::new(RealDisk), dir.path(), options()).expect("it was closed");
        assert_eq!((report.records, report.lost_records, report.torn_bytes), (1, 0, 0));
    }

    #[test]
    fn a_file_is_known_by_its_name() {
        let segment = "00000001-00000000000000000001-00000000000000000000.ordinary.seg";
        let kinds = [segment, "cursor.1", "cursor.0.tmp", "identity", "identity.tmp", "reserve", "lock"]
            .map(|n| kind(Path::new(n)));
        assert_eq!(kinds, ["segment", "cursor", "cursor", "identity", "identity", "reserve", "other"]);
    }
}
