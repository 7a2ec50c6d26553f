//! Stamps the build; see the included file.
include!("../build-stamp.rs");
