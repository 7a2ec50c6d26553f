//! Writing property lists: tabs before each element, a line for each, in the order of the keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Dict, Value};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\" \
    \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
    <plist version=\"1.0\">\n";

pub(super) fn write(root: &Dict) -> Vec<u8> {
    let mut out = String::from(HEAD);
    dict(&mut out, root, 0);
    out.push_str("</plist>\n");
    out.into_bytes()
}

fn dict(out: &mut String, values: &Dict, depth: usize) {
    if values.is_empty() {
        return line(out, depth, "<dict/>");
    }
    line(out, depth, "<dict>");
    for (key, value) in values {
        line(out, depth + 1, &format!("<key>{}</key>", escape(key)));
        one(out, value, depth + 1);
    }
    line(out, depth, "</dict>");
}

fn array(out: &mut String, values: &[Value], depth: usize) {
    if values.is_empty() {
        return line(out, depth, "<array/>");
    }
    line(out, depth, "<array>");
    values.iter().for_each(|value| one(out, value, depth + 1));
    line(out, depth, "</array>");
}

fn one(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Dict(values) => dict(out, values, depth),
        Value::Array(values) => array(out, values, depth),
        Value::String(text) if text.is_empty() => line(out, depth, "<string/>"),
        Value::String(text) => line(out, depth, &format!("<string>{}</string>", escape(text))),
        // NetBSD writes those without a sign in hex; xbps does not.
        Value::Integer(number) => line(out, depth, &format!("<integer>{number}</integer>")),
        Value::Bool(true) => line(out, depth, "<true/>"),
        Value::Bool(false) => line(out, depth, "<false/>"),
        Value::Data(bytes) if bytes.is_empty() => line(out, depth, "<data/>"),
        Value::Data(bytes) => {
            line(out, depth, &format!("<data>{}</data>", STANDARD.encode(bytes)));
        }
    }
}

fn line(out: &mut String, depth: usize, element: &str) {
    out.extend(std::iter::repeat_n('\t', depth));
    out.push_str(element);
    out.push('\n');
}

/// What proplib escapes, and no more: its reader knows no character references.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
