//! Reading property lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::{Dict, PlistError, Value};

/// xbps nests five deep at most.
const DEPTH: usize = 32;

fn wrong(reason: impl Into<String>) -> PlistError {
    PlistError(reason.into())
}

/// A container that is open, with the key of what comes next.
enum Open {
    Dict(Dict, Option<String>),
    Array(Vec<Value>),
}

/// What a property list is read into.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
}

impl Builder {
    fn enter(&mut self, container: Open) -> Result<(), PlistError> {
        self.expected()?;
        if self.open.len() == DEPTH {
            return Err(wrong(format!("it is more than {DEPTH} deep")));
        }
        self.open.push(container);
        Ok(())
    }

    /// Whether a value may come here.
    fn expected(&self) -> Result<(), PlistError> {
        match self.open.last() {
            Some(Open::Dict(_, None)) => Err(wrong("a value has no key")),
            None if self.root.is_some() => Err(wrong("it has more than one value")),
            _ => Ok(()),
        }
    }

    fn key(&mut self, name: String) -> Result<(), PlistError> {
        match self.open.last_mut() {
            Some(Open::Dict(_, key @ None)) => *key = Some(name),
            _ => return Err(wrong(format!("the key '{name}' is in the wrong place"))),
        }
        Ok(())
    }

    fn value(&mut self, value: Value) -> Result<(), PlistError> {
        self.expected()?;
        match self.open.last_mut() {
            Some(Open::Dict(dict, key)) => {
                let name = key.take().unwrap_or_default();
                // Two readers of the same bytes might see two values.
                if dict.insert(name.clone(), value).is_some() {
                    return Err(wrong(format!("it has the key '{name}' twice")));
                }
            }
            Some(Open::Array(values)) => values.push(value),
            None => self.root = Some(value),
        }
        Ok(())
    }

    fn leave(&mut self, tag: &str) -> Result<(), PlistError> {
        let value = match (self.open.pop(), tag) {
            (Some(Open::Dict(dict, None)), "dict") => Value::Dict(dict),
            (Some(Open::Array(values)), "array") => Value::Array(values),
            (Some(Open::Dict(_, Some(key))), _) => {
                return Err(wrong(format!("the key '{key}' has no value")));
            }
            _ => return Err(wrong("an element ends that did not begin")),
        };
        self.value(value)
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Dict, PlistError> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut builder = Builder::default();
    let mut within = false;
    loop {
        match reader.read_event().map_err(|error| wrong(error.to_string()))? {
            Event::Start(tag) => match tag.local_name().as_ref() {
                "plist" if !within && builder.root.is_none() => within = true,
                _ if !within => return Err(wrong("it does not begin with <plist>")),
                "dict" => builder.enter(Open::Dict(Dict::new(), None))?,
                "array" => builder.enter(Open::Array(Vec::new()))?,
                "key" => builder.key(content(&mut reader, "key")?)?,
                "string" => builder.value(Value::String(content(&mut reader, "string")?))?,
                "true" => builder.value(truth(true, &content(&mut reader, "true")?)?)?,
                "false" => builder.value(truth(false, &content(&mut reader, "false")?)?)?,
                "integer" => builder.value(integer(&content(&mut reader, "integer")?)?)?,
                "data" => builder.value(data(&content(&mut reader, "data")?)?)?,
                name => return Err(wrong(format!("'{name}' is nothing that it can have"))),
            },
            Event::End(tag) => match tag.local_name().as_ref() {
                "plist" if builder.open.is_empty() => within = false,
                name => builder.leave(name)?,
            },
            Event::Text(text) if text.trim_ascii().is_empty() => {}
            Event::Decl(_) | Event::DocType(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof if within || builder.root.is_none() => return Err(wrong("it ends early")),
            Event::Eof => break,
            _ => return Err(wrong("there is text outside of values")),
        }
    }
    match builder.root {
        Some(Value::Dict(dict)) => Ok(dict),
        _ => Err(wrong("it is not a dictionary")),
    }
}

/// The text up to the end of the element that has begun.
fn content(reader: &mut Reader<&[u8]>, name: &str) -> Result<String, PlistError> {
    let failed = |error: &dyn std::fmt::Display| wrong(format!("<{name}>: {error}"));
    let mut out = String::new();
    loop {
        match reader.read_event().map_err(|error| failed(&error))? {
            Event::Text(text) => out.push_str(&text),
            Event::CData(text) => out.push_str(&text),
            Event::GeneralRef(entity) => {
                match entity.resolve_char_ref().map_err(|error| failed(&error))? {
                    Some(character) => out.push(character),
                    None => out.push_str(
                        resolve_predefined_entity(&entity)
                            .ok_or_else(|| failed(&"an entity that XML does not have"))?,
                    ),
                }
            }
            Event::Comment(_) => {}
            Event::End(_) => return Ok(out),
            Event::Eof => return Err(wrong("it ends early")),
            _ => return Err(failed(&"another element is in it")),
        }
    }
}

fn truth(value: bool, content: &str) -> Result<Value, PlistError> {
    if content.is_empty() {
        Ok(Value::Bool(value))
    } else {
        Err(wrong("a truth value has text in it"))
    }
}

fn integer(content: &str) -> Result<Value, PlistError> {
    let text = content.trim();
    let number = match text.strip_prefix("0x") {
        Some(hex) if !hex.starts_with(['+', '-']) => i128::from_str_radix(hex, 16),
        _ => text.parse(),
    };
    number
        .ok()
        .filter(|number| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(number))
        .map(Value::Integer)
        .ok_or_else(|| wrong(format!("'{text}' is not a number of 64 bits")))
}

fn data(content: &str) -> Result<Value, PlistError> {
    let packed: String = content.split_ascii_whitespace().collect();
    STANDARD.decode(packed).map(Value::Data).map_err(|_| wrong("its data is not base64"))
}
