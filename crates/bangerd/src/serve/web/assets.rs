//! Files of the console: styles and scripts, in the program. Those of others are as their packages
//! have them; `assets/web/vendor/README.md` says which.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// Where they are served. What follows changes with the build, so a browser may keep them.
pub const PREFIX: &str = "/assets/";

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $kind:ident $path:literal;)*) => {
        const FILES: &[(&str, &str, &[u8])] =
            &[$(($name, $kind, include_bytes!(concat!("../../../assets/web/", $path)))),*];
    };
}

files! {
    "style.css" CSS "style.css";
    "icon.svg" SVG "icon.svg";
    "console.js" JS "console.js";
    "terminal.js" JS "terminal.js";
    "htmx.js" JS "vendor/htmx.min.js";
    "htmx-sse.js" JS "vendor/htmx-sse.min.js";
    "xterm.js" JS "vendor/xterm.js";
    "xterm-fit.js" JS "vendor/xterm-fit.js";
    "xterm.css" CSS "vendor/xterm.css";
}

/// The path of a file, by which a browser that has another build's asks again.
#[must_use]
pub fn path(name: &str) -> String {
    format!("{PREFIX}{}/{name}", crate::serve::api::BUILD)
}

/// What browsers ask for where a page names no icon.
pub const ICON: &str = "/favicon.ico";

/// The icon.
pub async fn icon() -> Response {
    serve(Path((String::new(), "icon.svg".to_owned()))).await
}

/// A file.
pub async fn serve(Path((_, name)): Path<(String, String)>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, bytes)) => {
            let kept = "private, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, kept)], *bytes).into_response()
        }
        None => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use ring::digest;

    /// What others wrote is as they published it.
    #[test]
    fn the_files_of_others_are_those_that_are_named() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/web/vendor");
        let list = std::fs::read_to_string(format!("{folder}/README.md")).unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name == "README.md" {
                continue;
            }
            let bytes = std::fs::read(format!("{folder}/{name}")).unwrap();
            let hash = digest::digest(&digest::SHA256, &bytes);
            let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(list.contains(&format!("`{name}` | {hash}")), "{name} is {hash}");
        }
    }
}
