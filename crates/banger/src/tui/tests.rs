//! The screens, as text.

mod acts;
mod monkey;
pub mod scene;
mod screens;
mod svg;
