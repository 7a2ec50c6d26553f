//! Property lists as xbps reads and writes them (proplib(3), plist(5)).
//!
//! No library for property lists: those there are bound neither depth nor size, bring dates that
//! xbps does not have, and write otherwise than proplib, whose own reader is strict.

mod read;
mod write;

use std::collections::BTreeMap;

/// A dictionary; proplib sorts its keys by their bytes.
pub(super) type Dict = BTreeMap<String, Value>;

/// A thing in a property list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Dict(Dict),
    Array(Vec<Value>),
    String(String),
    /// From the smallest of 64 bits with a sign to the largest without.
    Integer(i128),
    Bool(bool),
    Data(Vec<u8>),
}

/// A property list that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no property list: {0}")]
pub struct PlistError(pub(super) String);

/// Reads a property list with a dictionary in it, as all of xbps are.
pub(super) fn parse(bytes: &[u8]) -> Result<Dict, PlistError> {
    read::parse(bytes)
}

/// Writes it byte for byte as xbps would.
pub(super) fn write(dict: &Dict) -> Vec<u8> {
    write::write(dict)
}

/// The string of that name.
pub(super) fn string<'a>(dict: &'a Dict, key: &str) -> Option<&'a str> {
    match dict.get(key)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The number of that name.
pub(super) fn number(dict: &Dict, key: &str) -> Option<u64> {
    match dict.get(key)? {
        Value::Integer(number) => (*number).try_into().ok(),
        _ => None,
    }
}

/// The array of that name; what is not there is empty.
pub(super) fn array<'a>(dict: &'a Dict, key: &str) -> &'a [Value] {
    match dict.get(key) {
        Some(Value::Array(values)) => values,
        _ => &[],
    }
}

/// The strings in the array of that name.
pub(super) fn strings(dict: &Dict, key: &str) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    array(dict, key).iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests;
