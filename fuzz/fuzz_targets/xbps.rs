//! Void's property lists, indexes and signatures.
#![no_main]

use banger_image::minisign::PublicKey;
use banger_image::xbps::{files, keys::RepositoryKey, pkgdb::Database, repodata, sums};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = repodata::parse(bytes);
    let _ = files::parse(bytes);
    if let Ok(database) = Database::parse(bytes) {
        let _ = database.installed();
        assert!(Database::parse(&database.write()).is_ok());
    }
    let _ = RepositoryKey::from_pem(bytes);
    let _ = RepositoryKey::from_plist(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = sums::parse(text);
        let _ = PublicKey::parse(text);
    }
});
