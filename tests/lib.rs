//! End-to-end tests of banger on real VMs; they live in `it/`.
