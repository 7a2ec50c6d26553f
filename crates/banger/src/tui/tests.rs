//! The screens, as text.

mod acts;
mod dialogs;
mod monkey;
pub mod scene;
mod screens;
mod svg;
mod ways;
