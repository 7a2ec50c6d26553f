//! End-to-end tests of banger; they live in `it/`.
