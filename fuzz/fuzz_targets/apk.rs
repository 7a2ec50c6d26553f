//! Alpine's packages and indexes: the members of a stream, and what is in them.
#![no_main]

use std::io::Read as _;

use banger_image::apk::{index, installed, pkginfo::PkgInfo, stream::Stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut stream = Stream::new(bytes);
    if stream.head(1 << 20).is_ok() {
        let mut data = stream.data(1 << 20);
        let _ = data.read_to_end(&mut Vec::new());
        let _ = data.finish();
    }
    let _ = index::parse(bytes);
    let _ = PkgInfo::parse(bytes);
    let _ = installed::list(bytes);
});
